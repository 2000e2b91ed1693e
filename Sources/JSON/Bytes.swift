package import Foundation

/// Appends small texts, each as a whole: every append has a cost, whatever its length.
extension [UInt8] {
  package mutating func append(_ text: StaticString) {
    append(contentsOf: UnsafeBufferPointer(start: text.utf8Start, count: text.utf8CodeUnitCount))
  }

  package mutating func append(text: String) { append(contentsOf: text.utf8) }

  package mutating func append(decimal number: Int) {
    guard number >= 0 else { return append(text: "\(number)") }
    withUnsafeTemporaryAllocation(of: UInt8.self, capacity: 20) { digits in
      var start = digits.count
      var rest = number
      repeat {
        start -= 1
        digits.initializeElement(at: start, to: 0x30 + UInt8(truncatingIfNeeded: rest % 10))
        rest /= 10
      } while rest > 0
      append(contentsOf: UnsafeBufferPointer(rebasing: digits[start...]))
    }
  }

  /// Appends a text of at most 40 characters and a number together.
  package mutating func append(_ text: StaticString, decimal number: Int) {
    let count = text.utf8CodeUnitCount
    guard number >= 0, count <= 40 else {
      append(text)
      return append(decimal: number)
    }
    withUnsafeTemporaryAllocation(of: UInt8.self, capacity: 60) { piece in
      var start = piece.count
      var rest = number
      repeat {
        start -= 1
        piece.initializeElement(at: start, to: 0x30 + UInt8(truncatingIfNeeded: rest % 10))
        rest /= 10
      } while rest > 0
      start -= count
      _ = piece[start...].initialize(fromContentsOf: UnsafeBufferPointer(start: text.utf8Start, count: count))
      append(contentsOf: UnsafeBufferPointer(rebasing: piece[start...]))
    }
  }

  /// With leading zeros.
  package mutating func append(decimal number: Int, width: Int) {
    var unit = 1
    for _ in 1..<width { unit *= 10 }
    while unit > 0 {
      append(0x30 + UInt8(truncatingIfNeeded: number / unit % 10))
      unit /= 10
    }
  }

  /// In lower case, like everywhere in the API.
  package mutating func append(hex id: UUID) {
    withUnsafeTemporaryAllocation(of: UInt8.self, capacity: 36) { text in
      Swift.withUnsafeBytes(of: id.uuid) { bytes in
        var place = 0
        for (index, byte) in bytes.enumerated() {
          if index == 4 || index == 6 || index == 8 || index == 10 {
            text.initializeElement(at: place, to: UInt8(ascii: "-"))
            place += 1
          }
          text.initializeElement(at: place, to: Self.hexDigit(byte >> 4))
          text.initializeElement(at: place + 1, to: Self.hexDigit(byte & 15))
          place += 2
        }
      }
      append(contentsOf: UnsafeBufferPointer(text))
    }
  }

  /// Sixteen digits.
  package mutating func append(hex number: UInt64) {
    withUnsafeTemporaryAllocation(of: UInt8.self, capacity: 16) { text in
      for place in 0..<16 {
        text.initializeElement(at: place, to: Self.hexDigit(UInt8(number >> UInt64(60 - 4 * place) & 15)))
      }
      append(contentsOf: UnsafeBufferPointer(text))
    }
  }

  private static func hexDigit(_ value: UInt8) -> UInt8 {
    value < 10 ? UInt8(ascii: "0") + value : UInt8(ascii: "a") - 10 + value
  }
}

extension UInt8 {
  /// The value of an ASCII hexadecimal digit, 0…15; nil for any other character.
  package var hexDigitValue: UInt8? {
    switch self {
    case UInt8(ascii: "0")...UInt8(ascii: "9"): self - UInt8(ascii: "0")
    case UInt8(ascii: "a")...UInt8(ascii: "f"): self - UInt8(ascii: "a") + 10
    case UInt8(ascii: "A")...UInt8(ascii: "F"): self - UInt8(ascii: "A") + 10
    default: nil
    }
  }
}

extension Int {
  /// The number with exactly these decimal digits: without a sign or leading zeros. Nil for any other bytes, and if
  /// `Int` cannot hold it.
  @inlinable
  package init?(digits: some Collection<UInt8>) {
    guard let first = digits.first, first != UInt8(ascii: "0") || digits.count == 1 else { return nil }
    var number = 0
    for byte in digits {
      guard (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) else { return nil }
      let (tens, isTooLarge) = number.multipliedReportingOverflow(by: 10)
      let (sum, isBeyond) = tens.addingReportingOverflow(Int(byte - UInt8(ascii: "0")))
      guard !isTooLarge, !isBeyond else { return nil }
      number = sum
    }
    self = number
  }
}
