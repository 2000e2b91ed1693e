public import Foundation

/// A value that is sent and received in PostgreSQL's binary format.
public protocol PostgresCodable: PostgresBindable, Sendable {
  /// The object id of the type that parameters are sent as (`pg_type.oid`).
  static var oid: UInt32 { get }
  /// The object id of its array type.
  static var arrayOID: UInt32 { get }
  /// Appends the binary format.
  func encode(into buffer: inout [UInt8])
  /// Decodes a column of type `oid`; nil when that type or those bytes don't fit.
  init?(binary: UnsafeRawBufferPointer, oid: UInt32)
}

extension FixedWidthInteger {
  fileprivate func appendBigEndian(to buffer: inout [UInt8]) {
    withUnsafeBytes(of: bigEndian) { buffer.append(contentsOf: $0) }
  }

  fileprivate init?(bigEndianBytes bytes: UnsafeRawBufferPointer) {
    guard bytes.count == MemoryLayout<Self>.size else { return nil }
    self.init(bigEndian: bytes.loadUnaligned(as: Self.self))
  }
}

extension UnsafeRawBufferPointer {
  /// Whether these bytes of a column of type `oid` are `infinity` or `-infinity`, which is not a time.
  func isInfinity(ofType oid: UInt32) -> Bool {
    switch oid {
    case Date.oid: Int64(bigEndianBytes: self).map { $0 == .max || $0 == .min } ?? false
    case PostgresDate.oid: Int32(bigEndianBytes: self).map { $0 == .max || $0 == .min } ?? false
    default: false
    }
  }
}

extension Bool: PostgresCodable {
  public static var oid: UInt32 { 16 }
  public static var arrayOID: UInt32 { 1000 }
  public func encode(into buffer: inout [UInt8]) { buffer.append(self ? 1 : 0) }
  public init?(binary: UnsafeRawBufferPointer, oid: UInt32) {
    guard oid == Self.oid, let byte = binary.first else { return nil }
    self = byte != 0
  }
}

extension Int16: PostgresCodable {
  public static var oid: UInt32 { 21 }
  public static var arrayOID: UInt32 { 1005 }
  public func encode(into buffer: inout [UInt8]) { appendBigEndian(to: &buffer) }
  public init?(binary: UnsafeRawBufferPointer, oid: UInt32) {
    guard oid == Self.oid else { return nil }
    self.init(bigEndianBytes: binary)
  }
}

extension Int32: PostgresCodable {
  public static var oid: UInt32 { 23 }
  public static var arrayOID: UInt32 { 1007 }
  public func encode(into buffer: inout [UInt8]) { appendBigEndian(to: &buffer) }
  public init?(binary: UnsafeRawBufferPointer, oid: UInt32) {
    guard oid == Self.oid else { return nil }
    self.init(bigEndianBytes: binary)
  }
}

/// Sent as `bigint`; decodes `smallint` and `integer` columns as well.
extension Int: PostgresCodable {
  public static var oid: UInt32 { 20 }
  public static var arrayOID: UInt32 { 1016 }
  public func encode(into buffer: inout [UInt8]) { appendBigEndian(to: &buffer) }
  public init?(binary: UnsafeRawBufferPointer, oid: UInt32) {
    let value: Int? =
      switch oid {
      case Self.oid: Int(bigEndianBytes: binary)
      case Int32.oid: Int32(bigEndianBytes: binary).map(Int.init)
      case Int16.oid: Int16(bigEndianBytes: binary).map(Int.init)
      default: nil
      }
    guard let value else { return nil }
    self = value
  }
}

extension Double: PostgresCodable {
  public static var oid: UInt32 { 701 }
  public static var arrayOID: UInt32 { 1022 }
  public func encode(into buffer: inout [UInt8]) { bitPattern.appendBigEndian(to: &buffer) }
  public init?(binary: UnsafeRawBufferPointer, oid: UInt32) {
    guard oid == Self.oid, let bits = UInt64(bigEndianBytes: binary) else { return nil }
    self.init(bitPattern: bits)
  }
}

extension String: PostgresCodable {
  public static var oid: UInt32 { 25 }
  public static var arrayOID: UInt32 { 1009 }
  public func encode(into buffer: inout [UInt8]) { buffer.append(contentsOf: utf8) }
  public init?(binary: UnsafeRawBufferPointer, oid: UInt32) {
    // text, varchar, bpchar, name, unknown, json
    guard [25, 1043, 1042, 19, 705, 114].contains(oid) else { return nil }
    self.init(decoding: binary, as: UTF8.self)
  }
}

/// Sent as text. Decodes the texts that are known values, to which a check constraint limits the column.
extension PostgresCodable where Self: RawRepresentable, RawValue == String {
  public static var oid: UInt32 { String.oid }
  public static var arrayOID: UInt32 { String.arrayOID }
  public func encode(into buffer: inout [UInt8]) { rawValue.encode(into: &buffer) }
  public init?(binary: UnsafeRawBufferPointer, oid: UInt32) {
    guard let text = String(binary: binary, oid: oid) else { return nil }
    self.init(rawValue: text)
  }
}

extension UUID: PostgresCodable {
  public static var oid: UInt32 { 2950 }
  public static var arrayOID: UInt32 { 2951 }
  public func encode(into buffer: inout [UInt8]) {
    withUnsafeBytes(of: uuid) { buffer.append(contentsOf: $0) }
  }
  public init?(binary: UnsafeRawBufferPointer, oid: UInt32) {
    guard oid == Self.oid, binary.count == 16 else { return nil }
    self.init(uuid: binary.loadUnaligned(as: uuid_t.self))
  }
}

