import Postgres

extension RawRepresentable where RawValue == String {
  /// Decodes a text column that a check constraint limits to the known values.
  init(column text: String, _ name: String) throws(PostgresError) {
    guard let value = Self(rawValue: text) else { throw PostgresError(.decoding, "unknown \(name) \(text)") }
    self = value
  }
}

/// `bytea` of 32 bytes.
extension SecretHash: PostgresCodable {
  package static var oid: UInt32 { PostgresBytes.oid }
  package static var arrayOID: UInt32 { PostgresBytes.arrayOID }
  package func encode(into buffer: inout [UInt8]) { buffer += bytes }
  package init?(binary: UnsafeRawBufferPointer, oid: UInt32) {
    guard oid == Self.oid else { return nil }
    self.init(bytes: Array(binary))
  }
}
