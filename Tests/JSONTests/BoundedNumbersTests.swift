import PostgresTesting
import Testing

@testable import JSON

@Suite("Bounded numbers")
struct BoundedNumbersTests {
  @Test(
    "a fraction becomes its whole part, and what no Int can be the nearest that is far from where sums overflow",
    arguments: [
      (0, 0), (0.9, 0), (-0.9, 0), (1.5, 1), (-1.5, -1), (1_800_000_000_000.25, 1_800_000_000_000), (.nan, 0),
      (.infinity, 1 << 53), (-.infinity, -(1 << 53)), (.greatestFiniteMagnitude, 1 << 53), (-1e300, -(1 << 53)),
      (0x1p63, 1 << 53), (0x1p53, 1 << 53),
    ] as [(Double, Int)])
  func fractions(_ number: Double, _ expected: Int) {
    #expect(Int(bounding: number) == expected)
  }

  @Test("sums and differences are what they are, or the nearest number that there is")
  func sums() {
    var random = SeededGenerator(seed: 3)
    let extremes = [0, 1, -1, .min, .min + 1, .max, .max - 1, .max / 2 + 1]
    let numbers = extremes + (0..<50).map { _ in Int.random(in: .min ... .max, using: &random) }
    for one in numbers {
      for other in numbers {
        #expect(one.addingBounded(other) == Int(clamping: Int128(one) + Int128(other)))
        #expect(one.subtractingBounded(other) == Int(clamping: Int128(one) - Int128(other)))
      }
    }
  }
}
