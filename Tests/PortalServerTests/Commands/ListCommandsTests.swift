import Foundation
import JSON
import PortalAPI
import PortalHTTP
import PortalTesting
import Postgres
import PostgresTesting
import Testing

/// Runs commands on a test's own database as one operator.
private struct Operator {
  let database: TestDatabase

  var environment: [String: String] { ["DATABASE_URL": database.url, "PASSWORD_COST": "10", "USER": "olga"] }

  func run(_ arguments: String...) async throws -> CommandResult {
    try await latchkey(arguments, environment: environment)
  }

  /// Runs a command that must succeed, and returns its output as JSON.
  func json(_ arguments: String...) async throws -> JSONValue {
    let result = try await latchkey(arguments + ["--json"], environment: environment)
    #expect(result.status == 0, "\(result.errors)")
    return try result.json()
  }

  func makeAccount(_ name: String, _ email: String) async throws -> String {
    try #require(try await json("accounts", "create", "--name", name, "--email", email)["id"].string)
  }

  func makeStaff(_ email: String, _ role: String) async throws -> String {
    try #require(
      try await json("staff", "create", "--name", "Grace", "--email", email, "--role", role)["id"].string)
  }

  func script(_ sql: String) async throws {
    try await PostgresPool.with(database.configuration) { pool in
      try await pool.withConnection { try await $0.executeScript(sql) }
    }
  }

  /// The events that the trails have recorded for staff and keys, except for the creation of staff.
  func told() async throws -> [String] {
    try await PostgresPool.with(database.configuration) { try await $0.query(OperatorEvents()) }
  }
}

private struct OperatorEvents: PostgresStatement {
  typealias Row = String
  static let sql = """
    select concat_ws(' ', actor_kind, actor_name, action, 'because ' || reason, detail) from audit_events
    where action ~ '^(staff|key)' and action <> 'staff.created' order by id
    """
}

@Suite("latchkey's lists, and its commands for staff and keys")
struct ListCommandsTests {
  private func withOperator(_ body: (Operator) async throws -> Void) async throws {
    try await withDatabase { try await body(Operator(database: $0)) }
  }

  @Test("accounts are listed in pages, found and shown; standard error says how to continue a list")
  func accounts() async throws {
    try await withOperator { shell in
      let acme = try await shell.makeAccount("Acme", "ada@example.com")
      let other = try await shell.makeAccount("日本", "bob@example.com")
      let first = try await shell.run("accounts", "list", "--limit", "1")
      let lines = first.output.split(separator: "\n")
      #expect(lines.count == 2 && lines[0].hasPrefix("ID ") && lines[1].hasPrefix(other) && lines[1].hasSuffix("  日本"))
      #expect(first.errors == "latchkey: there are more; continue with --after \(other)\n")
      let second = try await shell.run("accounts", "list", "--after", other, "--no-headings")
      #expect(second.output.hasPrefix(acme + "  active ") && second.errors == "")

      let json = try await shell.json("accounts", "list", "--limit", "1")
      #expect(json.names == ["accounts", "next"] && json["next"].string == other)
      #expect(try await shell.json("accounts", "list")["next"] == .null)
      for (option, value) in [("--name", "cme"), ("--email", "Ada@example.com")] {
        let found = try await shell.json("accounts", "list", option, value)["accounts"].array
        #expect(found.map { $0["id"].string } == [acme])
      }

      let shown = try await shell.run("accounts", "show", acme)
      #expect(shown.output.contains(#/(?m)^member +ada@example.com, owner$/#))
      #expect(try await shell.json("accounts", "show", acme)["members"][0]["email"].string == "ada@example.com")
      let unknown = try await shell.run("accounts", "show", UUID().uuidString)
      #expect(unknown.status == 1 && unknown.errors == "latchkey: not found\n")
    }
  }

