import PortalTesting
import Postgres
import PostgresTesting
import Testing

@Suite("Migrating with an unprivileged login")
struct MigrationRightsTests {
  /// A name that has to be quoted, in SQL and in a connection string.
  private static let login = #"app "one""#

  private func execute(_ statements: [String], at url: String) async throws {
    try await PostgresPool.with(PostgresConfiguration(url: url)) { pool in
      for statement in statements { try await pool.withConnection { try await $0.executeScript(statement) } }
    }
  }

  private func read<Statement: PostgresStatement>(_ statement: Statement, at url: String) async throws -> Statement.Row
  {
    let rows = try await PostgresPool.with(PostgresConfiguration(url: url)) { try await $0.query(statement) }
    return try #require(rows.first)
  }

  @Test("nothing is applied, and the printed SQL is all that is needed")
  func refused() async throws {
    try await OwnServer.with { server in
      let database = try await server.url() + " dbname='the portal'"
      try await execute(
        [#"create database "the portal""#, #"create role "app ""one""" login"#], at: try await server.url())
      let own = ["DATABASE_URL": database + " user='\(Self.login)'"]

      let refused = try await latchkey(["migrate"], environment: own)
      #expect(refused.status == 1)
      #expect(refused.errors.contains("may not create the roles latchkey_portal, latchkey_identity"))
      #expect(refused.errors.contains("may not create in the schema public"))
      #expect(refused.errors.contains("pg_trgm"))
      #expect(try await read(CountObjects(), at: database) == 0)

      let lines = refused.errors.split(separator: "\n")
      let start = try #require(lines.firstIndex { $0.hasPrefix("As a superuser") })
      let statements = lines[(start + 1)...].map(String.init)
      #expect(statements.count == 4)
      try await execute(statements, at: database)
      let migrated = try await latchkey(["migrate"], environment: own)
      #expect(migrated.status == 0, "\(migrated.errors)")
      let again = try await latchkey(["migrate"], environment: own)
      #expect(again.status == 0 && again.output == "The database is up to date.\n", "\(again)")
      // The login may also let another login serve.
      try await execute(["create role server login"], at: database)
      let granted = try await latchkey(["migrate", "--serve-role", "server"], environment: own)
      #expect(granted.status == 0, "\(granted.errors)")
      let jobs = try await latchkey(["jobs"], environment: ["DATABASE_URL": database + " user=server"])
      #expect(jobs.status == 0, "\(jobs.errors)")
    }
  }

  @Test("a login that does not own the tables cannot migrate, and the error names the owner")
  func notTheOwner() async throws {
    try await withOwnDatabase { server, database in
      try await execute(
        ["create role app login createrole", "revoke select on plans from latchkey_portal"], at: database.url)
      let result = try await latchkey(["migrate"], environment: ["DATABASE_URL": database.url + " user=app"])
      #expect(result.status == 1)
      #expect(result.errors.contains("the tables belong to postgres"))
      #expect(try await read(MayReadPlans(), at: database.url) == false)
    }
  }
}

/// Counts relations, and the portal's roles.
private struct CountObjects: PostgresStatement {
  typealias Row = Int
  static let sql = #"""
    select (select count(*) from pg_class where relnamespace = 'public'::regnamespace)
      + (select count(*) from pg_roles where rolname like 'latchkey\_%')
    """#
}

private struct MayReadPlans: PostgresStatement {
  typealias Row = Bool
  static let sql = "select has_table_privilege('latchkey_portal', 'plans', 'select')"
}
