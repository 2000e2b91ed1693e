import PostgresTesting
import Testing

@testable import Portal

@Suite("Base62")
struct Base62Tests {
  private let alphabet = Array("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")

  @Test(
    "numbers are written with the most significant digit first, padded with zeros",
    arguments: [
      ([0], 1, "0"), ([0], 6, "000000"), ([9], 2, "09"), ([10], 2, "0A"), ([35], 1, "Z"), ([36], 1, "a"),
      ([61], 2, "0z"), ([62], 2, "10"), ([3_843], 2, "zz"), ([0xFFFF_FFFF], 6, "4gfFC3"), ([0, 62], 3, "010"),
      ([.max], 11, "LygHa16AHYF"), ([1, 0], 11, "LygHa16AHYG"),
    ] as [([UInt64], Int, String)])
  func known(_ limbs: [UInt64], _ length: Int, _ text: String) {
    #expect(Base62.encode(limbs, length: length) == text)
  }

  @Test("the largest number of 256 bits fits into 43 digits, and not into 42")
  func capacity() {
    let largest = Base62.encode([.max, .max, .max, .max], length: 44)
    #expect(largest.hasPrefix("0") && !largest.hasPrefix("00"))
  }

  @Test("an encoded number decodes to the same number")
  func roundTrip() {
    var random = SeededGenerator(seed: 62)
    for _ in 0..<500 {
      let number = UInt128.random(in: 0 ... .max, using: &random)
      let text = Base62.encode(
        [UInt64(truncatingIfNeeded: number >> 64), UInt64(truncatingIfNeeded: number)], length: 22)
      let value = text.reduce(UInt128(0)) { $0 * 62 + UInt128(alphabet.firstIndex(of: $1)!) }
      #expect(value == number)
    }
  }

  @Test("exactly the letters and digits of ASCII are digits")
  func isDigit() {
    let digits = Set(alphabet.map { $0.asciiValue! })
    for byte in UInt8.min ... .max { #expect(Base62.isDigit(byte) == digits.contains(byte), "\(byte)") }
  }
}