  @Test("a key is created within the limits of the plan, with its secret printed once, then listed, shown and revoked")
  func keys() async throws {
    try await withOperator { shell in
      let account = try await shell.makeAccount("Acme", "ada@example.com")
      let plain = try await shell.run("keys", "create", "--account", account, "--name", "Plain", "--scope", "a")
      #expect(plain.output.wholeMatch(of: /key [0-9a-f-]{36} lk_live_[0-9A-Za-z]+\n/) != nil)
      let made = try await shell.json(
        "keys", "create", "--account", account, "--name", "Full", "--scope", "a", "--scope", "b:c", "--environment",
        "test", "--per-minute", "7", "--allowed-ip", "192.0.2.0/24", "--tag", "shop", "--expires-in-days", "3")
      let id = try #require(made["id"].string)
      let secret = try #require(made["key"].string)
      #expect(secret.hasPrefix("lk_test_") && made["rateLimitPerMinute"] == .number("7"))
      #expect(made["createdBy"]["kind"].string == "command" && made["createdBy"]["name"].string == "olga")

      let list = try await shell.run("keys", "list", "--account", account)
      #expect(list.output.split(separator: "\n").count == 3 && !list.output.contains(secret))
      let tagged = try await shell.json("keys", "list", "--account", account, "--tag", "shop")
      #expect(tagged["keys"].array.map { $0["id"].string } == [id] && tagged["next"] == .null)
      let shown = try await shell.run("keys", "show", id)
      #expect(shown.output.contains(#/(?m)^allowed +192.0.2.0/24$/#) && !shown.output.contains(secret))
      #expect(try await shell.json("keys", "show", id)["accountId"].string == account)

      try await shell.script("update plans set scopes = '{a}', key_cap = 2")
      let refused = try await shell.run("keys", "create", "--account", account, "--name", "x", "--scope", "b")
      #expect(refused.status == 1 && refused.errors.hasPrefix("latchkey: scopes[0] "), "\(refused.errors)")
      let full = try await shell.run("keys", "create", "--account", account, "--name", "x", "--scope", "a")
      #expect(full.errors == "latchkey: the account has 2 live keys, as many as its plan allows\n")
      #expect(try await shell.run("keys", "revoke", id, "--reason", "leaked").status == 0)
      for arguments in [["keys", "list", "--account"], ["keys", "show"]] {
        let unknown = try await latchkey(arguments + [UUID().uuidString], environment: shell.environment)
        #expect(unknown.status == 1 && unknown.errors == "latchkey: not found\n")
      }
      #expect(
        try await shell.told() == [
          "command olga key.created", "command olga key.created", "command olga key.revoked because leaked",
        ])
    }
  }

  @Test("staff are listed, get another role, are disabled and removed, by id or address, except for the last admin")
  func staff() async throws {
    try await withOperator { shell in
      let ann = try await shell.makeStaff("ann@example.com", "admin")
      let grace = try await shell.makeStaff("grace@example.com", "support")
      let list = try await shell.run("staff", "list")
      let lines = list.output.split(separator: "\n").map { $0.split(separator: #/ {2,}/#).map(String.init) }
      #expect(lines[0] == ["ID", "ROLE", "STATUS", "SECOND FACTOR", "CREATED", "EMAIL", "NAME"])
      #expect(
        lines[1][0...3] == [grace, "support", "enabled", "no"] && lines[1][5...] == ["grace@example.com", "Grace"])
      #expect(lines[2][0] == ann)

      for arguments in [["role", ann, "support"], ["disable", "ann@example.com"], ["remove", ann]] {
        let refused = try await latchkey(["staff"] + arguments, environment: shell.environment)
        #expect(refused.status == 1 && refused.errors.contains("this is the last admin who can log in"))
      }
      let promoted = try await shell.run("staff", "role", "Grace@example.com", "admin")
      #expect(promoted.output == "staff \(grace) grace@example.com has the role admin\n")
      let disabled = try await shell.json("staff", "disable", ann)
      #expect(disabled["disabledAt"].string != nil && disabled["email"].string == "ann@example.com")
      #expect(try await shell.json("staff", "enable", ann)["disabledAt"] == .null)

      let none = try await shell.run("staff", "reset-second-factor", grace)
      #expect(none.status == 1 && none.errors == "latchkey: not found\n")
      try await shell.script(
        """
        insert into second_factors (staff_id, sealed_secret, confirmed_at)
        values ('\(grace)', decode(repeat('00', 48), 'hex'), now())
        """)
      #expect(try await shell.run("staff", "show", grace).output.contains(#/(?m)^second factor +since /#))
      #expect(try await shell.json("staff", "reset-second-factor", grace)["secondFactorEnabledAt"] == .null)
      #expect(try await shell.run("staff", "remove", "ann@example.com").status == 0)
      let gone = try await shell.run("staff", "show", ann)
      #expect(gone.status == 1 && gone.errors == "latchkey: not found\n")
      #expect(
        try await shell.told() == [
          "command olga staff.role_changed grace@example.com: from support to admin",
          "command olga staff.disabled ann@example.com", "command olga staff.enabled ann@example.com",
          "command olga staff.second_factor_reset grace@example.com", "command olga staff.removed ann@example.com",
        ])
    }
  }

  @Test("a hostile name in the database is masked in text output, and unchanged in JSON")
  func hostileNames() async throws {
    try await withOperator { shell in
      let id = try await shell.makeAccount("Acme", "ada@example.com")
      try await shell.script("update accounts set name = E'a\\x1b[2J\\u009b\\u202eb'")
      for arguments in [["accounts", "list"], ["accounts", "show", id]] {
        let text = try await latchkey(arguments, environment: shell.environment).output
        #expect(text.contains("a\u{FFFD}[2J\u{FFFD}\u{FFFD}b"))
        let json = try await latchkey(arguments + ["--json"], environment: shell.environment)
        #expect(json.output.contains(#"a\u001b[2J\u009b\u202eb"#))
        let account = arguments[1] == "list" ? try json.json()["accounts"][0] : try json.json()
        #expect(account["name"].string == "a\u{1B}[2J\u{9B}\u{202E}b")
      }
    }
  }

  @Test("the generated completion scripts know commands and options", arguments: ["bash", "zsh", "fish"])
  func completion(shell: String) async throws {
    let script = try await latchkey(["--generate-completion-script", shell])
    #expect(
      script.status == 0 && script.output.contains("reset-second-factor") && script.output.contains("no-headings"))
  }
}
