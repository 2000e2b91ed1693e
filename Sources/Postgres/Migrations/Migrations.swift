/// Forward-only SQL files `NNNN_what_it_does.sql`, applied in order, one transaction each, with a checksum.
///
/// The applied files must be a prefix of these, unchanged. A database may also be ahead: it has all of these, and newer
/// ones that declare that this version still works with them. Anything else is a mismatch.
public struct Migrations: Sendable {
  public struct File: Sendable, Hashable {
    public let number: Int
    /// Begins with the number in four digits, `NNNN_what_it_does`.
    public let name: String
    public let sql: String
    /// A version whose newest migration has this number, or a later one, works with a database that has this file.
    /// Taken from the line `-- compatible-from: NNNN`; without one it is the file's own number.
    public let compatibleFrom: Int

    /// Throws `.migrationMismatch` for a malformed name, for an invalid `compatible-from`, and for a file that ends its
    /// own transaction.
    public init(name: String, sql: String) throws(PostgresError) {
      let digits = name.prefix(4)
      guard digits.count == 4, digits.allSatisfy({ ("0"..."9").contains($0) }), let number = Int(digits), number > 0,
        name.dropFirst(4).hasPrefix("_")
      else {
        throw PostgresError(.migrationMismatch, "\(name) must begin with a four-digit number and _")
      }
      self.number = number
      self.name = name
      self.sql = sql
      compatibleFrom = try Self.compatibleFrom(name, number, sql)
      // Statements before a commit would remain if later ones failed.
      let words = sql.split(whereSeparator: \.isNewline).map { $0.lowercased().split { !$0.isLetter }.first ?? "" }
      if let word = words.first(where: { ["commit", "rollback", "abort"].contains($0) }) {
        throw PostgresError(.migrationMismatch, "\(name) must not have a line that begins with \(word)")
      }
    }

    private static func compatibleFrom(_ name: String, _ own: Int, _ sql: String) throws(PostgresError) -> Int {
      let mark = "-- compatible-from:"
      let lines = sql.split(whereSeparator: \.isNewline).filter { $0.hasPrefix(mark) }
      guard let line = lines.first else { return own }
      let value = line.dropFirst(mark.count).drop { $0 == " " }
      guard lines.count == 1, value.count == 4, value.allSatisfy({ ("0"..."9").contains($0) }), let number = Int(value),
        (1...own).contains(number)
      else {
        throw PostgresError(
          .migrationMismatch, "\(name) must have one line '\(mark) NNNN', with a number up to its own")
      }
      return number
    }
  }

  /// A row of `schema_migrations`.
  public struct Applied: Sendable, Hashable {
    public let number: Int
    public let name: String
    /// The MD5 of the file, in hexadecimal.
    public let checksum: String
    /// As ``File/compatibleFrom``.
    public let compatibleFrom: Int

    /// Without `compatibleFrom`, no version that does not have this migration is compatible.
    public init(number: Int, name: String, checksum: String, compatibleFrom: Int? = nil) {
      self.number = number
      self.name = name
      self.checksum = checksum
      self.compatibleFrom = compatibleFrom ?? number
    }
  }

  /// The state of a database compared with the files.
  public enum Status: Sendable, Equatable {
    case current
    /// The names of the files still to be applied.
    case pending([String])
    /// The database has newer files, with these names, and this version works with them.
    case ahead([String])
    /// The database has all migrations of `replaced`: its schema is that of the first files, under other numbers.
    /// The names are those of the files still to be applied.
    case adoptable(pending: [String])
  }

  /// A step of a run that applies migrations.
  public enum Progress: Sendable, Equatable {
    /// The rows of `replaced` became those of the files that replace them.
    case adopted
    /// The file's name.
    case applied(String)
    /// The database has newer files, and there is nothing to do.
    case ahead([String])
    /// Another runner holds the migration lock.
    case waitsForRunner
    /// A lock did not become free within ``Migrations/lockWaitMax``. The file was rolled back, and is tried again.
    case waitsForLock(Wait)
  }

  public struct Wait: Sendable, Equatable {
    /// The file's name.
    public var name: String
    /// The number of attempts so far.
    public var attemptCount: Int
    /// Probably the transaction that it waits for; nil if the login may not see it.
    public var oldestTransaction: OldestTransaction?
  }

  /// The client of this database whose transaction has been open for longest.
  public struct OldestTransaction: Sendable, Equatable {
    /// The process id of its backend.
    public var processID: Int
    public var seconds: Int
  }

