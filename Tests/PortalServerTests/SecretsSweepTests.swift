import Foundation
import JSON
import PortalAPI
import PortalHTTP
import PortalTesting
import Postgres
import PostgresTesting
import Testing

@testable import Portal

/// A client of real servers that keeps every secret it was given.
private final class Holder {
  /// They take turns.
  let servers: [RunningServer]
  let sweep: SecretsSweep
  /// Every credential that was sent or received.
  private(set) var secrets: [String] = []
  private var requestCount = 0

  init(_ servers: [RunningServer], _ sweep: SecretsSweep) {
    self.servers = servers
    self.sweep = sweep
  }

  @discardableResult
  func keep(_ secret: String?) throws -> String {
    let secret = try #require(secret)
    secrets.append(secret)
    sweep.note(secret)
    return secret
  }

  /// Returns the JSON of the response; null if it has none.
  @discardableResult
  func send(
    _ method: String, _ path: String, _ json: String? = nil, token: String? = nil, headers: [String: String] = [:]
  ) async throws -> JSONValue {
    var arguments = ["-X", method, servers[requestCount % servers.count].url + path]
    requestCount += 1
    if let json { arguments += ["-H", "Content-Type: application/json", "-d", json] }
    if let token { arguments += ["-H", "Authorization: Bearer \(token)"] }
    for (name, value) in headers { arguments += ["-H", "\(name): \(value)"] }
    let output = try await curl(arguments).output
    return (try? JSONParser.parse(output.utf8)) ?? .null
  }
}

@Suite("Secrets do not leak")
struct SecretsSweepTests {
  private static let sealingKey = Data(repeating: 7, count: 32).base64EncodedString()

