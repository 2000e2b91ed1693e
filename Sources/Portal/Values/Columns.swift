import Postgres

extension RawRepresentable where RawValue == String {
  /// Decodes a text column that a check constraint limits to the known values.
  init(column text: String, _ name: String) throws(PostgresError) {
    guard let value = Self(rawValue: text) else { throw PostgresError(.decoding, "unknown \(name) \(text)") }
    self = value
  }
}

extension SecretHash {
  init?(column: PostgresBytes?) throws(PostgresError) {
    guard let column else { return nil }
    try self.init(present: column)
  }

  init(present column: PostgresBytes) throws(PostgresError) {
    guard let hash = SecretHash(bytes: column.bytes) else { throw PostgresError(.decoding, "a hash of a wrong length") }
    self = hash
  }
}