/// `timestamptz`: microseconds from 2000-01-01 UTC on the wire, kept to the microsecond for any date between 1730 and
/// 2270. An infinite date is sent as `infinity`, which does not decode.
extension Date: PostgresCodable {
  public static var oid: UInt32 { 1184 }
  public static var arrayOID: UInt32 { 1185 }
  /// From 2000, PostgreSQL's epoch, to 2001, Foundation's.
  private static var epochDistanceSeconds: Int64 { 366 * 86_400 }

  public func encode(into buffer: inout [UInt8]) { microsecondsSince2000.appendBigEndian(to: &buffer) }

  public init?(binary: UnsafeRawBufferPointer, oid: UInt32) {
    guard oid == Self.oid, !binary.isInfinity(ofType: oid), let microseconds = Int64(bigEndianBytes: binary) else {
      return nil
    }
    self.init(
      timeIntervalSinceReferenceDate: Double(microseconds &- Self.epochDistanceSeconds * 1_000_000) / 1_000_000)
  }

  private var microsecondsSince2000: Int64 {
    let interval = timeIntervalSinceReferenceDate
    if interval.isInfinite { return interval > 0 ? .max : .min }
    // Whole seconds and the fraction are computed separately, because a Double of microseconds would be too coarse. A
    // value that is not a date becomes one past the server's last date, which the server refuses.
    guard abs(interval) < 9e12 else { return .max - 1 }
    let seconds = interval.rounded(.down)
    let fraction = ((interval - seconds) * 1_000_000).rounded()
    return (Int64(seconds) + Self.epochDistanceSeconds) * 1_000_000 + Int64(fraction)
  }
}

/// `date`: a day of the calendar, without a time or a zone. `infinity` does not decode.
public struct PostgresDate: PostgresCodable, Hashable, Comparable {
  /// Days from 2000-01-01.
  public var daysSince2000: Int32

  public init(daysSince2000: Int32) { self.daysSince2000 = daysSince2000 }

  public static var oid: UInt32 { 1082 }
  public static var arrayOID: UInt32 { 1182 }
  public static func < (one: Self, other: Self) -> Bool { one.daysSince2000 < other.daysSince2000 }
  public func encode(into buffer: inout [UInt8]) { daysSince2000.appendBigEndian(to: &buffer) }
  public init?(binary: UnsafeRawBufferPointer, oid: UInt32) {
    guard oid == Self.oid, !binary.isInfinity(ofType: oid), let days = Int32(bigEndianBytes: binary) else {
      return nil
    }
    self.init(daysSince2000: days)
  }
}

/// `bytea`.
public struct PostgresBytes: PostgresCodable, Hashable {
  public var bytes: [UInt8]

  public init(_ bytes: some Sequence<UInt8>) { self.bytes = Array(bytes) }

  public static var oid: UInt32 { 17 }
  public static var arrayOID: UInt32 { 1001 }
  public func encode(into buffer: inout [UInt8]) { buffer.append(contentsOf: bytes) }
  public init?(binary: UnsafeRawBufferPointer, oid: UInt32) {
    guard oid == Self.oid else { return nil }
    bytes = Array(binary)
  }
}

/// One-dimensional arrays without NULLs (`src/backend/utils/adt/arrayfuncs.c`, `array_recv`): dimensions, a flag for
/// NULLs, the element type, then for the dimension its length and lower bound, then each element preceded by its
/// length.
extension Array: PostgresBindable, PostgresCodable where Element: PostgresCodable {
  public static var oid: UInt32 { Element.arrayOID }
  /// PostgreSQL has no type for arrays of arrays.
  public static var arrayOID: UInt32 { 0 }

  public func encode(into buffer: inout [UInt8]) {
    Int32(1).appendBigEndian(to: &buffer)
    Int32(0).appendBigEndian(to: &buffer)
    Element.oid.appendBigEndian(to: &buffer)
    Int32(count).appendBigEndian(to: &buffer)
    Int32(1).appendBigEndian(to: &buffer)
    for element in self {
      let lengthIndex = buffer.count
      Int32(0).appendBigEndian(to: &buffer)
      element.encode(into: &buffer)
      let length = UInt32(buffer.count - lengthIndex - 4)
      for byte in 0..<4 { buffer[lengthIndex + byte] = UInt8(truncatingIfNeeded: length >> UInt32(24 - 8 * byte)) }
    }
  }

  public init?(binary: UnsafeRawBufferPointer, oid: UInt32) {
    var reader = BinaryReader(bytes: binary)
    guard let dimensions = reader.integer(), reader.integer() == 0, let element = reader.integer(), element != 0
    else { return nil }
    self.init()
    if dimensions == 0 { return }
    guard dimensions == 1, let count = reader.integer(), count >= 0, reader.integer() != nil,
      // Each element takes at least the four bytes of its length.
      Int(count) <= reader.remainingCount / 4
    else { return nil }
    reserveCapacity(Int(count))
    for _ in 0..<count {
      guard let length = reader.integer(), length >= 0, let bytes = reader.take(Int(length)),
        let value = Element(binary: bytes, oid: UInt32(bitPattern: element))
      else { return nil }
      append(value)
    }
  }
}

private struct BinaryReader {
  let bytes: UnsafeRawBufferPointer
  var position = 0

  init(bytes: UnsafeRawBufferPointer) { self.bytes = bytes }

  var remainingCount: Int { bytes.count - position }

  mutating func take(_ count: Int) -> UnsafeRawBufferPointer? {
    guard count <= remainingCount else { return nil }
    defer { position += count }
    return UnsafeRawBufferPointer(rebasing: bytes[position..<position + count])
  }

  mutating func integer() -> Int32? {
    take(4).flatMap { Int32(bigEndianBytes: $0) }
  }
}
