import Foundation
import PortalTesting
import Postgres
import PostgresTesting
import Testing

@Suite("A dump restored on another server")
struct RestoreTests {
  private func program(_ arguments: String...) async throws -> CommandResult {
    try await run("/usr/bin/env", arguments)
  }

  /// The sorted lines that scripts/schema prints for a database: pg_dump lists grants in the order in which they were
  /// made. Usage of the schema is left out, because it is not granted again where everybody has it.
  private func schema(_ url: String) async throws -> [Substring] {
    let printed = try await run(repositoryRoot + "/scripts/schema", ["--print", url])
    guard printed.status == 0 else { throw TestSetupError(description: printed.errors) }
    return printed.output.split(separator: "\n").filter { !$0.hasPrefix("GRANT USAGE ON SCHEMA ") }.sorted()
  }

  /// As in docs/BACKUP.md, but without creating the roles first.
  @Test("has no roles, privileges and policies; serve reports it, migrate restores them, and keys work as before")
  func restored() async throws {
    try await withOwnDatabase { _, database in
      var keys: [OwnedKey] = []
      try await withServers(1, on: database) { servers in
        try await RevocationWorld.with(servers, on: database) { world in
          keys = try await world.makeOwner("ada", keyCount: 2).keys
        }
      }
      let expected = try await schema(database.url)
      let file = FileManager.default.temporaryDirectory.appending(path: "\(database.name).dump").path
      defer { try? FileManager.default.removeItem(atPath: file) }
      let dumped = try await program("pg_dump", "--dbname", database.url, "--format", "custom", "--file", file)
      #expect(dumped.status == 0, "\(dumped.errors)")

      try await OwnServer.with { server in
        let restored = database.copy(at: try await server.url() + " dbname=restored")
        try await PostgresPool.with(PostgresConfiguration(url: try await server.url())) { pool in
          try await pool.withConnection { try await $0.executeScript("create database restored") }
        }
        // Without --exit-on-error, pg_restore continues after an error.
        let output = try await program("pg_restore", "--dbname", restored.url, file)
        #expect(output.errors.contains("latchkey_portal"))
        let spool = file + ".spool"
        defer { try? FileManager.default.removeItem(atPath: spool) }
        let environment = ["DATABASE_URL": restored.url, "USAGE_SPOOL": spool]

        let rolesMissing = try await latchkey(["serve"], environment: environment)
        #expect(rolesMissing.status == 1)
        #expect(rolesMissing.errors.contains("run latchkey migrate to create them"))
        // Roles alone are not enough.
        try await PostgresPool.with(PostgresConfiguration(url: restored.url)) { pool in
          try await pool.withConnection {
            try await $0.executeScript(
              """
              create role latchkey_portal; create role latchkey_identity; create role latchkey_gateway;
              create role latchkey_staff; create role latchkey_analyst
              """)
          }
        }
        let diagnosis = try await latchkey(["doctor", "--json"], environment: environment)
        #expect(diagnosis.status == 1)
        let migrated = try await latchkey(["migrate", "--json"], environment: environment)
        #expect(migrated.status == 0, "\(migrated.errors)")
        let statements = try migrated.json()["restored"].array.compactMap(\.string)
        #expect(statements.count { $0.hasPrefix("create policy ") } > 70)
        #expect(statements.contains { $0.hasPrefix("revoke execute on function ") })
        #expect(try migrated.json()["createdRoles"].array.compactMap(\.string) == ["latchkey_jobs"])
        #expect(try await schema(restored.url) == expected)
        let again = try await latchkey(["migrate"], environment: environment)
        #expect(again.output == "The database is up to date.\n")

        try await withServers(1, on: restored) { servers in
          try await RevocationWorld.with(servers, on: restored) { world in
            try await TestConnection.with(world.ports) { connections in
              let answer = try await connections[0].verify(keys.map(\.secret), token: world.token)
              #expect(answer.codes == ["VALID", "VALID"])
            }
          }
        }
      }
    }
  }

  @Test("if only privileges and policies are missing, serve names them and migrate restores them")
  func rightsMissing() async throws {
    try await withDatabase(isSwept: false) { database in
      try await PostgresPool.with(database.configuration) { pool in
        try await pool.withConnection { try await $0.executeScript("drop owned by latchkey_portal") }
      }
      let spool = FileManager.default.temporaryDirectory.appending(path: "\(database.name).spool").path
      defer { try? FileManager.default.removeItem(atPath: spool) }
      let refused = try await latchkey(
        ["serve"], environment: ["DATABASE_URL": database.url, "USAGE_SPOOL": spool])
      #expect(refused.status == 1)
      #expect(refused.errors.contains("policies") && refused.errors.contains("run latchkey migrate to repair it"))
      let migrated = try await latchkey(["migrate"], environment: ["DATABASE_URL": database.url])
      #expect(migrated.status == 0 && migrated.output.contains("restored what was missing"), "\(migrated)")
      try await withServers(1, on: database) { servers in
        let health = try await curl([servers[0].url + "/healthz"]).output
        #expect(health == #"{"status":"ok"}"#)
      }
    }
  }
}