  @Test(
    """
    no key, token, password or code that was issued, sent or guessed appears in logs of either format, metrics, audit \
    trails, the spool, other mails or a dump of the database
    """
  )
  func everything() async throws {
    try await withDatabase { database in
      try await TestMailFolder.with { mails in
        let spool = "/tmp/latchkey-sweep-\(database.name)"
        defer { try? FileManager.default.removeItem(atPath: spool) }
        var environment = ["LOG_LEVEL": "trace", "SECRET_KEY": Self.sealingKey, "MAIL_FOLDER": mails.path]
        let server = try await RunningServer(on: database, spool: spool, environment: environment)
        environment["LOG_FORMAT"] = "json"
        let jsonServer = try await RunningServer(on: database, spool: spool, environment: environment)
        let holder = Holder([server, jsonServer], database.sweep)
        try holder.keep(Self.sealingKey)
        let session = try await people(holder, mails)
        try await machines(holder, session, database)
        try await backend(holder, mails, database)
        try await nonsense(holder, session)

        // The spool is read before its counters are written to the database and removed.
        var places = ["spool": Self.contents(of: spool)]
        places["metrics"] = try await curl([server.url + "/metrics", jsonServer.url + "/metrics"]).output
        places["audit"] = try await curl([server.url + "/v1/audit?limit=100", "-H", "Authorization: Bearer \(session)"])
          .output
        #expect(try await server.end() == 0)
        #expect(try await jsonServer.end() == 0)
        places["log"] = server.readLog()
        places["JSON log"] = jsonServer.readLog()
        places["export"] = try await latchkey(["audit", "export"], environment: ["DATABASE_URL": database.url]).output
        places["dump"] = try await run("/usr/bin/env", ["pg_dump", "--dbname", database.url]).output

        // Each place has the contents that are searched.
        let key = try #require(holder.secrets.first { $0.hasPrefix("lk_live_") })
        #expect(places["dump"]?.contains(String(key.prefix(12))) == true)
        #expect(places["dump"]?.contains("COPY public.mails") == true)
        #expect(places["metrics"]?.contains(#"latchkey_verifications_total{code="VALID"}"#) == true)
        #expect(places["audit"]?.contains("key.rolled") == true && places["export"]?.contains("token.rolled") == true)
        #expect(places["log"]?.contains(" trace ") == true)
        #expect(places["JSON log"]?.contains(#""level":"trace""#) == true)
        #expect(places["spool"]?.isEmpty == false)
        #expect(holder.secrets.count > 35)
        for secret in holder.secrets { #expect(!database.sweep.hits(in: "x \(secret).").isEmpty) }

        for (place, text) in places {
          #expect(database.sweep.hits(in: text) == [], "\(place)")
          for secret in holder.secrets {
            for form in [secret, Self.hex(secret), Data(secret.utf8).base64EncodedString()] {
              #expect(!text.contains(form), "\(place) has what begins with \(secret.prefix(12))")
            }
          }
        }
        try checkMails(mails, database.sweep)
      }
    }
  }

  @Test("the sweep of the database after each test finds a secret in any table, as text or as bytes")
  func finds() async throws {
    try await withDatabase { database in
      database.sweep.note("abcd-efgh-jkmn-pqrs")
      for secret in [Secret.random(prefix: "lk_live").reveal(), "correct horse battery", "abcd-efgh-jkmn-pqrs"] {
        for value in ["'{\"a\":\"x\(secret)y\"}'::jsonb", "convert_to('x\(secret)y', 'UTF8')"] {
          func execute(_ sql: String) async throws {
            try await PostgresPool.with(database.configuration) { pool in
              try await pool.withConnection { try await $0.executeScript(sql) }
            }
          }
          try await execute("create table leak as select 1 as number, \(value) as value")
          await #expect(throws: SecretsFound.self) { try await database.sweep.check(database) }
          try await execute("drop table leak")
          try await database.sweep.check(database)
        }
      }
    }
  }

  /// Uses the credentials of customers: passwords, one-time tokens, sessions and second factors. Returns a live
  /// session.
  private func people(_ holder: Holder, _ mails: TestMailFolder) async throws -> String {
    let passwords = try (1...4).map { try holder.keep("a password, the \($0)th of them, \(UUID())") }
    let address = "ada@example.com"
    func token(_ number: Int) async throws -> String {
      try holder.keep(try await mails.mails(to: address, count: number).compactMap(\.token).last)
    }
    func logIn(_ password: String, _ more: String = "") async throws -> JSONValue {
      try await holder.send("POST", "/v1/login", "{\"email\":\"\(address)\",\"password\":\"\(password)\"\(more)}")
    }
    try await holder.send(
      "POST", "/v1/signup", "{\"email\":\"\(address)\",\"password\":\"\(passwords[0])\",\"accountName\":\"Acme\"}")
    try await holder.send("POST", "/v1/email/verify", "{\"token\":\"\(try await token(1))\"}")
    let wrong = try holder.keep("a password that is not theirs")
    #expect(try await logIn(wrong)["code"].string == "invalid_credentials")
    var session = try holder.keep(try await logIn(passwords[0])["token"].string)

    try await holder.send("POST", "/v1/password/forgot", "{\"email\":\"\(address)\"}")
    let reset = try await token(2)
    try await holder.send("POST", "/v1/password/reset", "{\"token\":\"\(reset)\",\"password\":\"\(passwords[1])\"}")
    session = try holder.keep(try await logIn(passwords[1])["token"].string)
    let changed = try await holder.send(
      "POST", "/v1/me/password", "{\"password\":\"\(passwords[1])\",\"newPassword\":\"\(passwords[2])\"}",
      token: session)
    session = try holder.keep(changed["token"].string)

    let started = try await holder.send(
      "POST", "/v1/me/second-factor", "{\"password\":\"\(passwords[2])\"}", token: session)
    let secret = try holder.keep(started["secret"].string)
    let confirmed = try await holder.send(
      "POST", "/v1/me/second-factor/confirm", "{\"code\":\"\(Self.code(of: secret))\"}", token: session)
    session = try holder.keep(confirmed["token"].string)
    let codes = try confirmed["recoveryCodes"].array.map { try holder.keep($0.string) }
    #expect(try await logIn(passwords[2], ",\"code\":\"\(Self.code(of: secret))\"")["code"].string != nil, "used up")
    session = try holder.keep(try await logIn(passwords[2], ",\"code\":\"\(codes[0])\"")["token"].string)
    session = try holder.keep(try await holder.send("DELETE", "/v1/me/sessions", token: session)["token"].string)

    try await holder.send(
      "POST", "/v1/invitations", #"{"email":"bob@example.com","role":"developer"}"#, token: session)
    let invitation = try holder.keep(try await mails.mails(to: "bob@example.com", count: 1).last?.token)
    try await holder.send(
      "POST", "/v1/accept-invitation", "{\"token\":\"\(invitation)\",\"password\":\"\(passwords[3])\"}")
    let bob = try await holder.send(
      "POST", "/v1/login", "{\"email\":\"bob@example.com\",\"password\":\"\(passwords[3])\"}")
    try await holder.send("POST", "/v1/logout", token: try holder.keep(bob["token"].string))
    return session
  }

  /// Creates, uses and ends keys and service tokens in every way, as customers, gateways and staff do.
  private func machines(_ holder: Holder, _ session: String, _ database: TestDatabase) async throws {
    let environment = ["DATABASE_URL": database.url, "PASSWORD_COST": "10"]
    func makeToken(_ permissions: String...) async throws -> String {
      let made = try await latchkey(
        ["tokens", "create", "--name", "gateway", "--json"] + permissions.flatMap { ["--permission", $0] },
        environment: environment)
      return try holder.keep(try made.json()["token"].string)
    }
    let gateway = try await makeToken("keys.verify", "usage.write", "keys.read", "keys.write")
    let once = try holder.keep("once-\(UUID())")
    let made = #"{"name":"Key","scopes":["a"],"metadata":{"a":1}}"#
    var created: JSONValue = .null
    for _ in 1...2 {
      created = try await holder.send("POST", "/v1/keys", made, token: session, headers: ["Idempotency-Key": once])
    }
    let key = try holder.keep(created["key"].string)
    let id = try #require(created["id"].string)
    let test = try await holder.send(
      "POST", "/v1/keys", #"{"name":"Test","scopes":["a"],"environment":"test"}"#, token: session)
    let leaked = try holder.keep(test["key"].string)
    let unknown = try holder.keep(Secret.random(prefix: "lk_live").reveal())
    for key in [key, leaked, unknown] {
      // Spelled in a way that the fast path answers, and in a way that it leaves to the decoder.
      for name in ["key", "\\u006bey"] {
        try await holder.send("POST", "/v1/verify", "{\"\(name)\":\"\(key)\"}", token: gateway)
      }
      try await holder.send(
        "POST", "/v1/verify/batch", "{\"requests\":[{\"key\":\"\(key)\",\"endpoint\":\"GET /a\"}]}", token: gateway)
      for header in ["Authorization": "Bearer " + key, "X-API-Key": key] {
        try await holder.send(
          "GET", "/v1/authorize",
          headers: [header.key: header.value, "X-Latchkey-Token": gateway, "X-Original-URI": "/a"])
      }
    }
    try await holder.send(
      "POST", "/v1/usage",
      "{\"events\":[{\"keyId\":\"\(id)\",\"endpoint\":\"GET /a\",\"status\":200,\"latencyMs\":3}]}", token: gateway)
    let rolled = try await holder.send("POST", "/v1/keys/\(id)/roll", #"{"graceSeconds":60}"#, token: session)
    try holder.keep(rolled["newKey"]["key"].string)
    let account = try #require(
      try await holder.send("GET", "/v1/me", token: session)["account"]["id"].string)
    let backend = try await holder.send("POST", "/v1/accounts/\(account)/keys", made, token: gateway)
    try holder.keep(backend["key"].string)

    let password = try holder.keep("a password of staff, \(UUID())")
    _ = try await latchkey(
      [
        "staff", "create", "--name", "Grace", "--email", "grace@example.com", "--role", "admin", "--password-file", "-",
      ], environment: environment, input: password + "\n")
    let login = try await holder.send(
      "POST", "/v1/support/login", "{\"email\":\"grace@example.com\",\"password\":\"\(password)\"}")
    let staff = try holder.keep(login["token"].string)
    let issued = try await holder.send(
      "POST", "/v1/support/tokens", #"{"name":"shop","permissions":["keys.read"]}"#, token: staff)
    try holder.keep(issued["token"].string)
    let renewed = try await holder.send(
      "POST", "/v1/support/tokens/\(issued["id"].string ?? "")/roll", "{}", token: staff)
    try holder.keep(renewed["newToken"]["token"].string)
    let found = try await holder.send("POST", "/v1/support/keys/lookup", "{\"key\":\"\(leaked)\"}", token: staff)
    #expect(found["keys"][0]["start"].string == String(leaked.prefix(12)))
    try await holder.send(
      "POST", "/v1/support/keys/\(test["id"].string ?? "")/revoke", #"{"reason":"it is on the internet"}"#, token: staff
    )
    _ = try await makeToken("analytics.read")
  }

  /// Creates an account with a key and its first person, as a company's backend does, and deletes it.
  private func backend(_ holder: Holder, _ mails: TestMailFolder, _ database: TestDatabase) async throws {
    let made = try await latchkey(
      ["tokens", "create", "--name", "shop", "--json"]
        + ["accounts.read", "accounts.write", "keys.write"].flatMap { ["--permission", $0] },
      environment: ["DATABASE_URL": database.url, "PASSWORD_COST": "10"])
    let token = try holder.keep(try made.json()["token"].string)
    let once = try holder.keep("once-\(UUID())")
    var account: JSONValue = .null
    for _ in 1...2 {
      account = try await holder.send(
        "POST", "/v1/accounts", #"{"name":"Widgets","externalId":"cus_1","metadata":{"a":1}}"#, token: token,
        headers: ["Idempotency-Key": once, "X-On-Behalf-Of": "agent 12"])
    }
    let path = "/v1/accounts/" + (try #require(account["id"].string))
    let key = try await holder.send(
      "POST", path + "/keys", #"{"name":"Key","scopes":[],"rateLimitPerMinute":null}"#, token: token)
    try holder.keep(key["key"].string)
    try await holder.send(
      "POST", path + "/invitations", #"{"email":"eve@example.com","role":"owner"}"#, token: token)
    let invitation = try holder.keep(try await mails.mails(to: "eve@example.com", count: 1).last?.token)
    let password = try holder.keep("a password of the first person, \(UUID())")
    let joined = try await holder.send(
      "POST", "/v1/accept-invitation", "{\"token\":\"\(invitation)\",\"password\":\"\(password)\"}")
    #expect(joined["role"].string == "owner")
    #expect(try await holder.send("GET", path, token: token)["kind"].string == "customer")
    #expect(try await holder.send("DELETE", path, token: token)["revokedKeys"].integer == 1)
  }

  /// Sends secrets in the wrong places, as people do by mistake. That must not expose them.
  private func nonsense(_ holder: Holder, _ session: String) async throws {
    for secret in holder.secrets where !secret.contains(" ") {
      for path in ["/v1/keys/\(secret)", "/v1/keys?start=\(secret)", "/\(secret)", "/v1/support/keys?start=\(secret)"] {
        try await holder.send("GET", path, token: session)
      }
      try await holder.send("POST", "/v1/login", "{\"email\":\"\(secret)\",\"password\":\"\(secret)\"}")
      try await holder.send("POST", "/v1/verify", "{\"key\":\"\(secret)\",", token: secret)
      try await holder.send("GET", "/v1/me", token: secret)
    }
  }

  /// Expects that a mail contains the token that it was sent for and no other secret.
  private func checkMails(_ folder: TestMailFolder, _ sweep: SecretsSweep) throws {
    let all = try folder.mails()
    #expect(all.count { $0.token != nil } >= 3)
    for mail in all {
      let own = mail.token.map { Set([String($0[..<($0.lastIndex(of: "_") ?? $0.startIndex)])]) } ?? []
      #expect(Set(mail.text.matches(of: /lk_[a-z]+_[0-9A-Za-z]{49}/).map { String($0.output) }).count <= 1)
      try sweep.check(mail.raw + mail.text, allowing: own, "a mail")
    }
  }

  private static func code(of secret: String) -> String {
    let alphabet = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567")
    let bits = secret.flatMap { character -> [Int] in
      let value = alphabet.firstIndex(of: character) ?? 0
      return (0..<5).map { value >> (4 - $0) & 1 }
    }
    let bytes = stride(from: 0, to: bits.count - 7, by: 8).map { start in
      UInt8(bits[start..<start + 8].reduce(0) { $0 << 1 | $1 })
    }
    return TOTP(secret: bytes).code(atStep: TOTP.step(at: Date()))
  }

  private static func hex(_ text: String) -> String { text.utf8.map { String(format: "%02x", $0) }.joined() }

  /// The bytes of all files in a folder, each as a character.
  private static func contents(of folder: String) -> String {
    let files = FileManager.default.enumerator(atPath: folder)?.compactMap { $0 as? String } ?? []
    return files.compactMap { FileManager.default.contents(atPath: folder + "/" + $0) }
      .map { String(decoding: $0.map { UInt16($0) }, as: UTF16.self) }.joined()
  }
}
