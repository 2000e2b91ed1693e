internal import CLibPQ

/// The result of one statement. Owns the `PGresult` and clears it exactly once.
///
/// Immutable, and libpq allows reading a result from any thread (PostgreSQL manual 34.20).
final class QueryResult: @unchecked Sendable {
  // Safe to share: the pointer is never written, and freed by `deinit` alone.
  let raw: OpaquePointer
  let statement: StatementLabel

  init(owning raw: OpaquePointer, statement: StatementLabel) {
    self.raw = raw
    self.statement = statement
  }

  deinit { PQclear(raw) }

  var rowCount: Int { Int(PQntuples(raw)) }

  /// The rows that an insert, update or delete touched, or that a select returned.
  var affectedRowCount: Int { Int(String(cString: PQcmdTuples(raw))) ?? 0 }

  func decodeRows<Statement: PostgresStatement>(
    of _: Statement.Type
  ) throws(PostgresError) -> [Statement.Row] {
    var rows: [Statement.Row] = []
    rows.reserveCapacity(rowCount)
    for index in 0..<rowCount {
      var row = PostgresRow(result: self, index: Int32(index))
      rows.append(try Statement.decode(&row))
    }
    return rows
  }
}

/// One row while it is decoded: a cursor over its columns.
public struct PostgresRow {
  let result: QueryResult
  let index: Int32
  private var column: Int32 = 0

  init(result: QueryResult, index: Int32) {
    self.result = result
    self.index = index
  }

  /// Takes the next column. Throws `.decoding` on NULL, on another type, on an unknown value of an enum, on a time that
  /// is infinite, and past the last column.
  public mutating func next<Value: PostgresCodable>(
    _: Value.Type = Value.self
  ) throws(PostgresError) -> Value {
    guard let value = try nextIfPresent(Value.self) else { throw failure("is NULL") }
    return value
  }

  /// Takes the next column, nil for NULL.
  public mutating func next<Value: PostgresCodable>(
    _: Value?.Type = Value?.self
  ) throws(PostgresError) -> Value? {
    try nextIfPresent(Value.self)
  }

  private mutating func nextIfPresent<Value: PostgresCodable>(
    _: Value.Type
  ) throws(PostgresError) -> Value? {
    column += 1
    let position = column - 1
    guard position < PQnfields(result.raw) else { throw failure("is past the last column") }
    if PQgetisnull(result.raw, index, position) == 1 { return nil }
    let bytes = UnsafeRawBufferPointer(
      start: PQgetvalue(result.raw, index, position), count: Int(PQgetlength(result.raw, index, position)))
    let type = PQftype(result.raw, position)
    guard let value = Value(binary: bytes, oid: type) else {
      throw failure(Self.mismatch(Value.self, bytes, oid: type))
    }
    return value
  }

  /// Names the value only if an enum was expected, because another value may be a secret.
  private static func mismatch<Value>(_: Value.Type, _ bytes: UnsafeRawBufferPointer, oid: UInt32) -> String {
    if bytes.isInfinity(ofType: oid) { return "is infinite" }
    if Value.self is any RawRepresentable.Type, let text = String(binary: bytes, oid: oid) {
      return "is not \(Value.self): \(text)"
    }
    return "of type \(oid) is not \(Value.self)"
  }

  private func failure(_ reason: String) -> PostgresError {
    PostgresError(.decoding, "column \(column) \(reason)", statement: result.statement.description)
  }
}
