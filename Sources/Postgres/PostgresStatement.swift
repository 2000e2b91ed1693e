/// One SQL statement: its text, its bindings and the decoding of a row, in one type.
///
/// The type's name is the name of the prepared statement (with a number behind it), and the label in errors.
public protocol PostgresStatement: Sendable {
  /// What a row is decoded into; `Void` where nothing is returned.
  associatedtype Row: Sendable = Void

  /// The text, with `$1`, `$2` … where ``bind(_:)`` puts values.
  static var sql: String { get }

  /// Appends the values for `$1`, `$2` … in order.
  func bind(_ bindings: inout PostgresBindings)

  /// Takes the columns, in order.
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> Row
}

extension PostgresStatement {
  public func bind(_ bindings: inout PostgresBindings) {}
}

extension PostgresStatement where Row == Void {
  public static func decode(_ row: inout PostgresRow) throws(PostgresError) {}
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

  /// Appends a value.
  public mutating func append<Parameter: PostgresCodable>(_ value: Parameter) {
    let start = buffer.count
    value.encode(into: &buffer)
    values.append(Value(type: Parameter.oid, range: start..<buffer.count))
  }

  /// Appends a value, or NULL.
  public mutating func append<Parameter: PostgresCodable>(_ value: Parameter?) {
    if let value {
      append(value)
    } else {
      values.append(Value(type: Parameter.oid, range: nil))
    }
  }
}
