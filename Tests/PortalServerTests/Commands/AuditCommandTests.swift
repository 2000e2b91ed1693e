import Foundation
import JSON
import PortalAPI
import PortalHTTP
import PortalTesting
import Postgres
import PostgresTesting
import Testing

@Suite("latchkey audit")
struct AuditCommandTests {
  /// Runs `body` with two accounts that have one event each, and two events that belong to no account.
  private func withTrails(_ body: (TestDatabase, [String: String], _ accountID: String) async throws -> Void)
    async throws
  {
    try await withDatabase { database in
      let environment = ["DATABASE_URL": database.url, "PASSWORD_COST": "10", "USER": "root"]
      var accountID = ""
      for name in ["ada", "bob"] {
        let made = try await latchkey(
          ["accounts", "create", "--name", name, "--email", name + "@example.com", "--json"], environment: environment)
        accountID = try made.json()["id"].string ?? ""
      }
      for arguments in [
        ["staff", "create", "--name", "Grace", "--email", "grace@example.com"],
        ["tokens", "create", "--name", "gateway", "--permission", "keys.verify"],
      ] { #expect(try await latchkey(arguments, environment: environment).status == 0) }
      try await body(database, environment, accountID)
    }
  }

  private func type(_ sql: String, _ database: TestDatabase) async throws {
    try await PostgresPool.with(database.configuration) { pool in
      try await pool.withConnection { try await $0.executeScript(sql) }
    }
  }

  private func temporaryFile() -> String {
    FileManager.default.temporaryDirectory.appending(path: UUID().uuidString).path
  }

  @Test("verify reports that everything is intact, or what is not, with exit status 1")
  func verify() async throws {
    try await withTrails { database, environment, account in
      let intact = try await latchkey(["audit", "verify"], environment: environment)
      #expect(intact.status == 0 && intact.output == "intact: 4 events in 3 chains\n")
      let one = try await latchkey(["audit", "verify", "--account", account], environment: environment)
      #expect(one.output.hasPrefix("intact: 1 events in 1 chains, head \(account):1:"))
      let system = try await latchkey(["audit", "verify", "--account", "system", "--json"], environment: environment)
      #expect(
        try system.json().names == [
          "intact", "chains", "events", "findingCount", "findings", "redactedEvents", "redactions", "head",
        ])
      #expect(try system.json()["head"].string?.hasPrefix("system:2:") == true)
      try await type(
        """
        set session_replication_role = replica;
        update audit_events set actor_name = 'nobody' where account_id = '\(account)'
        """,
        database)
      let broken = try await latchkey(["audit", "verify"], environment: environment)
      #expect(broken.status == 1)
      let lines = broken.output.split(separator: "\n")
      #expect(lines.count == 2 && lines[0].hasPrefix(account + " event 1 (") && lines[0].hasSuffix("it was edited"))
      #expect(lines.last == "BROKEN: 1 findings in 4 events in 3 chains")
      let json = try await latchkey(["audit", "verify", "--json"], environment: environment)
      #expect(json.status == 1)
      let finding = try json.json()["findings"][0]
      #expect(finding.names == ["account", "seq", "id", "problem"] && finding["account"].string == account)
      #expect(try await latchkey(["audit", "verify", "--account", "system"], environment: environment).status == 0)
    }
  }

