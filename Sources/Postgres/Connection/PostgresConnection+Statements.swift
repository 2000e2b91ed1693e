internal import CLibPQ

extension PostgresConnection {
  /// Runs one statement and decodes its rows.
  public nonisolated func query<Statement: PostgresStatement>(
    _ statement: Statement
  ) async throws(PostgresError) -> [Statement.Row] {
    // A batch that succeeds has a result for each of its statements.
    try await run([PostgresCommand(statement)])[0].decodeRows(of: Statement.self)
  }

  /// Runs one statement and returns the number of rows that it touched.
  @discardableResult
  public nonisolated func execute(_ statement: some PostgresStatement) async throws(PostgresError) -> Int {
    try await run([PostgresCommand(statement)])[0].affectedRowCount
  }

  /// Runs several statements in one round trip. Outside ``PostgresPool/withTransaction(isolation:_:)`` they are one
  /// transaction of their own (PostgreSQL manual 34.5.1.1): all or none.
  public nonisolated func pipeline<each Statement: PostgresStatement>(
    _ statement: repeat each Statement
  ) async throws(PostgresError) -> (repeat [(each Statement).Row]) {
    var commands: [PostgresCommand] = []
    repeat commands.append(PostgresCommand(each statement))
    let results = try await run(commands)
    var index = 0
    func rows<Next: PostgresStatement>(_: Next.Type) throws(PostgresError) -> [Next.Row] {
      defer { index += 1 }
      return try results[index].decodeRows(of: Next.self)
    }
    return (repeat try rows((each Statement).self))
  }

  /// Runs statements for their effects and one more for its rows, in one round trip, as ``pipeline(_:)`` does.
  public nonisolated func pipeline<each Effect: PostgresStatement, Last: PostgresStatement>(
    _ effect: repeat each Effect, then last: Last
  ) async throws(PostgresError) -> [Last.Row] {
    var commands: [PostgresCommand] = []
    repeat commands.append(PostgresCommand(each effect))
    commands.append(PostgresCommand(last))
    return try await run(commands)[commands.count - 1].decodeRows(of: Last.self)
  }

  /// Runs the same kind of statement several times in one round trip, as ``pipeline(_:)`` does.
  public nonisolated func pipeline<Statement: PostgresStatement>(
    each statements: [Statement]
  ) async throws(PostgresError) -> [[Statement.Row]] {
    if statements.isEmpty { return [] }
    let results = try await run(statements.map { PostgresCommand($0) })
    return try results.map { result throws(PostgresError) in try result.decodeRows(of: Statement.self) }
  }

  /// Runs a script of several statements without parameters, as one transaction unless it has its own `begin`.
  public nonisolated func executeScript(_ sql: String) async throws(PostgresError) {
    _ = try await run([PostgresCommand(.script(sql))])
  }

  // MARK: Transactions (see PostgresPool)

  /// Commits, even when the calling task is cancelled: a cancelled commit would have an unknown outcome. Sends nothing
  /// if no statement was run since ``open(with:)``.
  nonisolated func commit() async throws(PostgresError) {
    guard let result = try await run([PostgresCommand(.end("commit"))], isCancellable: false).first else { return }
    // A commit of a failed transaction is answered with "ROLLBACK", not with an error.
    guard String(cString: PQcmdStatus(result.raw)) == "COMMIT" else {
      throw PostgresError(.protocolViolation, "a statement had failed, so the transaction was rolled back")
    }
  }

  /// Rolls back, even when the calling task is cancelled. A failure closes the connection, which rolls back as well.
  nonisolated func rollback() async {
    do throws(PostgresError) {
      _ = try await run([PostgresCommand(.end("rollback"))], isCancellable: false)
    } catch {
      await close()
    }
  }
}
