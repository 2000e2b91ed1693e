/// One SQL statement: its text, its bindings and the decoding of a row, in one type.
///
/// The type's name, with a number after it, is the name of the prepared statement, and the label in errors.
public protocol PostgresStatement: Sendable {
  /// The type that a row is decoded into; `Void` if the statement returns nothing.
  associatedtype Row: Sendable = Void

  /// The SQL, with `$1`, `$2` … for the values that ``bind(_:)`` appends.
  static var sql: String { get }

  /// Whether it changes nothing. By default, true for SQL that begins with `select`. A statement that calls a function
  /// that writes must override this, and so must a read that begins with `with`: as a change, it would be refused while
  /// commits wait for a standby.
  static var isRead: Bool { get }

  /// Appends the values for `$1`, `$2` … in order.
  func bind(_ bindings: inout PostgresBindings)

  /// Decodes the columns, in order. By default, a row that is one value, or an optional one, is the first column.
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> Row
}

extension PostgresStatement {
  public static var isRead: Bool { sql.hasPrefix("select") }
  public func bind(_ bindings: inout PostgresBindings) {}
}

extension PostgresStatement where Row == Void {
  public static func decode(_ row: inout PostgresRow) throws(PostgresError) {}
}

extension PostgresStatement where Row: PostgresCodable {
  public static func decode(_ row: inout PostgresRow) throws(PostgresError) -> Row { try row.next() }
}

extension PostgresStatement {
  public static func decode<Value: PostgresCodable>(
    _ row: inout PostgresRow
  ) throws(PostgresError) -> Row where Row == Value? {
    try row.next()
  }
}

extension PostgresStatement {
  /// The row of a statement that always returns one. Throws `.decoding` if there is none.
  public static func one(of rows: [Row]) throws(PostgresError) -> Row {
    guard let row = rows.first else { throw PostgresError(.decoding, "returned no row", statement: "\(Self.self)") }
    return row
  }
}

/// The parameters of one execution, in PostgreSQL's binary formats, in one buffer.
public struct PostgresBindings: Sendable {
  struct Value: Sendable {
    let type: UInt32
    /// Its bytes within `buffer`; nil for NULL.
    let range: Range<Int>?
  }

  private(set) var values: [Value] = []
  private(set) var buffer: [UInt8] = []

  init() {}

  /// Appends values, each of which may be NULL.
  public mutating func append<each Value: PostgresBindable>(_ value: repeat each Value) {
    repeat (each value).bind(to: &self)
  }

  mutating func append(_ type: UInt32, _ encode: ((inout [UInt8]) -> Void)?) {
    let start = buffer.count
    encode?(&buffer)
    values.append(Value(type: type, range: encode.map { _ in start..<buffer.count }))
  }
}

/// A parameter: a value or an optional one. Conform to ``PostgresCodable``, not to this.
public protocol PostgresBindable {
  func bind(to bindings: inout PostgresBindings)
}

extension PostgresCodable {
  public func bind(to bindings: inout PostgresBindings) {
    bindings.append(Self.oid) { encode(into: &$0) }
  }
}

extension Optional: PostgresBindable where Wrapped: PostgresCodable {
  public func bind(to bindings: inout PostgresBindings) {
    if let self {
      self.bind(to: &bindings)
    } else {
      bindings.append(Wrapped.oid, nil)
    }
  }
}