  @Test("with heads that were kept, verify finds events that were removed together with their head")
  func heads() async throws {
    try await withTrails { database, environment, account in
      let file = temporaryFile()
      defer { try? FileManager.default.removeItem(atPath: file) }
      let verify = ["audit", "verify"]
      #expect(try await latchkey(verify + ["--heads", file], environment: environment).status == 0)
      let heads = try String(contentsOfFile: file, encoding: .utf8).split(separator: "\n").map(String.init)
      #expect(heads.count == 3 && heads[0].hasPrefix("system:2:"))
      // An existing file may be the only one left to compare with.
      #expect(try await latchkey(verify + ["--heads", file], environment: environment).status == 64)
      let tokens = ["tokens", "create", "--name", "other", "--permission", "keys.verify"]
      #expect(try await latchkey(tokens, environment: environment).status == 0)
      #expect(try await latchkey(verify + ["--expect-file", file], environment: environment).status == 0)
      #expect(try await latchkey(verify + ["--expect", heads[0]], environment: environment).status == 0)
      try await type(
        """
        set session_replication_role = replica;
        delete from audit_events where account_id is null and seq > 1;
        update audit_heads set (seq, hash) = (select seq, hash from audit_events where account_id is null)
        where account_id = '00000000-0000-0000-0000-000000000000'
        """, database)
      #expect(try await latchkey(verify, environment: environment).status == 0)
      let found = try await latchkey(verify + ["--expect-file", file], environment: environment)
      #expect(found.status == 1 && found.output.hasPrefix("system event 2: does not have the expected hash"))
      for wrong in [
        ["--expect", "system:1"], ["--expect-file", "/nowhere"], ["--account", "x"], ["--heads", "/nowhere/heads"],
        ["--account", account, "--expect", heads[0]],
      ] { #expect(try await latchkey(verify + wrong, environment: environment).status == 64) }
    }
  }

  @Test("export prints every chain, or the events that match the filters")
  func export() async throws {
    try await withTrails { _, environment, account in
      func lines(_ arguments: [String]) async throws -> [JSONValue] {
        let result = try await latchkey(["audit", "export"] + arguments, environment: environment)
        #expect(result.status == 0, "\(result.errors)")
        return try result.output.split(separator: "\n").map { try JSONParser.parse($0.utf8) }
      }
      let all = try await lines([])
      #expect(
        all.compactMap { $0["action"].string } == [
          "staff.created", "token.created", "account.created", "account.created",
        ])
      #expect(all[0]["accountId"] == .null && all[0]["actor"]["name"].string == "root")
      #expect(try await lines(["--account", account]) == all.filter { $0["accountId"].string == account })
      #expect(try await lines(["--account", "system", "--action", "token.created"]) == [all[1]])
      #expect(try await lines(["--actor", "command", "--from", "2020-01-01T00:00:00Z"]) == all)
      #expect(try await lines(["--actor", "job"]) == [])
      #expect(try await lines(["--to", "2020-01-01T00:00:00Z"]) == [])
      #expect(try await lines(["--target", account]).count == 1)
      for wrong in [["--actor", "x"], ["--action", "x"], ["--target", "x"], ["--from", "x"], ["--account", "x"]] {
        #expect(try await latchkey(["audit", "export"] + wrong, environment: environment).status == 64)
      }
    }
  }

