import Postgres

/// One run of a job, in steps. Each step is a transaction that holds the job's advisory lock, so that only one instance
/// is in a step at a time. A lock for the whole run would need a session, which a pooler does not provide.
struct JobRun: Sendable {
  let name: String
  let pool: PostgresPool
  /// The actor of the events that record what it deletes.
  let caller: Caller
  var observer = Observer([])

  /// Executes a statement as one step and returns its first row.
  func query<Statement: PostgresStatement>(_ statement: Statement) async throws -> Statement.Row? {
    try await step { try await $0.query(statement).first }
  }

  /// Executes a statement as one step and returns the number of affected rows.
  func execute(_ statement: some PostgresStatement) async throws -> Int {
    try await step { try await $0.execute(statement) }
  }

  /// Repeats a statement that deletes a bounded number of rows until it finds none, and returns how many it deleted. If
  /// `what` names the rows, each step records an audit event.
  func deleteAll(_ statement: some PostgresStatement, _ what: String? = nil) async throws -> Int {
    var deleted = 0
    while true {
      let count = try await step { connection in
        let count = try await connection.execute(statement)
        if count > 0, let what { try await record("\(count) \(what)", on: connection) }
        return count
      }
      if count == 0 { return deleted }
      deleted += count
    }
  }

  /// Repeats a statement that drops a table and returns its name, until there is none. Each step records an audit
  /// event. Returns the number of dropped tables.
  func dropAll<Statement: PostgresStatement>(
    _ statement: Statement
  ) async throws -> Int where Statement.Row == String? {
    var dropped = 0
    while true {
      let name = try await step { connection in
        let name = try await connection.query(statement).first ?? nil
        if let name { try await record(name, on: connection) }
        return name
      }
      if name == nil { return dropped }
      dropped += 1
    }
  }

  private func record(_ what: String, on connection: PostgresConnection) async throws {
    try await connection.execute(
      InsertAuditEvent.inSystem(.usageDeleted, "usage", by: caller, detail: AuditDetail("\(name): \(what)")))
  }

  /// Records that the job begins. Returns false if another instance is in a step, or began it within its interval.
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
