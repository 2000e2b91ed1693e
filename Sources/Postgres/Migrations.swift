/// Forward-only SQL files `NNNN_what_it_does.sql`, applied in order, one transaction each, with a checksum.
///
/// The files that have been applied must be a prefix of these, unchanged; anything else is a mismatch.
public struct Migrations: Sendable {
  public struct File: Sendable, Hashable {
    public let number: Int
    /// Begins with the number in four digits, `NNNN_what_it_does`.
    public let name: String
    public let sql: String

    /// Throws `.migrationMismatch` for a name of another form.
    public init(name: String, sql: String) throws(PostgresError) {
      let digits = name.prefix(4)
      guard digits.count == 4, digits.allSatisfy(\.isASCII), let number = Int(digits), number > 0,
        name.dropFirst(4).hasPrefix("_")
      else {
        throw PostgresError(.migrationMismatch, "\(name) should begin with a number in four digits, and _")
      }
      self.number = number
      self.name = name
      self.sql = sql
    }
  }

  /// A row of `schema_migrations`.
  public struct Applied: Sendable, Hashable {
    public let number: Int
    public let name: String
    /// The MD5 of the file, in hexadecimal.
    public let checksum: String

    public init(number: Int, name: String, checksum: String) {
      self.number = number
      self.name = name
      self.checksum = checksum
    }
  }

  /// How a database stands against the files.
  public enum Status: Sendable, Equatable {
    case current
    /// The names of the files still to be applied.
    case pending([String])
    /// It has all of what `replaced` lists: its schema is that of the files, under other numbers.
    case adoptable
  }

  /// What happens while migrations are applied.
  public enum Progress: Sendable, Equatable {
    case adopted
    /// The file's name.
    case applied(String)
  }

  /// The key of the advisory lock, so that two runners take turns: "latchkey" in ASCII.
  static let lockKey = 0x6c61_7463_686b_6579

  public let files: [File]
  /// What an earlier version applied to arrive at the same schema; empty if there is none.
  public let replaced: [Applied]

  /// Throws `.migrationMismatch` when there is no file, or the numbers are not 1, 2, 3 and so on.
  public init(_ files: [File], replacing replaced: [Applied] = []) throws(PostgresError) {
    guard !files.isEmpty else { throw PostgresError(.migrationMismatch, "there are no migrations") }
    for (index, file) in files.enumerated() where file.number != index + 1 {
      throw PostgresError(.migrationMismatch, "\(file.name) should have the number \(index + 1)")
    }
    self.files = files
    self.replaced = replaced
  }

  /// Applies what is pending; the names of what was applied. Two at the same time take turns.
  ///
  /// A database that has all of `replaced` is adopted: its rows in `schema_migrations` become those of the files.
  ///
  /// On a connection of its own without time limits: a migration may take long, and so may the wait for another runner.
  /// Closing it gives up the lock, and whatever a failed file left open.
  public func apply(on pool: PostgresPool, report: (Progress) -> Void = { _ in }) async throws -> [String] {
    var configuration = pool.configuration
    configuration.queryTimeout = .seconds(86_400)
    configuration.statementTimeout = .zero
    let connection = try await pool.openConnection(configuration)
    do {
      let applied = try await apply(on: connection, report)
      await connection.close()
      return applied
    } catch {
      await connection.close()
      throw error
    }
  }

  private func apply(
    on connection: PostgresConnection, _ report: (Progress) -> Void
  ) async throws(PostgresError) -> [String] {
    try await connection.execute(LockMigrations(key: Self.lockKey))
    try await connection.execute(CreateMigrationsTable())
    switch try await status(on: connection) {
    case .current: return []
    case .adoptable:
      try await adopt(on: connection)
      report(.adopted)
      return []
    case .pending(let names):
      for file in files.suffix(names.count) {
        try await apply(file, on: connection)
        report(.applied(file.name))
      }
      return names
    }
  }

  private func adopt(on connection: PostgresConnection) async throws(PostgresError) {
    try await connection.executeScript(
      """
      begin;
      delete from schema_migrations;
      \(files.map(Self.insert).joined(separator: "\n"))
      commit;
      """)
  }

  private func apply(_ file: File, on connection: PostgresConnection) async throws(PostgresError) {
    // The number first: a second runner, if the lock were ever lost, would stop at the primary key.
    let sql = """
      begin;
      \(Self.insert(file))
      \(file.sql)
      ;
      commit;
      """
    do throws(PostgresError) {
      try await connection.executeScript(sql)
    } catch {
      var error = error
      error.message = "\(file.name): \(error.message)"
      throw error
    }
  }

  /// Compares without changing anything. Throws `.migrationMismatch` when what was applied is not what the files say.
  public func status(on pool: PostgresPool) async throws -> Status {
    try await pool.withConnection { connection in
      let isThere = try await connection.query(FindMigrationsTable()).first ?? false
      return isThere ? try await status(on: connection) : .pending(files.map(\.name))
    }
  }

  private func status(on connection: PostgresConnection) async throws(PostgresError) -> Status {
    let applied = try await connection.query(ListMigrations())
    return try status(applied, checksums: try await connection.query(ChecksumTexts(texts: files.map(\.sql))))
  }

  /// How a database with these rows stands against the files, whose checksums are given.
  func status(_ applied: [Applied], checksums: [String]) throws(PostgresError) -> Status {
    if let last = applied.last, replaced.starts(with: applied) {
      if applied.count == replaced.count { return .adoptable }
      throw PostgresError(
        .migrationMismatch,
        """
        the database stands at \(last.name) of a development version before \(replaced[replaced.count - 1].name). It \
        cannot be brought up to date and must be made anew
        """)
    }
    for (index, row) in applied.enumerated() {
      guard index < files.count else {
        throw PostgresError(.migrationMismatch, "the database has \(row.name), which this version does not know")
      }
      guard row.number == files[index].number, row.checksum == checksums[index] else {
        throw PostgresError(.migrationMismatch, "\(files[index].name) differs from what was applied")
      }
    }
    let pending = files.dropFirst(applied.count).map(\.name)
    return pending.isEmpty ? .current : .pending(pending)
  }

  private static func insert(_ file: File) -> String {
    """
    insert into schema_migrations (number, name, checksum)
    values (\(file.number), \(quote(file.name)), md5(\(quote(file.sql))));
    """
  }

  private static func quote(_ text: String) -> String {
    "'" + text.replacing("'", with: "''") + "'"
  }
}
