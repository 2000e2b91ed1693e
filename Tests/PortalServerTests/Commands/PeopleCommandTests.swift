import Foundation
import PortalAPI
import PortalHTTP
import PortalTesting
import Postgres
import PostgresTesting
import Testing

@Suite("latchkey people")
struct PeopleCommandTests {
  /// Runs `body` with an account and its owner, who has recorded events.
  private func withPerson(
    _ body: (TestDatabase, [String: String], _ account: String, _ person: String) async throws -> Void
  ) async throws {
    try await withDatabase { database in
      let environment = ["DATABASE_URL": database.url, "PASSWORD_COST": "10", "USER": "root"]
      let made = try await latchkey(
        ["accounts", "create", "--name", "ada", "--email", "ada@example.com", "--json"], environment: environment
      ).json()
      let (account, person) = (try #require(made["id"].string), try #require(made["user"]["id"].string))
      try await PostgresPool.with(database.configuration) { pool in
        try await pool.withConnection {
          try await $0.executeScript(
            """
            insert into audit_events (id, account_id, actor_kind, actor_id, actor_name, action, target_kind, ip)
            select gen_random_uuid(), '\(account)', 'user', '\(person)', 'ada@example.com', 'key.created', 'key',
              '192.0.2.1'
            from generate_series(1, 3)
            """)
        }
      }
      try await body(database, environment, account, person)
    }
  }

  @Test("exports everything stored about a person, by address or id, as one JSON object")
  func export() async throws {
    try await withPerson { _, environment, account, person in
      for reference in ["Ada@Example.com", person] {
        let result = try await latchkey(["people", "export", reference], environment: environment)
        #expect(result.status == 0, "\(result.errors)")
        let json = try result.json()
        #expect(json["person"]["id"].string == person && json["auditEvents"].array.count == 3)
        #expect(json["memberships"][0]["accountId"].string == account)
      }
      for (reference, status) in [("bob@example.com", 1), (UUID().uuidString, 1), ("bob", 64)] as [(String, Int32)] {
        #expect(try await latchkey(["people", "export", reference], environment: environment).status == status)
      }
    }
  }

  @Test(
    "erases a person after confirmation; verify reports it, and the documented program verifies an export")
  func erase() async throws {
    try await withPerson { _, environment, account, person in
      let erase = ["people", "erase", "ada@example.com"]
      for answer in ["", "yes\n", "eve@example.com\n"] {
        let refused = try await latchkey(erase, environment: environment, input: answer)
        #expect(refused.status == 1 && refused.errors.contains("nothing was erased"))
      }
      #expect(try await latchkey(erase + ["--ticket", "T-1"], environment: environment).status == 64)
      let erased = try await latchkey(
        erase + ["--reason", "ada@example.com asked"], environment: environment, input: "ada@example.com\n")
      #expect(erased.status == 0, "\(erased.errors)")
      // Three events of hers, and three whose reason names her: the end of her and her account, in two trails.
      #expect(erased.output == "person \(person) is erased, 6 events redacted\n")
      let again = try await latchkey(["people", "erase", person, "--yes", "--json"], environment: environment)
      #expect(again.status == 0, "\(again.errors)")
      #expect(try again.json().names == ["id", "erasedAt", "redactedEvents", "finished"])
      #expect(try await latchkey(erase + ["--yes"], environment: environment).status == 1)

      let verified = try await latchkey(["audit", "verify"], environment: environment)
      #expect(verified.status == 0, "\(verified.output)")
      #expect(
        verified.output.contains("\(account) event 7 (") && verified.output.contains("redacted 5 events"))
      #expect(verified.output.hasSuffix(" chains, 6 of them redacted\n"))
      let json = try await latchkey(["audit", "verify", "--json"], environment: environment).json()
      #expect(json["redactions"].array.count == 2)
      #expect(json["redactions"][0].names == ["account", "seq", "id", "events"])

      let page = try String(contentsOfFile: repositoryRoot + "/docs/AUDIT.md", encoding: .utf8)
      let program = String(try #require(page.firstMatch(of: /```python\n(?<text>[^`]*)```/)).text)
      let export = try await latchkey(["audit", "export"], environment: environment).output
      #expect(!export.contains("ada@example.com") && !export.contains("192.0.2.1"))
      let intact = try await run("/usr/bin/python3", ["-c", program], input: export)
      #expect(intact.status == 0 && intact.output.hasSuffix(" events, intact, 6 redacted\n"), "\(intact.errors)")
      for (text, other) in [("key.created", "key.revoked"), ("\"recordedBy\":7", "\"recordedBy\":6")] {
        #expect(export.contains(text))
        let broken = try await run(
          "/usr/bin/python3", ["-c", program], input: export.replacing(text, with: other, maxReplacements: 1))
        #expect(broken.status == 1, "\(text) \(broken.output)")
      }
    }
  }

  @Test("refuses to erase the last owner of an account with keys")
  func lastOwner() async throws {
    try await withPerson { _, environment, account, _ in
      let key = try await latchkey(
        ["keys", "create", "--account", account, "--name", "Key", "--scope", "a"], environment: environment)
      #expect(key.status == 0, "\(key.errors)")
      let refused = try await latchkey(["people", "erase", "ada@example.com", "--yes"], environment: environment)
      #expect(refused.status == 1 && refused.errors.contains("without an owner"))
    }
  }
}
