import Foundation
import PortalTesting
import Postgres
import PostgresTesting
import Testing

@Suite("A login that owns nothing")
struct ServeRoleTests {
  @Test("can run the commands after migrate --serve-role, and cannot read a table by itself")
  func serveRole() async throws {
    try await withDatabase { database in
      let role = "server_\(UUID().uuidString.prefix(8).lowercased())"
      try await PostgresPool.with(database.configuration) { pool in
        try await pool.withConnection { try await $0.executeScript("create role \(role) login noinherit") }
      }
      let own = ["DATABASE_URL": database.url + " user=" + role]
      let account = [
        "accounts", "create", "--name", "A", "--email", "a@example.com", "--password-file", "-", "--json",
      ]
      let refused = try await latchkey(account, environment: own, input: "correct horse battery\n")
      #expect(refused.status == 1)
      #expect(refused.errors.contains("permission denied to set role"))

      let migrated = try await latchkey(["migrate", "--serve-role", role], environment: ["DATABASE_URL": database.url])
      #expect(migrated.status == 0, "\(migrated.errors)")
      let made = try await latchkey(account, environment: own, input: "correct horse battery\n")
      #expect(made.status == 0, "\(made.errors)")
      let jobs = try await latchkey(["jobs", "--json"], environment: own)
      #expect(jobs.status == 0, "\(jobs.errors)")

      var configuration = database.configuration
      configuration.url += " user=" + role
      try await PostgresPool.with(configuration) { pool in
        let error = await #expect(throws: PostgresError.self) {
          try await pool.withConnection { try await $0.executeScript("select from accounts") }
        }
        #expect(error?.sqlState == "42501")
      }
      try await PostgresPool.with(database.configuration) { pool in
        try await pool.withConnection { try await $0.executeScript("drop role \(role)") }
      }
    }
  }

  @Test("a name that PostgreSQL would truncate is refused")
  func longName() async throws {
    let result = try await latchkey(
      ["migrate", "--serve-role", String(repeating: "x", count: 64)], environment: ["DATABASE_URL": "host=/nowhere"])
    #expect(result.status == 64)
    #expect(result.errors.contains("--serve-role"))
  }
}
