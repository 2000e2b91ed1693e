import Foundation
import JSON
import PortalAPI
import PortalHTTP
import PortalTesting
import Postgres
import PostgresTesting
import Testing

@Suite("latchkey's commands")
struct CommandTests {
  @Test("every command prints its help")
  func help() async throws {
    for command in [
      [], ["serve"], ["migrate"], ["accounts", "create"], ["staff", "create"], ["tokens", "create"],
      ["tokens", "list"], ["tokens", "revoke"], ["tokens", "roll"], ["keys", "revoke"], ["accounts", "limit"], ["jobs"],
      ["jobs", "run"],
      ["audit"], ["audit", "verify"], ["audit", "export"], ["accounts", "plan"], ["plans"], ["plans", "set"], ["epoch"],
      ["epoch", "new"], ["accounts", "list"], ["accounts", "show"], ["keys", "list"], ["keys", "show"],
      ["keys", "create"], ["staff", "list"], ["staff", "show"], ["staff", "role"], ["staff", "disable"],
      ["staff", "enable"], ["staff", "remove"], ["staff", "reset-second-factor"], ["people"], ["people", "export"],
      ["people", "erase"], ["apis"], ["apis", "list"], ["apis", "create"], ["apis", "update"], ["apis", "delete"],
      ["permissions"], ["permissions", "create"], ["permissions", "update"], ["permissions", "delete"], ["roles"],
      ["roles", "create"], ["roles", "update"], ["roles", "delete"], ["limits"], ["limits", "namespaces"],
      ["limits", "namespaces", "delete"], ["limits", "overrides"], ["limits", "overrides", "list"],
      ["limits", "overrides", "set"], ["limits", "overrides", "delete"],
    ] {
      let result = try await latchkey(command + ["--help"])
      #expect(result.status == 0)
      #expect(result.output.contains("USAGE: latchkey"))
    }
  }

