import Postgres

/// One run of a job: steps, each a transaction of its own that holds the job's advisory lock, so that there is one at a
/// time whoever runs it. A lock for the whole run would need a session, which a pooler does not give.
struct JobRun: Sendable {
  let name: String
  let pool: PostgresPool
  /// Who is named where it deletes data.
  let caller: Caller
  var observer = Observer([])

  /// The first row.
  func query<Statement: PostgresStatement>(_ statement: Statement) async throws -> Statement.Row? {
    try await step { try await $0.query(statement).first }
  }

  /// How many rows it touched.
  func execute(_ statement: some PostgresStatement) async throws -> Int {
    try await step { try await $0.execute(statement) }
  }

  /// Repeats a statement that touches a bounded number of rows until it finds none; each time with an event of what, if
  /// that is worth telling.
  func deleteAll(_ statement: some PostgresStatement, _ what: String? = nil) async throws -> Int {
    var deleted = 0
    while true {
      let count = try await step { connection in
        let count = try await connection.execute(statement)
        if count > 0, let what { try await tell("\(count) \(what)", on: connection) }
        return count
      }
      if count == 0 { return deleted }
      deleted += count
    }
  }

  /// Repeats a statement that drops a table, and answers with its name, until there is none; each time with an event.
  func dropAll<Statement: PostgresStatement>(
    _ statement: Statement
  ) async throws -> Int where Statement.Row == String? {
    var dropped = 0
    while true {
      let name = try await step { connection in
        let name = try await connection.query(statement).first ?? nil
        if let name { try await tell(name, on: connection) }
        return name
      }
      if name == nil { return dropped }
      dropped += 1
    }
  }

  private func tell(_ what: String, on connection: PostgresConnection) async throws {
    try await connection.execute(
      InsertAuditEvent.inSystem(.usageDeleted, "usage", by: caller, detail: AuditDetail("\(name): \(what)")))
  }

  /// Notes that the job begins; false if that is not for this instance, because another is in a step or has begun it
  /// since its interval.
  func begin(_ begin: BeginJob) async throws -> Bool {
    try await pool.withTransaction(as: .jobs) { connection in
      guard try await connection.query(TryLockJob(name: name)).first == true else { return false }
      return try await connection.query(begin).first ?? false
    }
  }

  func step<Value>(
    as settings: PostgresSettings = .jobs, _ body: (PostgresConnection) async throws -> Value
  ) async throws -> Value {
    try await pool.withTransaction(as: settings) { connection in
      _ = try await connection.query(LockJob(name: name))
      return try await body(connection)
    }
  }
}
