package import Postgres

/// PostgreSQL accepted a statement, but what it sets is still missing.
package struct AccessNotRestored: Error, CustomStringConvertible {
  let statement: String

  package var description: String { "the login may not grant what is missing: \(statement)" }
}

/// Brings the portal's database up to date, and finds missing roles, rights and policies.
package struct PortalMigrations: Sendable {
  /// The result of ``run(on:report:)``.
  package struct Outcome: Sendable {
    /// The names of the files that were applied.
    package var applied: [String] = []
    package var createdRoles: [String] = []
    /// Rules that were missing although the files had been applied before.
    package var restored: [AccessRule] = []
  }

  private let migrations: Migrations
  private let rules: AccessRules

  /// Uses the migrations and rules that are part of the program.
  package init() throws(PostgresError) {
    migrations = try .embedded()
    rules = .embedded
  }

  /// The number of migrations in this version.
  package var count: Int { migrations.files.count }

  /// The state of a database compared with them. Changes nothing.
  package func status(on pool: PostgresPool) async throws -> Migrations.Status { try await migrations.status(on: pool) }

  /// Applies what is pending, and restores missing roles, rights and policies. First checks whether the login may do
  /// that: if not, throws ``MigrationRefusal`` and changes nothing. A database that is ahead is left alone.
  package func run(
    on pool: PostgresPool, report: (Migrations.Progress) -> Void = { _ in }
  ) async throws -> Outcome {
    try await migrations.withTurn(on: pool, report: report) { connection in
      var needs = try await needs(on: connection)
      // Even the state of the database can be read only by the owner.
      if let refusal = needs.ownerRefusal { throw refusal }
      let status = try await migrations.status(on: connection)
      var outcome = Outcome()
      if case .ahead = status {
        outcome.applied = try await migrations.apply(status, on: connection, report: report)
        return outcome
      }
      let isPending =
        switch status {
        case .pending: true
        case .adoptable(let pending): !pending.isEmpty
        case .current, .ahead: false
        }
      if let refusal = needs.refusal(migrates: isPending) { throw refusal }
      // A file may name roles that an earlier file created and that this server does not have.
      if !needs.missingRoles.isEmpty || isPending && !needs.unavailableRoles.isEmpty {
        try await connection.executeScript(CreateDatabaseRoles.script)
        outcome.createdRoles = needs.missingRoles
      }
      outcome.applied = try await migrations.apply(status, on: connection, report: report)
      // A database to which all files were just applied lacks nothing.
      guard outcome.applied.count < count else { return outcome }
      outcome.restored = rules.missing(among: try await connection.query(ListAccess()))
      guard !outcome.restored.isEmpty else { return outcome }
      needs = try await self.needs(on: connection)
      guard let schema = needs.schema, let owner = needs.owner else {
        throw PostgresError(.protocolViolation, "there is no table schema_migrations")
      }
      let script = outcome.restored.map { $0.script(schema: schema, owner: owner) }.joined(separator: "\n")
      try await migrations.runPatiently(script, "rights and policies", on: connection, report)
      // Granting a right that one may not grant is a warning, not an error.
      let left = rules.missing(among: try await connection.query(ListAccess()))
      if let rule = left.first { throw AccessNotRestored(statement: rule.statement) }
      return outcome
    }
  }

  /// The rights of the pool's login.
  package func needs(on pool: PostgresPool) async throws -> MigrationNeeds {
    try await pool.withConnection { try await needs(on: $0) }
  }

  private func needs(on connection: PostgresConnection) async throws(PostgresError) -> MigrationNeeds {
    guard let needs = try await connection.query(ReadMigrationNeeds()).first else {
      throw PostgresError(.protocolViolation, "the login is not a role of the server")
    }
    return needs
  }

  /// The rules that a fully migrated database lacks. Changes nothing.
  package func missingAccess(on pool: PostgresPool) async throws(PostgresError) -> [AccessRule] {
    rules.missing(among: try await access(on: pool))
  }

  /// The rules that the database has, for `migrations/access`.
  package func access(on pool: PostgresPool) async throws(PostgresError) -> [AccessRule] {
    try await pool.query(ListAccess())
  }
}