  @Test("wrong usage exits with status 64")
  func usage() async throws {
    let account = "01a1ff93-0755-70af-9b6e-d75e8f14f55d"
    for arguments in [
      ["nonsense"], ["tokens", "create", "--name", "x"], ["serve", "--http-port"], ["keys", "revoke", "not-an-id"],
      ["tokens", "create", "--name", "x", "--permission", "everything"],
      ["tokens", "create", "--name", "x", "--permission", "keys.read", "--permission", "keys.read"],
      ["tokens", "create", "--name", "x", "--permission", "keys.read", "--environment", "prod"],
      ["tokens", "create", "--name", "x", "--permission", "analytics.read", "--environment", "live"],
      ["tokens", "create", "--name", "x", "--permission", "keys.read", "--expires-in-days", "0"],
      ["tokens", "create", "--name", "x", "--permission", "keys.read", "--expires-at", "tomorrow"],
      ["tokens", "create", "--name", "x", "--permission", "keys.read", "--expires-at", "2020-01-01T00:00:00Z"],
      [
        "tokens", "create", "--name", "x", "--permission", "keys.read", "--expires-in-days", "1", "--expires-at",
        "2099-01-01T00:00:00Z",
      ],
      ["tokens", "roll", "01a1ff93-0755-70af-9b6e-d75e8f14f55d", "--grace-seconds", "604801"],
      ["accounts", "limit", "01a1ff93-0755-70af-9b6e-d75e8f14f55d", "--per-minute", "0"],
      ["accounts", "plan", "01a1ff93-0755-70af-9b6e-d75e8f14f55d", "small"],
      ["accounts", "plan", "01a1ff93-0755-70af-9b6e-d75e8f14f55d", "small", "--reason", "no"],
      ["plans", "set", "Small", "--key-cap", "1", "--scope", "a", "--per-minute-max", "1"],
      ["plans", "set", "small", "--key-cap", "many", "--scope", "a", "--per-minute-max", "1"],
      ["plans", "set", "small", "--key-cap", "0", "--scope", "a", "--per-minute-max", "1"],
      ["plans", "set", "small", "--key-cap", "1", "--scope", "A", "--per-minute-max", "1"],
      ["plans", "set", "small", "--key-cap", "1", "--per-minute-max", "1"],
      ["plans", "set", "small", "--key-cap", "1", "--scope", "a", "--per-minute-max", "1", "--max-lifetime-days", "0"],
      ["accounts", "limit", "01a1ff93-0755-70af-9b6e-d75e8f14f55d", "--mode", "strict"],
      ["tokens", "create", "--name", "x", "--permission", "catalog.read", "--api", "orders"],
      ["tokens", "create", "--name", "x", "--permission", "keys.read", "--api", "a b"],
      ["limits", "overrides", "set", "emails", "a", "--limit", "1", "--window-milliseconds", "1500"],
      ["limits", "overrides", "set", "emails", "a", "--limit", "-1", "--window-milliseconds", "1000"],
      ["limits", "overrides", "list", ""], ["limits", "overrides", "list", "a\nb"],
      ["apis", "create", "a/b", "--name", "x"], ["apis", "create", "a", "--name", "x", "--key-bytes", "15"],
      ["apis", "create", "a", "--name", "x", "--endpoint-limits", "[{}]"],
      ["apis", "update", "a", "--endpoint-limits", "{"], ["apis", "update", "a", "--endpoint-limits", "{}"],
      ["apis", "create", "a", "--name", "x", "--key-prefix", "A"], ["permissions", "create", "and"],
      ["roles", "create", "pro", "--permission", "a b"], ["roles", "delete", "a b"],
      ["roles", "update", "pro", "--permission", "a", "--no-permissions"],
      ["epoch", "new"], ["epoch", "new", "--reason", "no"], ["epoch", "new", "--reason", "a \u{200B}\u{202E} "],
      ["epoch", "new", "--reason", "restored", "--ticket", " "],
      ["epoch", "new", "--reason", "restored", "--ticket", "SUP\n1"],
      ["accounts", "create", "--name", " ", "--email", "a@example.com"],
      ["accounts", "create", "--name", "a\u{202E}b", "--email", "a@example.com"],
      ["staff", "create", "--name", "\u{200B}", "--email", "a@example.com"],
      ["tokens", "create", "--name", "a\tb", "--permission", "keys.read"],
      ["tokens", "create", "--name", String(repeating: "a", count: 101), "--permission", "keys.read"],
      ["tokens", "list", "--limit", "0"], ["tokens", "list", "--limit", "10001"], ["staff", "list", "--after", "x"],
      ["accounts", "list", "--name", "ab"], ["accounts", "list", "--email", "ada"], ["accounts", "show", "x"],
      ["keys", "list"], ["keys", "list", "--account", account, "--status", "gone"],
      ["keys", "list", "--account", account, "--tag", "A"], ["keys", "list", "--account", account, "--text", ""],
      ["keys", "create", "--account", account, "--name", "x"],
      ["keys", "create", "--account", account, "--name", "x", "--scope", "A"],
      ["keys", "create", "--account", account, "--name", "x", "--scope", "a", "--per-minute", "0"],
      ["keys", "create", "--account", account, "--name", "x", "--scope", "a", "--allowed-ip", "here"],
      ["keys", "create", "--account", account, "--name", "x", "--scope", "a", "--tag", "a", "--tag", "a"],
      ["keys", "create", "--account", account, "--name", "\u{202E}", "--scope", "a"],
      ["keys", "create", "--account", account, "--name", "x", "--scope", "a", "--expires-at", "2020-01-01T00:00:00Z"],
      ["staff", "role", "grace@example.com", "owner"], ["staff", "role", "grace@example.com"],
      ["staff", "disable", "grace"], ["staff", "remove"],
    ] {
      #expect(try await latchkey(arguments, environment: ["DATABASE_URL": "host=/nowhere"]).status == 64)
    }
  }