  /// The key of the advisory lock that makes runners take turns: "latchkey" in ASCII.
  static let lockKey = 0x6c61_7463_686b_6579

  public let files: [File]
  /// The migrations by which an earlier version arrived at the schema of the first ``baselineCount`` files; empty if
  /// there are none.
  public let replaced: [Applied]
  /// The number of files that `replaced` is equivalent to. Later files are pending in a database that is adopted.
  public let baselineCount: Int

  /// How long a statement waits for a lock before the file is rolled back and tried again. Meanwhile every other
  /// statement on that table, even a read, waits behind it.
  public var lockWaitMax = Duration.seconds(1)
  /// How long other transactions get their turn before the next attempt.
  public var lockPause = Duration.seconds(1)

  /// `replaced` are former migrations with the schema of the first `baselineCount` files.
  ///
  /// Throws `.migrationMismatch` when there is no file, the numbers are not 1, 2, 3 and so on, or there are fewer files
  /// than `baselineCount`.
  public init(
    _ files: [File], replacing replaced: [Applied] = [], withFirst baselineCount: Int = 0
  ) throws(PostgresError) {
    guard !files.isEmpty else { throw PostgresError(.migrationMismatch, "there are no migrations") }
    for (index, file) in files.enumerated() where file.number != index + 1 {
      throw PostgresError(.migrationMismatch, "\(file.name) must have the number \(index + 1)")
    }
    guard (0...files.count).contains(baselineCount) else {
      throw PostgresError(.migrationMismatch, "a baseline of \(baselineCount) files, but there are \(files.count)")
    }
    self.files = files
    self.replaced = replaced
    self.baselineCount = baselineCount
  }

  /// Applies the pending files and returns their names. Concurrent runners take turns.
  ///
  /// A database that has all of `replaced` is adopted first: its rows in `schema_migrations` become those of the first
  /// ``baselineCount`` files. The later ones are then applied.
  ///
  /// A file that does not get a lock within ``lockWaitMax`` is rolled back and tried again, until it gets the lock or
  /// the task is cancelled.
  public func apply(on pool: PostgresPool, report: (Progress) -> Void = { _ in }) async throws -> [String] {
    try await withTurn(on: pool, report: report) { connection in
      try await apply(try await status(on: connection), on: connection, report: report)
    }
  }

  /// Runs `body` while no other runner is active, and makes others wait meanwhile.
  ///
  /// Uses its own connection without the usual time limits, because a migration may take long, and so may the wait for
  /// another runner. Closing it releases the lock and rolls back what a failed file left open.
  public func withTurn<Value>(
    on pool: PostgresPool, report: (Progress) -> Void, _ body: (PostgresConnection) async throws -> Value
  ) async throws -> Value {
    guard try await pool.trySession() != .shared else {
      throw PostgresError(
        .protocolViolation,
        "migrating needs its own session, but a pooler gives each transaction another server")
    }
    var configuration = pool.configuration
    configuration.queryTimeout = .seconds(86_400)
    configuration.statementTimeout = .zero
    let connection = try await pool.openConnection(configuration)
    do {
      if try await connection.query(TryLockMigrations(key: Self.lockKey)).first != true {
        report(.waitsForRunner)
        try await connection.execute(LockMigrations(key: Self.lockKey))
      }
      let value = try await body(connection)
      await connection.close()
      return value
    } catch {
      await connection.close()
      throw error
    }
  }

  /// Brings a database in the state `status` up to date. For the body of ``withTurn(on:report:_:)``.
  public func apply(
    _ status: Status, on connection: PostgresConnection, report: (Progress) -> Void
  ) async throws(PostgresError) -> [String] {
    switch status {
    case .current: return []
    case .ahead(let names):
      report(.ahead(names))
      return []
    case .adoptable(let names):
      try await adopt(on: connection, report)
      report(.adopted)
      return try await apply(names, on: connection, report)
    case .pending(let names):
      try await connection.execute(CreateMigrationsTable())
      return try await apply(names, on: connection, report)
    }
  }

  /// Applies the last files, which have these names, and returns the names.
  private func apply(
    _ names: [String], on connection: PostgresConnection, _ report: (Progress) -> Void
  ) async throws(PostgresError) -> [String] {
    for file in files.suffix(names.count) {
      try await apply(file, on: connection, report)
      report(.applied(file.name))
    }
    return names
  }

