import Foundation
import JSON
import PortalTesting
import PostgresTesting
import Testing

@Suite("latchkey keys explain")
struct ExplainCommandTests {
  @Test("the checks are printed with what they decide, as a table and as JSON, for now and for a time in the past")
  func explain() async throws {
    try await withDatabase { database in
      let environment = ["DATABASE_URL": database.url, "PASSWORD_COST": "10", "USER": "root"]
      let account = try await latchkey(
        ["accounts", "create", "--name", "ada", "--email", "ada@example.com", "--json"], environment: environment
      ).json()["id"].string
      let made = try await latchkey(
        ["keys", "create", "--account", try #require(account), "--name", "Key", "--scope", "orders:read", "--json"],
        environment: environment)
      let id = try #require(try made.json()["id"].string, "\(made)")
      let table = try await latchkey(
        ["keys", "explain", id, "--scope", "orders:write", "--no-headings"], environment: environment)
      #expect(table.status == 0)
      let rows = table.output.split(separator: "\n").map { $0.split(separator: " ", omittingEmptySubsequences: true) }
      #expect(rows.first { $0.first == "scopes" } == ["scopes", "no", "INSUFFICIENT_SCOPE"])
      #expect(rows.first { $0.first == "limits" } == ["limits", "unknown", "RATE_LIMITED"])
      #expect(rows.last == ["verdict", "no", "INSUFFICIENT_SCOPE"])
      let json = try await latchkey(
        ["keys", "explain", id, "--scope", "orders:read", "--client-ip", "192.0.2.1", "--json"],
        environment: environment)
      #expect(try json.json()["code"].string == "VALID")
      let early = try await latchkey(
        ["keys", "explain", id, "--at", "2000-01-01T00:00:00Z"], environment: environment)
      #expect(early.status != 0)
      for arguments in [["--scope", "A"], ["--client-ip", "x"], ["--permissions", "a AND"], ["--api", "a b"]] {
        #expect(try await latchkey(["keys", "explain", id] + arguments, environment: environment).status != 0)
      }
    }
  }
}
