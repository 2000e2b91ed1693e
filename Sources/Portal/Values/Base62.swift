/// Base 62 with the alphabet `0-9A-Za-z`, big-endian, padded with `0` to a fixed length.
enum Base62 {
  private static let alphabet = Array("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz".utf8)

  /// The number whose limbs these are, most significant first, in `length` characters. The number must fit.
  static func encode(_ limbs: [UInt64], length: Int) -> String {
    var limbs = limbs
    var digits = [UInt8](repeating: alphabet[0], count: length)
    for position in digits.indices.reversed() {
      var remainder: UInt64 = 0
      for index in limbs.indices {
        (limbs[index], remainder) = UInt64(62).dividingFullWidth((remainder, limbs[index]))
      }
      digits[position] = alphabet[Int(remainder)]
    }
    return String(decoding: digits, as: UTF8.self)
  }

  static func isDigit(_ byte: UInt8) -> Bool {
    switch byte {
    case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
      UInt8(ascii: "a")...UInt8(ascii: "z"):
      true
    default: false
    }
  }
}
