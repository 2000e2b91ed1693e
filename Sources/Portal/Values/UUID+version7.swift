package import Foundation

extension UUID {
  /// A UUID version 7 (RFC 9562, 5.7): 48 bits of milliseconds, then 12 bits of their fraction (6.2, method 3), so that
  /// ids made more than a microsecond apart in one process sort in that order, then 62 random bits.
  package static func version7(at date: Date = Date()) -> UUID {
    let ticks = UInt64(max(0, date.timeIntervalSince1970) * 1_000 * 4_096)
    let (milliseconds, fraction) = (ticks >> 12, ticks & 0xFFF)
    let random = UInt64.random(in: .min ... .max)
    let high = milliseconds << 16 | 0x7000 | fraction
    let low = 0x8000_0000_0000_0000 | random >> 2
    return withUnsafeBytes(of: (high.bigEndian, low.bigEndian)) { UUID(uuid: $0.loadUnaligned(as: uuid_t.self)) }
  }

  /// The first eight bytes: of a version 7, the time.
  var highBits: UInt64 { withUnsafeBytes(of: uuid) { $0.loadUnaligned(as: UInt64.self) } }
  /// The last eight bytes: of a version 7, all but two of their bits are random.
  var lowBits: UInt64 { withUnsafeBytes(of: uuid) { $0.loadUnaligned(fromByteOffset: 8, as: UInt64.self) } }

  /// In lower case, as it is shown everywhere outside.
  package var text: String { uuidString.lowercased() }
}
