import Foundation

/// Keys, and the order in which they are verified.
struct KeyMix: Sendable {
  /// The length of `lk_live_`, 43 random characters and a checksum of six.
  static let keyLength = 57
  static let idLength = 36

  /// The number of keys that exist. The keys after them in `texts` are well formed and unknown.
  let knownCount: Int
  /// The texts of all keys, concatenated.
  let texts: [UInt8]
  /// The ids of the known keys, concatenated.
  let ids: [UInt8]
  /// Indexes of keys, to be verified repeatedly in this order.
  let draws: [Int32]

  /// `unknownShare` of the draws is spread evenly over the unknown keys. The others follow Zipf's law: the key of rank
  /// r is verified 1/r times as often as the first.
  static func zipf(knownCount: Int, unknownCount: Int, unknownShare: Double, drawCount: Int) -> KeyMix {
    var generator = SeededGenerator(state: 1)
    var sum = 0.0
    let cumulated = (1...knownCount).map { rank in
      sum += 1 / Double(rank)
      return sum
    }
    let draws = (0..<drawCount).map { _ in
      if Double.random(in: 0..<1, using: &generator) < unknownShare {
        return Int32(knownCount + .random(in: 0..<unknownCount, using: &generator))
      }
      let target = Double.random(in: 0..<sum, using: &generator)
      var (low, high) = (0, knownCount - 1)
      while low < high {
        let middle = (low + high) / 2
        if cumulated[middle] <= target { low = middle + 1 } else { high = middle }
      }
      return Int32(low)
    }
    return KeyMix(knownCount: knownCount, unknownCount: unknownCount, draws: draws)
  }

  /// Every key once, in order.
  static func sequential(knownCount: Int, unknownCount: Int) -> KeyMix {
    KeyMix(
      knownCount: knownCount, unknownCount: unknownCount, draws: (0..<Int32(knownCount + unknownCount)).map { $0 })
  }

  private init(knownCount: Int, unknownCount: Int, draws: [Int32]) {
    self.knownCount = knownCount
    self.draws = draws
    // The system's generator would need a system call for each character.
    var generator = SeededGenerator(state: .random(in: .min ... .max))
    texts = (0..<knownCount + unknownCount).flatMap { _ in Self.randomSecret(prefix: "lk_live_", using: &generator) }
    ids = (0..<knownCount).flatMap { _ in UUID().uuidString.lowercased().utf8 }
  }

  func text(_ index: Int) -> String {
    String(decoding: texts[index * Self.keyLength..<(index + 1) * Self.keyLength], as: UTF8.self)
  }

  func id(_ index: Int) -> String {
    String(decoding: ids[index * Self.idLength..<(index + 1) * Self.idLength], as: UTF8.self)
  }

  /// A secret in Latchkey's form, with the right checksum.
  static func randomSecret(prefix: String, using generator: inout some RandomNumberGenerator) -> [UInt8] {
    var text = Array(prefix.utf8)
    for _ in 0..<43 { text.append(base62[.random(in: 0..<62, using: &generator)]) }
    var checksum = crc32(text)
    var digits: [UInt8] = []
    for _ in 0..<6 {
      digits.append(base62[Int(checksum % 62)])
      checksum /= 62
    }
    return text + digits.reversed()
  }

  private static let base62 = Array("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz".utf8)

  private static let crcTable: [UInt32] = (0..<256).map { index in
    (0..<8).reduce(UInt32(index)) { value, _ in value & 1 == 1 ? value >> 1 ^ 0xEDB8_8320 : value >> 1 }
  }

  private static func crc32(_ bytes: [UInt8]) -> UInt32 {
    ~bytes.reduce(~0) { value, byte in value >> 8 ^ crcTable[Int(UInt8(truncatingIfNeeded: value) ^ byte)] }
  }
}

/// SplitMix64. With the same seed, every run has the same ranks in the same order.
struct SeededGenerator: RandomNumberGenerator {
  var state: UInt64

  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var value = state
    value = (value ^ value >> 30) &* 0xBF58_476D_1CE4_E5B9
    value = (value ^ value >> 27) &* 0x94D0_49BB_1331_11EB
    return value ^ value >> 31
  }
}