  @Test(
    "an invalid value stops the start with an error that names its key",
    arguments: [
      ("HTTP_PORT", "eighty"), ("HTTP_PORT", "65536"), ("SIGNUP_OPEN", "maybe"), ("KEY_PREFIX", "SK"),
      ("CACHE_LEASE_SECONDS", "0"), ("PUBLIC_URL", "http://portal.example.com"), ("PUBLIC_URL", "not a url"),
      ("LOG_LEVEL", "loud"), ("LOG_FORMAT", "xml"), ("CORS_ORIGINS", "*"),
      ("DATABASE_POOL_SIZE", "-1"), ("PASSWORD_COST", "17"), ("SESSION_HOURS", "1.5"),
      ("CACHE_PRELOAD", "-1"), ("HTTP_THREADS", "many"), ("HTTP_IDLE_SECONDS", "0"),
      ("OPERATIONS_PORT", "65536"), ("OPERATIONS_PORT", "8080"),
      ("HTTP_CONNECTIONS_MAX", "1000001"), ("SHUTDOWN_SECONDS", "0"), ("DRAIN_SECONDS", "-1"),
      ("HTTP_SOCKET", "/" + String(repeating: "a", count: 107)), ("HTTP_SOCKET_MODE", "rw"),
      ("HTTP_SOCKET_MODE", "1777"),
      ("FAST_PATH", "sometimes"),
      ("SESSION_RATE_LIMIT_PER_MINUTE", "-1"), ("ADDRESS_RATE_LIMIT_PER_MINUTE", "many"),
      ("TOKEN_RATE_LIMIT_PER_MINUTE", "1000001"), ("VERIFY_RATE_LIMIT_PER_MINUTE", "1.5"),
      ("TRUSTED_PROXIES", "10.0.0.0/33"), ("FORWARDED_HEADER", "x-real-ip"), ("KEY_HEADERS", "cookie"),
      ("SESSION_IDLE_HOURS", "0"), ("SECRET_KEY", "short"),
      ("SECRET_KEY_PREVIOUS", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="),
      ("STAFF_SECOND_FACTOR", "always"), ("STAFF_SECOND_FACTOR", "required"),
      ("METRICS_TOKEN", "fifteen-letters"), ("METRICS_TOKEN", "one two three four five"),
      ("USAGE_RETENTION_DAYS", "6"), ("USAGE_HOURS_RETENTION_HOURS", "0"), ("USAGE_BATCHES_RETENTION_DAYS", "2"),
      ("USAGE_SOURCES_RETENTION_DAYS", "many"), ("MAIL_URL", "mail.example.com"), ("MAIL_RETENTION_DAYS", "0"),
    ])
  func wrongConfiguration(key: String, value: String) async throws {
    let result = try await latchkey(["serve"], environment: ["DATABASE_URL": "host=/nowhere", key: value])
    #expect(result.status == 64)
    #expect(result.errors.contains(key))
  }

  @Test(
    "conflicting mail settings are refused",
    arguments: [
      ["MAIL_URL": "smtp://localhost"], ["MAIL_URL": "smtp://localhost", "MAIL_FROM": "keys"],
      ["MAIL_FOLDER": "mail", "MAIL_FROM": "a@b.c, d@e.f"],
      ["MAIL_URL": "smtp://localhost", "MAIL_FROM": "a@b.c", "MAIL_FOLDER": "mail"],
      ["MAIL_URL": "smtp://localhost", "MAIL_FROM": "a@b.c", "MAIL_TLS": "perhaps"],
      ["MAIL_URL": "smtps://localhost", "MAIL_FROM": "a@b.c", "MAIL_TLS": "none"],
    ])
  func wrongMail(environment: [String: String]) async throws {
    let result = try await latchkey(
      ["serve"], environment: environment.merging(["DATABASE_URL": "host=/nowhere"]) { $1 })
    #expect(result.status == 64)
    #expect(result.errors.contains("MAIL_"))
  }

  @Test("without DATABASE_URL, the start fails with an error that names it")
  func missingDatabaseURL() async throws {
    let result = try await latchkey(["serve"])
    #expect(result.status == 64)
    #expect(result.errors.contains("DATABASE_URL is required"))
  }

  @Test("flags take precedence over the environment")
  func flagsWin() async throws {
    let result = try await latchkey(
      ["serve", "--http-port", "no-port"], environment: ["HTTP_PORT": "8080", "DATABASE_URL": "x"])
    #expect(result.errors.contains("HTTP_PORT"))
  }

  @Test("all wrong settings are named together, with the usage of the command that refused them")
  func allWrong() async throws {
    let result = try await latchkey(
      ["accounts", "list"],
      environment: ["HTTP_PORT": "high", "CACHE_LEASE_SECONDS": "0", "SECRET_KEY": "short", "LOG_FORMAT": "xml"])
    #expect(result.status == 64)
    let lines = result.errors.split(separator: "\n")
    #expect(lines.first == "Error: DATABASE_URL is required.")
    for key in ["HTTP_PORT must be", "CACHE_LEASE_SECONDS must be", "SECRET_KEY must be", "LOG_FORMAT must be"] {
      #expect(lines.count { $0.hasPrefix(key) } == 1, "\(key)")
    }
    #expect(lines.contains { $0.hasPrefix("Usage: latchkey accounts list [") })
    #expect(lines.last == "  See 'latchkey accounts list --help' for more information.")
  }

  @Test(
    "--json is no option of what prints no text",
    arguments: [["serve"], ["audit", "export"], ["people", "export", "a@b.example"]])
  func noJSON(_ command: [String]) async throws {
    let result = try await latchkey(command + ["--json"], environment: ["DATABASE_URL": "host=/nowhere"])
    #expect(result.status == 64 && result.errors.contains("--json"))
    #expect(result.errors.contains("Usage: latchkey \(command[0])"))
  }

  @Test("if the database cannot be reached, a command exits with status 1 and one line")
  func unreachable() async throws {
    for url in ["host=/nowhere", "host=127.0.0.1 port=1"] {
      let result = try await latchkey(["migrate"], environment: ["DATABASE_URL": url])
      #expect(result.status == 1)
      #expect(result.errors.hasPrefix("latchkey: database error: "))
      #expect(result.errors.split(separator: "\n").count == 1 && !result.errors.contains("\u{FFFD}"), "\(result)")
    }
  }

  @Test("accounts, staff and tokens are created, and their secrets are printed once")
  func create() async throws {
    try await withDatabase { database in
      let environment = ["DATABASE_URL": database.url, "PASSWORD_COST": "10"]
      let account = ["accounts", "create", "--name", " Acme\n", "--email", "Ada@Example.com", "--json"]
      let made = try await latchkey(account, environment: environment)
      #expect(made.status == 0)
      #expect(try made.json().names == ["id", "name", "user", "password"])
      #expect(try made.json()["name"].string == "Acme")
      #expect(try made.json()["user"]["email"].string == "ada@example.com")
      let again = try await latchkey(account, environment: environment)
      #expect(again.status == 1)
      #expect(again.errors == "latchkey: the e-mail address is taken\n")

      let staff = try await latchkey(
        ["staff", "create", "--name", "Grace", "--email", "g@example.com", "--password-file", "-", "--json"],
        environment: environment, input: "correct horse battery\n")
      #expect(try staff.json().names == ["id", "name", "email", "role"])

      let token = try await latchkey(
        [
          "tokens", "create", "--name", "gateway", "--permission", "keys.verify", "--permission", "usage.write",
          "--json",
        ],
        environment: environment)
      #expect(try token.json().names.first == "id")
      #expect(try token.json()["token"].string?.hasPrefix("lk_svc_") == true)

      let id = try #require(try token.json()["id"].string)
      let revoked = try await latchkey(["tokens", "revoke", id, "--json"], environment: environment)
      #expect(try revoked.json().names == ["id", "revokedAt", "propagation"])
      let unknown = try await latchkey(["tokens", "revoke", UUID().uuidString], environment: environment)
      #expect(unknown.status == 1)
    }
  }

  @Test("service tokens are created with environment and expiry, listed, rolled with a grace period, and revoked")
  func tokens() async throws {
    try await withDatabase { database in
      let environment = ["DATABASE_URL": database.url]
      let create = ["tokens", "create", "--name", "shop", "--permission", "keys.read", "--permission", "keys.write"]
      let made = try await latchkey(
        create + ["--environment", "test", "--expires-in-days", "30", "--json"], environment: environment)
      #expect(made.status == 0)
      let json = try made.json()
      let names = [
        "id", "name", "permissions", "environment", "apiIds", "expiresAt", "revokedAt", "rolledAt", "replacesId",
        "lastUsedAt",
        "createdAt", "status",
      ]
      #expect(json.names == names + ["token"] && json["environment"].string == "test")
      let expiry = try #require(json["expiresAt"].string.flatMap { Timestamp.date(from: $0) })
      #expect(abs(expiry.timeIntervalSinceNow - 30 * 86_400) < 120)
      let id = try #require(json["id"].string)

      let rolled = try await latchkey(
        ["tokens", "roll", id, "--grace-seconds", "60", "--json"], environment: environment)
      #expect(try rolled.json().names == ["newToken", "oldToken", "propagation"])
      #expect(try rolled.json()["newToken"]["replacesId"].string == id)
      #expect(try rolled.json()["newToken"]["token"].string?.hasPrefix("lk_svc_") == true)
      let again = try await latchkey(["tokens", "roll", id], environment: environment)
      #expect(again.status == 1 && again.errors == "latchkey: the token is already revoked, expired or rolled\n")
      #expect(try await latchkey(["tokens", "revoke", id], environment: environment).status == 0)

      let plain = try await latchkey(create + ["--expires-at", "2099-01-01T00:00:00Z"], environment: environment)
      #expect(plain.output.wholeMatch(of: /token [0-9a-f-]{36} lk_svc_[0-9A-Za-z]+\n/) != nil)
      let list = try await latchkey(["tokens", "list", "--json"], environment: environment).json()["tokens"].array
      #expect(list.map { $0["status"].string } == ["active", "active", "revoked"])
      #expect(list[0]["expiresAt"].string == "2099-01-01T00:00:00.000Z")
      for token in list { #expect(token.names == names) }
      let text = try await latchkey(["tokens", "list"], environment: environment).output
      let lines = text.split(separator: "\n").map { $0.split(separator: #/ {2,}/#).map(String.init) }
      #expect(lines[0] == ["ID", "STATUS", "ENVIRONMENT", "PERMISSIONS", "LAST USED", "EXPIRES", "NAME"])
      #expect(lines.count == 4)
      #expect(lines[3].prefix(5) == [id, "revoked", "test", "keys.read,keys.write", "never"] && lines[3][6] == "shop")
      let bare = try await latchkey(["tokens", "list", "--no-headings"], environment: environment).output
      #expect(bare.split(separator: "\n").count == 3 && bare.hasPrefix(lines[1][0]))
    }
  }

  @Test("jobs are listed with their last runs and run by hand, and unplaced counters are reported")
  func jobs() async throws {
    try await withDatabase { database in
      let environment = ["DATABASE_URL": database.url]
      let fresh = try await latchkey(["jobs"], environment: environment)
      #expect(fresh.status == 0 && fresh.output.hasPrefix("NAME "))
      #expect(fresh.output.contains(/usage-packing +- +- +- +never run\n/))
      try await PostgresPool.with(database.configuration) { pool in
        try await pool.withConnection {
          try await $0.executeScript(
            """
            insert into key_usage (account_id, key_id, day, endpoint, verified_count)
            select gen_random_uuid(), gen_random_uuid(), day, '/', 1
            from unnest(array[current_date - 5, current_date + 900]) day
            """)
        }
      }
      let noted = try await latchkey(["jobs"], environment: environment)
      #expect(noted.errors.hasPrefix("latchkey: 1 counters are in a default partition"))
      let packed = try await latchkey(["jobs", "run", "usage-packing"], environment: environment)
      #expect(packed.output == "usage-packing: done, 1\n")
      let placed = try await latchkey(["jobs", "run", "usage-partitions", "--json"], environment: environment)
      #expect(try placed.json()["count"] == .number("1"))
      let list = try await latchkey(["jobs", "--json"], environment: environment).json()
      #expect(list["unplacedUsageCounters"] == .number("0"))
      let packing = try #require(list["jobs"].array.first { $0["name"].string == "usage-packing" })
      #expect(
        packing.names == [
          "name", "intervalSeconds", "summary", "startedAt", "finishedAt", "succeededAt", "durationMilliseconds",
          "count", "error", "failures", "instance",
        ])
      #expect(packing["count"] == .number("1") && packing["instance"].string?.hasSuffix(":jobs") == true)
      #expect(try await latchkey(["jobs", "run", "nonsense"], environment: environment).status == 64)

      try await PostgresPool.with(database.configuration) { pool in
        try await pool.withConnection { try await $0.executeScript("alter table usage_sources rename to away") }
      }
      let failed = try await latchkey(["jobs", "run", "usage-sources"], environment: environment)
      #expect(failed.status == 1 && failed.errors.hasPrefix("latchkey: usage-sources failed: "))
      #expect(try await latchkey(["jobs"], environment: environment).output.contains("failed (1 times in all): "))
    }
  }

  @Test("apis, permissions and roles are created, changed, listed and deleted")
  func catalog() async throws {
    try await withDatabase { database in
      let environment = ["DATABASE_URL": database.url]
      func run(_ arguments: String...) async throws -> (output: String, errors: String) {
        let result = try await latchkey(arguments, environment: environment)
        return (result.output, result.errors)
      }
      let made = try await latchkey(
        ["apis", "create", "orders", "--name", "Orders", "--key-bytes", "16", "--protected", "--json"],
        environment: environment)
      #expect(try made.json()["keyBytes"].integer == 16)
      let api = try #require(try made.json()["id"].string)
      #expect(
        try await run("apis").output == """
          ID                                    SLUG    KEY PREFIX  KEY BYTES  PROTECTED  NAME
          \(api)  orders  -                  16  yes        Orders

          """)
      let taken = try await run("apis", "create", "orders", "--name", "x").errors
      #expect(taken == "latchkey: the slug or name is taken\n")
      #expect(try await run("apis", "delete", "orders").errors.contains("the api is protected"))
      #expect(
        try await run("apis", "update", "orders", "--slug", "shop", "--no-protected").output == "api \(api) shop\n")
      let limits = #"[{"endpoint":"GET /a*","limit":5,"windowMilliseconds":1500,"roles":{}}]"#
      let limited = try await latchkey(
        ["apis", "update", "shop", "--endpoint-limits", limits, "--json"], environment: environment)
      #expect(JSONWriter.text(of: try limited.json()["endpointLimits"]) == limits)
      #expect(try await run("apis", "delete", "shop").output == "api shop deleted\n")
      #expect(try await run("permissions", "create", "a", "--description", "Reading.").output.hasSuffix(" a\n"))
      #expect(try await run("permissions", "update", "a", "--slug", "b").output.hasSuffix(" b\n"))
      let unknown = try await run("roles", "create", "pro", "--permission", "a").errors
      #expect(unknown == "latchkey: permissions[0] is not the id or slug of a permission\n")
      #expect(try await run("roles", "create", "pro", "--permission", "b").output.hasSuffix(" pro: b\n"))
      #expect(try await run("permissions", "delete", "b").errors == "latchkey: Roles have this permission.\n")
      #expect(try await run("roles", "update", "pro", "--no-permissions").output.hasSuffix(" pro: \n"))
      #expect(try await run("roles", "delete", "pro").output == "role pro deleted\n")
      #expect(try await run("permissions", "delete", "b").output == "permission b deleted\n")
      #expect(try await run("roles", "delete", "pro").errors == "latchkey: not found\n")
    }
  }

  @Test("overrides of standalone limits are set, listed and deleted, and so are namespaces")
  func limits() async throws {
    try await withDatabase { database in
      let environment = ["DATABASE_URL": database.url]
      func run(_ arguments: String...) async throws -> (output: String, errors: String) {
        let result = try await latchkey(["limits"] + arguments, environment: environment)
        return (result.output, result.errors)
      }
      let made = try await latchkey(
        [
          "limits", "overrides", "set", "emails", "user_*", "--limit", "100", "--window-milliseconds", "60000",
          "--json",
        ], environment: environment)
      #expect(try made.json()["limit"].integer == 100)
      let id = try #require(try made.json()["id"].string)
      let again = try await run(
        "overrides", "set", "emails", "user_*", "--limit", "0", "--window-milliseconds", "1000")
      #expect(again.output == "override \(id): 0 in 1000 ms for user_* in emails\n")
      #expect(
        try await run("overrides", "list", "emails").output == """
          ID                                    LIMIT  WINDOW MS  IDENTIFIER
          \(id)      0       1000  user_*

          """)
      #expect(try await run("overrides", "list", "sms").errors == "latchkey: not found\n")
      #expect(try await run("namespaces", "--no-headings").output.hasSuffix("  emails\n"))
      #expect(try await run("overrides", "delete", "emails", "user_1").errors == "latchkey: not found\n")
      #expect(
        try await run("overrides", "delete", "emails", "user_*").output == "override of user_* in emails deleted\n")
      #expect(try await run("namespaces", "delete", "emails").output == "namespace emails deleted\n")
      #expect(try await run("namespaces", "delete", "emails").errors == "latchkey: not found\n")
    }
  }

  @Test("plans are created, changed, listed and assigned to accounts")
  func plans() async throws {
    try await withDatabase { database in
      let environment = ["DATABASE_URL": database.url, "PASSWORD_COST": "10"]
      let account = try await latchkey(
        ["accounts", "create", "--name", "Acme", "--email", "ada@example.com", "--json"], environment: environment)
      let id = try #require(try account.json()["id"].string)
      let set = [
        "plans", "set", "small", "--key-cap", "3", "--scope", "a:*", "--scope", "me", "--per-minute-max", "60",
      ]
      let made = try await latchkey(set + ["--json"], environment: environment)
      #expect(made.status == 0)
      #expect(try made.json()["scopes"].array == [.string("a:*"), .string("me")])
      #expect(try await latchkey(set + ["--max-lifetime-days", "30"], environment: environment).status == 0)
      let list = try await latchkey(["plans"], environment: environment)
      #expect(
        list.output == """
          NAME      KEYS  PER MINUTE  DAYS  APIS  ROLES  SCOPES
          default     25       10000     -   all      0  *
          external     -           -     -   all      0  *
          small        3          60    30   all      0  a:* me

          """)
      let free = try await latchkey(
        ["plans", "set", "large", "--key-cap", "none", "--scope", "*", "--per-minute-max", "none"],
        environment: environment)
      #expect(free.output == "plan large: any number of keys, any number per minute, *\n")
      _ = try await latchkey(["apis", "create", "orders", "--name", "Orders"], environment: environment)
      _ = try await latchkey(["roles", "create", "pro"], environment: environment)
      let carrying = ["plans", "set", "pro", "--key-cap", "9", "--scope", "*", "--per-minute-max", "60"]
      let pro = try await latchkey(carrying + ["--api", "orders", "--role", "pro"], environment: environment)
      #expect(pro.output == "plan pro: 9 keys, 60 per minute, 1 apis, 1 roles, *\n")
      let nonsense = try await latchkey(carrying + ["--api", "nonsense"], environment: environment)
      #expect(nonsense.status == 1)
      #expect(nonsense.errors.contains("apiIds[0] is not the id or slug of an api"))
      let assign = ["accounts", "plan", id, "small", "--reason", "asked for it"]
      let assigned = try await latchkey(assign, environment: environment)
      #expect(assigned.output == "account \(id) has the plan small\n")
      let unknown = try await latchkey(
        ["accounts", "plan", id, "big", "--reason", "asked for it"], environment: environment)
      #expect(unknown.status == 1)
      #expect(unknown.errors == "latchkey: there is no plan big; latchkey plans lists them\n")
    }
  }

  @Test("a short password is refused before anything is created")
  func shortPassword() async throws {
    let result = try await latchkey(
      ["accounts", "create", "--name", "A", "--email", "a@example.com", "--password-file", "-"],
      environment: ["DATABASE_URL": "host=/nowhere"], input: "short\n")
    #expect(result.status == 64)
    #expect(result.errors.hasPrefix("Error: The password in --password-file must have 12 to 1024 bytes"))
  }

  @Test("serve refuses to start while migrations are pending, and migrate applies them once")
  func pendingMigrations() async throws {
    try await withDatabase { database in
      let environment = ["DATABASE_URL": database.url]
      try await PostgresPool.with(database.configuration) { pool in
        try await pool.withConnection { try await $0.executeScript("drop schema public cascade; create schema public") }
      }
      let spool = FileManager.default.temporaryDirectory.appending(path: database.name + ".refused").path
      let refused = try await latchkey(
        ["serve"], environment: environment.merging(["USAGE_SPOOL": spool, "HTTP_PORT": "\(try freePort())"]) { $1 })
      #expect(refused.status == 1)
      #expect(refused.errors.contains("run latchkey migrate first"))
      #expect(!FileManager.default.fileExists(atPath: spool), "it leaves nothing behind")
      let first = try await latchkey(["migrate", "--json"], environment: environment)
      #expect(try first.json()["applied"].array.first == .string("0001_accounts_and_people"))
      let second = try await latchkey(["migrate", "--json"], environment: environment)
      #expect(try second.json()["applied"].array == [])
    }
  }

  @Test("migrate works in any folder, because the migrations are part of the program")
  func migrateElsewhere() async throws {
    try await withDatabase { database in
      try await PostgresPool.with(database.configuration) { pool in
        try await pool.withConnection { try await $0.executeScript("drop schema public cascade; create schema public") }
      }
      let result = try await run(
        "/bin/sh", ["-c", "cd / && exec \"$0\" migrate --json", latchkeyBinary],
        environment: baseEnvironment.merging(["DATABASE_URL": database.url]) { $1 })
      #expect(result.status == 0, "\(result.errors)")
      #expect(try result.json()["applied"].array.first == .string("0001_accounts_and_people"))
    }
  }

  @Test("if the output cannot be written, a command exits with status 1 and a line that names the file system")
  func fullDisk() async throws {
    try await withDatabase { database in
      let environment = ["DATABASE_URL": database.url, "PASSWORD_COST": "10"]
      _ = try await latchkey(
        ["accounts", "create", "--name", "Acme", "--email", "ada@example.com"], environment: environment)
      let result = try await run(
        "/bin/sh", ["-c", "exec \"$0\" audit export > /dev/full", latchkeyBinary],
        environment: baseEnvironment.merging(environment) { $1 })
      #expect(result.status == 1)
      #expect(result.errors == "latchkey: file system error: No space left on device\n")
    }
  }

  @Test("migrate lets a role read the analytics views, even if no migration is pending, and creates it if necessary")
  func analyticsRole() async throws {
    try await withDatabase { database in
      let role = "analyst_\(UUID().uuidString.prefix(8).lowercased())"
      let environment = ["DATABASE_URL": database.url]
      for _ in 1...2 {
        let result = try await latchkey(["migrate", "--analytics-role", role, "--json"], environment: environment)
        #expect(result.status == 0, "\(result.errors)")
        #expect(try result.json()["applied"].array == [])
      }
      try await PostgresPool.with(database.configuration) { pool in
        try await pool.withConnection { connection in
          try await connection.executeScript("set role \(role); select * from usage_daily_v1; reset role")
          try await connection.executeScript("drop owned by \(role); drop role \(role)")
        }
      }
      for name in ["", String(repeating: "x", count: 64)] {
        let result = try await latchkey(["migrate", "--analytics-role", name], environment: environment)
        #expect(result.status == 64 && result.errors.contains("--analytics-role"))
      }
    }
  }
}