  private func adopt(
    on connection: PostgresConnection, _ report: (Progress) -> Void
  ) async throws(PostgresError) {
    try await runPatiently(
      """
      delete from schema_migrations;
      alter table schema_migrations add column if not exists compatible_from integer not null;
      \(files.prefix(baselineCount).map(Self.insert).joined(separator: "\n"))
      """, "schema_migrations", on: connection, report)
  }

  private func apply(
    _ file: File, on connection: PostgresConnection, _ report: (Progress) -> Void
  ) async throws(PostgresError) {
    do throws(PostgresError) {
      // The row comes first: a second runner, if the lock were ever lost, would fail on the primary key.
      try await runPatiently(Self.insert(file) + "\n" + file.sql, file.name, on: connection, report)
    } catch {
      var error = error
      error.message = "\(file.name): \(error.message)"
      throw error
    }
  }

  /// Runs a script as one transaction, repeatedly until it gets its locks. Waits are reported under `name`.
  public func runPatiently(
    _ script: String, _ name: String, on connection: PostgresConnection, _ report: (Progress) -> Void
  ) async throws(PostgresError) {
    let sql = """
      begin;
      set local lock_timeout = \(max(1, Int(lockWaitMax / .milliseconds(1))));
      \(script)
      ;
      commit;
      """
    for attempt in 1... {
      do throws(PostgresError) {
        return try await connection.executeScript(sql)
      } catch {
        guard error.isLockFailure else { throw error }
      }
      try await connection.executeScript("rollback")
      let oldest = try await connection.query(FindOldestTransaction()).first
      report(.waitsForLock(Wait(name: name, attemptCount: attempt, oldestTransaction: oldest)))
      do { try await Task.sleep(for: lockPause) } catch { throw PostgresError(.cancelled, "cancelled") }
    }
  }

  /// Compares the database with the files without changing anything. Throws `.migrationMismatch` when what was applied
  /// differs from the files.
  public func status(on pool: PostgresPool) async throws -> Status {
    try await pool.withConnection { try await status(on: $0) }
  }

  /// As ``status(on:)-(PostgresPool)``.
  public func status(on connection: PostgresConnection) async throws(PostgresError) -> Status {
    guard try await connection.query(FindMigrationsTable()).first == true else { return .pending(files.map(\.name)) }
    let applied = try await connection.query(ListMigrations())
    return try status(applied, checksums: try await connection.query(ChecksumTexts(texts: files.map(\.sql))))
  }

  /// The state of a database with these rows, compared with the files, whose checksums are given.
  func status(_ applied: [Applied], checksums: [String]) throws(PostgresError) -> Status {
    if let last = applied.last, replaced.starts(with: applied) {
      if applied.count == replaced.count { return .adoptable(pending: files.dropFirst(baselineCount).map(\.name)) }
      throw PostgresError(
        .migrationMismatch,
        """
        the database is at \(last.name) of a development version before \(replaced[replaced.count - 1].name). It \
        cannot be brought up to date and must be recreated
        """)
    }
    for (index, row) in applied.enumerated() {
      guard index < files.count else {
        if row.compatibleFrom <= files.count { continue }
        throw PostgresError(
          .migrationMismatch,
          """
          the database has \(row.name), which needs a version with migration \(Self.padded(row.compatibleFrom)) or a \
          later one; this version ends at \(files[files.count - 1].name)
          """)
      }
      guard row.number == files[index].number, row.checksum == checksums[index] else {
        throw PostgresError(.migrationMismatch, "\(files[index].name) differs from what was applied")
      }
    }
    if applied.count > files.count { return .ahead(applied.dropFirst(files.count).map(\.name)) }
    let pending = files.dropFirst(applied.count).map(\.name)
    return pending.isEmpty ? .current : .pending(pending)
  }

  private static func insert(_ file: File) -> String {
    """
    insert into schema_migrations (number, name, checksum, compatible_from)
    values (\(file.number), \(quote(file.name)), md5(\(quote(file.sql))), \(file.compatibleFrom));
    """
  }

  private static func padded(_ number: Int) -> String {
    String(repeating: "0", count: max(0, 4 - String(number).count)) + String(number)
  }

  private static func quote(_ text: String) -> String {
    "'" + text.doubling("'") + "'"
  }
}

extension Migrations.Wait: CustomStringConvertible {
  public var description: String {
    let oldest =
      oldestTransaction.map { "; the oldest transaction, of process \($0.processID), is \($0.seconds) s old" } ?? ""
    return "\(name) did not get a lock and will be tried again (attempt \(attemptCount)\(oldest))"
  }
}
