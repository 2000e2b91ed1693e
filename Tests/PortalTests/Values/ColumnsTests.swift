import PortalTesting
import Postgres
import Testing

@testable import Portal

private struct EchoHashes: PostgresStatement {
  static let sql = "select $1, $2, $3"
  let hash: SecretHash
  let none: SecretHash?
  let hashes: [SecretHash]
  func bind(_ bindings: inout PostgresBindings) { bindings.append(hash, none, hashes) }
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> [SecretHash?] {
    [try row.next(SecretHash.self), try row.next()] + (try row.next([SecretHash].self))
  }
}

private struct DecodeHash: PostgresStatement {
  typealias Row = SecretHash
  static let sql = "select $1"
  let bytes: [UInt8]
  func bind(_ bindings: inout PostgresBindings) { bindings.append(PostgresBytes(bytes)) }
}

@Suite("Values in columns")
struct ColumnsTests {
  @Test("hashes of secrets round-trip, alone and in arrays")
  func hashes() async throws {
    let (one, other) = (SecretHash.numbered(1), SecretHash.numbered(2))
    try await withPool { pool in
      let row = try await pool.query(EchoHashes(hash: one, none: nil, hashes: [other, one])).first
      #expect(row == [one, nil, other, one])
      #expect(try await pool.query(DecodeHash(bytes: one.bytes)) == [one])
    }
  }

  @Test("bytes of another length are not a hash, which is a decoding error")
  func wrongLength() async throws {
    try await withPool { pool async throws in
      for count in [0, 31, 33] {
        let error = await #expect(throws: PostgresError.self) {
          try await pool.query(DecodeHash(bytes: Array(repeating: 7, count: count)))
        }
        #expect(error?.code == .decoding && error?.message == "column 1 of type 17 is not SecretHash")
      }
    }
  }
}
