import Postgres

extension KeyEnvironment: PostgresCodable {}
extension MailKind: PostgresCodable {}
extension OneTimeToken.Purpose: PostgresCodable {}
extension RateLimitMode: PostgresCodable {}

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
