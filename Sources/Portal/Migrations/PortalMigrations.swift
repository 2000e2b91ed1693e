package import Postgres

/// PostgreSQL took a statement, and what it gives is not there.
package struct AccessNotMended: Error, CustomStringConvertible {
  let statement: String

  package var description: String { "the login may not give what is missing: \(statement)" }
}

/// Bringing the portal's database up to date, and finding what it lacks.
package struct PortalMigrations: Sendable {
  /// What ``run(on:report:)`` did.
  package struct Outcome: Sendable {
    /// The names of the files.
    package var applied: [String] = []
    package var madeRoles: [String] = []
    /// What was missing although the files were applied before.
    package var mended: [AccessRule] = []
  }

  private let migrations: Migrations
  private let rules: AccessRules

  /// With those in the program.
  package init() throws(PostgresError) {
    migrations = try .embedded()
    rules = .embedded
  }

  /// Those that this version has.
  package var count: Int { migrations.files.count }

  /// How a database stands against them. It changes nothing.
  package func status(on pool: PostgresPool) async throws -> Migrations.Status { try await migrations.status(on: pool) }

  /// Applies what is pending, and gives what is missing of roles, rights and policies. What the login may not do is
  /// asked first: it throws ``MigrationRefusal``, and nothing is changed. A database that is ahead is left alone.
  package func run(
    on pool: PostgresPool, report: (Migrations.Progress) -> Void = { _ in }
  ) async throws -> Outcome {
    try await migrations.withTurn(on: pool, report: report) { connection in
      var needs = try await needs(on: connection)
      // Even how the database stands is the owner's to read.
      if let refusal = needs.ownerRefusal { throw refusal }
      let status = try await migrations.status(on: connection)
      var outcome = Outcome()
      if case .ahead = status {
        outcome.applied = try await migrations.apply(status, on: connection, report: report)
        return outcome
      }
      let isPending = if case .pending = status { true } else { false }
      if let refusal = needs.refusal(migrates: isPending) { throw refusal }
      // A file may name roles that an earlier one made, and that this server does not have.
      if !needs.missingRoles.isEmpty || isPending && !needs.strangeRoles.isEmpty {
        try await connection.executeScript(MakePortalRoles.script)
        outcome.madeRoles = needs.missingRoles
      }
      outcome.applied = try await migrations.apply(status, on: connection, report: report)
      // What all files have just made lacks nothing.
      guard outcome.applied.count < count else { return outcome }
      outcome.mended = rules.missing(among: try await connection.query(ListAccess()))
      guard !outcome.mended.isEmpty else { return outcome }
      needs = try await self.needs(on: connection)
      guard let schema = needs.schema, let owner = needs.owner else {
        throw PostgresError(.protocolViolation, "there is no table schema_migrations")
      }
      let script = outcome.mended.map { $0.script(schema: schema, owner: owner) }.joined(separator: "\n")
      try await migrations.runPatiently(script, "rights and policies", on: connection, report)
      // A grant of what one may not grant is no error but a warning.
      let left = rules.missing(among: try await connection.query(ListAccess()))
      if let rule = left.first { throw AccessNotMended(statement: rule.statement) }
      return outcome
    }
  }

  /// What the login of the pool may do.
  package func needs(on pool: PostgresPool) async throws -> MigrationNeeds {
    try await pool.withConnection { try await needs(on: $0) }
  }

  private func needs(on connection: PostgresConnection) async throws(PostgresError) -> MigrationNeeds {
    guard let needs = try await connection.query(ReadMigrationNeeds()).first else {
      throw PostgresError(.protocolViolation, "the login is no role of the server")
    }
    return needs
  }

  /// What a database that has all migrations lacks of what they give. It changes nothing.
  package func missingAccess(on pool: PostgresPool) async throws(PostgresError) -> [AccessRule] {
    rules.missing(among: try await access(on: pool))
  }

  /// What the database gives, for `migrations/access`.
  package func access(on pool: PostgresPool) async throws(PostgresError) -> [AccessRule] {
    try await pool.query(ListAccess())
  }
}