  /// The program knows only the encoding that the page describes.
  @Test("the program in docs/AUDIT.md verifies an export, and detects changes in it")
  func documentedProgram() async throws {
    try await withTrails { database, environment, _ in
      // As versions without details recorded it.
      try await type(
        """
        insert into audit_events (id, actor_kind, actor_name, action, target_kind, target_id, reason)
        values (gen_random_uuid(), 'command', 'root', 'token.created', 'token', gen_random_uuid(), 'shop: keys.read')
        """, database)
      let export = try await latchkey(["audit", "export"], environment: environment).output
      let intact = try await runDocumentedProgram(on: export)
      #expect(intact.status == 0 && intact.output == "5 events, intact\n", "\(intact.errors)")
      // An export of such a version has no member for details, and its events have none.
      let earlier = try await runDocumentedProgram(on: export.replacing(#""detail":null,"#, with: ""))
      #expect(earlier.status == 0 && earlier.output == intact.output, "\(earlier.errors)")
      for (text, other) in [
        ("Z\"", "1Z\""), ("\"root\"", "\"toor\""), ("\"seq\":2", "\"seq\":3"), ("null", "\"\""),
        // A detail that is changed, removed, added, moved to the reason, and moved from there.
        (#""detail":"gateway: keys.verify""#, #""detail":"gateway: keys.read""#),
        (#""detail":"gateway: keys.verify""#, #""detail":null"#), (#""detail":null"#, #""detail":"""#),
        (
          #""reason":null,"ticket":null,"detail":"gateway: keys.verify""#,
          #""reason":"gateway: keys.verify","ticket":null,"detail":null"#
        ),
        (
          #""reason":"shop: keys.read","ticket":null,"detail":null"#,
          #""reason":null,"ticket":null,"detail":"shop: keys.read""#
        ),
      ] {
        #expect(export.contains(text), "\(text)")
        let broken = try await runDocumentedProgram(on: export.replacing(text, with: other, maxReplacements: 1))
        #expect(broken.status == 1, "\(text) \(broken.output)")
      }
    }
  }

  @Test("verify and the documented program know redactions that a version without details has recorded, in the reason")
  func earlierRedactions() async throws {
    try await withTrails { database, environment, account in
      try await type(
        """
        create temporary table person as select user_id as id from memberships where account_id = '\(account)';
        insert into audit_events
          (id, account_id, actor_kind, actor_id, actor_name, action, target_kind, target_id, reason)
        select gen_random_uuid(), '\(account)', 'user', id, 'bob@example.com', 'member.joined', 'user', id,
          'bob@example.com as owner'
        from person;
        begin;
        select begin_erasure(id) from person;
        select go_on_erasing(id) from person;
        insert into audit_events (id, account_id, actor_kind, actor_name, action, target_kind, target_id, reason)
        select gen_random_uuid(), '\(account)', 'command', 'root', 'audit.redacted', 'user', person.id,
          step.redacted || ' events, SHA-256 ' || step.digest
        from person, redact_audit_events(person.id, '\(account)', 0, 5000) step;
        select finish_erasure(id) from person;
        commit;
        """, database)
      let verified = try await latchkey(["audit", "verify"], environment: environment)
      #expect(verified.status == 0 && verified.output.hasSuffix(", 1 of them redacted\n"), "\(verified.output)")
      let export = try await latchkey(["audit", "export"], environment: environment).output
      let recording = #""reason":"1 events, SHA-256 "#
      #expect(export.contains(recording) && !export.contains("bob@example.com as"))
      let intact = try await runDocumentedProgram(on: export)
      #expect(intact.status == 0 && intact.output == "6 events, intact, 1 redacted\n", "\(intact.errors)")
      let broken = try await runDocumentedProgram(
        on: export.replacing(recording, with: #""reason":"2 events, SHA-256 "#))
      #expect(broken.status == 1, "\(broken.output)")
    }
  }

  @Test("summary counts the events of one trail by action, as a table and as JSON")
  func summary() async throws {
    try await withTrails { _, environment, account in
      let table = try await latchkey(
        ["audit", "summary", "--account", account, "--no-headings"], environment: environment)
      let lines = table.output.split(separator: "\n")
      #expect(table.status == 0 && lines.count == 2)
      #expect(lines[0].hasPrefix("account.created") && lines[1].hasPrefix("total"))
      let system = try await latchkey(
        ["audit", "summary", "--account", "system", "--action", "staff.created", "--json"], environment: environment)
      #expect(try system.json().names == ["total", "byAction", "lastActivityAt"])
      #expect(try system.json()["byAction"]["staff.created"].integer == 1)
      let none = try await latchkey(
        ["audit", "summary", "--account", account, "--to", "2020-01-01T00:00:00Z", "--json"], environment: environment)
      #expect(try none.json()["total"].integer == 0)
      #expect(try await latchkey(["audit", "summary"], environment: environment).status != 0)
    }
  }

  private func runDocumentedProgram(on export: String) async throws -> CommandResult {
    let page = try String(contentsOfFile: repositoryRoot + "/docs/AUDIT.md", encoding: .utf8)
    let program = try #require(page.firstMatch(of: /```python\n(?<text>[^`]*)```/)).text
    return try await run("/usr/bin/python3", ["-c", String(program)], input: export)
  }
}
