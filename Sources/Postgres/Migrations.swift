import Foundation

/// Forward-only SQL files `NNNN_what_it_does.sql`, applied in order, one transaction each, with a checksum.
///
/// The files that have been applied must be a prefix of those in the folder, unchanged; anything else is a mismatch.
public struct Migrations: Sendable {
  public struct File: Sendable, Hashable {
    public var number: Int
    public var name: String
    public var sql: String
  }

  /// How a database stands against the folder.
  public enum Status: Sendable, Equatable {
    case current
    /// The names of the files still to be applied.
    case pending([String])
  }

  /// The key of the advisory lock, so that two runners take turns: "latchkey" in ASCII.
  static let lockKey = 0x6c61_7463_686b_6579

  public let files: [File]

  /// Reads the folder. Throws `.migrationMismatch` when it holds no or misnamed files, or numbers with gaps.
  public init(folder: String) throws(PostgresError) {
    let names: [String]
    do {
      names = try FileManager.default.contentsOfDirectory(atPath: folder).filter { $0.hasSuffix(".sql") }.sorted()
    } catch {
      throw PostgresError(.migrationMismatch, "cannot read the migrations folder \(folder)")
    }
    guard !names.isEmpty else { throw PostgresError(.migrationMismatch, "no migrations in \(folder)") }
    var files: [File] = []
    for (index, name) in names.enumerated() {
      guard let number = Int(name.prefix(4)), number == index + 1, name.dropFirst(4).hasPrefix("_") else {
        throw PostgresError(.migrationMismatch, "\(name) should be numbered \(index + 1), in four digits")
      }
      guard let sql = try? String(contentsOfFile: folder + "/" + name, encoding: .utf8) else {
        throw PostgresError(.migrationMismatch, "cannot read \(name)")
      }
      files.append(File(number: number, name: String(name.dropLast(4)), sql: sql))
    }
    self.files = files
  }

  /// Applies what is pending; the names of what was applied. Two at the same time take turns.
  ///
  /// On a connection of its own without time limits: a migration may take long, and so may the wait for another runner.
  /// Closing it gives up the lock, and whatever a failed file left open.
  public func apply(on pool: PostgresPool) async throws -> [String] {
    var configuration = pool.configuration
    configuration.queryTimeout = .seconds(86_400)
    configuration.statementTimeout = .zero
    let connection = try await pool.openConnection(configuration)
    do {
      let applied = try await apply(on: connection)
      await connection.close()
      return applied
    } catch {
      await connection.close()
      throw error
    }
  }

  private func apply(on connection: PostgresConnection) async throws(PostgresError) -> [String] {
    try await connection.execute(LockMigrations(key: Self.lockKey))
    try await connection.execute(CreateMigrationsTable())
    let pending = try await pending(on: connection)
    for file in pending { try await apply(file, on: connection) }
    return pending.map(\.name)
  }

  private func apply(_ file: File, on connection: PostgresConnection) async throws(PostgresError) {
    // The number first: a second runner, if the lock were ever lost, would stop at the primary key.
    let sql = """
      begin;
      insert into schema_migrations (number, name, checksum)
      values (\(file.number), \(Self.quote(file.name)), md5(\(Self.quote(file.sql))));
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

  /// Compares without changing anything. Throws `.migrationMismatch` when what was applied is not what the folder holds.
  public func status(on pool: PostgresPool) async throws -> Status {
    try await pool.withConnection { connection in
      let isThere = try await connection.query(FindMigrationsTable()).first ?? false
      let pending = isThere ? try await pending(on: connection) : files
      return pending.isEmpty ? .current : .pending(pending.map(\.name))
    }
  }

  private func pending(on connection: PostgresConnection) async throws(PostgresError) -> [File] {
    let applied = try await connection.query(ListMigrations())
    let checksums = try await connection.query(ChecksumTexts(texts: files.map(\.sql)))
    for (index, row) in applied.enumerated() {
      guard index < files.count else {
        throw PostgresError(.migrationMismatch, "the database has \(row.name), which this version does not know")
      }
      guard row.number == files[index].number, row.checksum == checksums[index] else {
        throw PostgresError(.migrationMismatch, "\(files[index].name) differs from what was applied")
      }
    }
    return Array(files.dropFirst(applied.count))
  }

  private static func quote(_ text: String) -> String {
    "'" + text.replacing("'", with: "''") + "'"
  }
}
