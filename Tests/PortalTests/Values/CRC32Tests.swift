import Testing

@testable import Portal

@Suite("CRC32")
struct CRC32Tests {
  @Test(
    "known texts have their known checksums",
    arguments: [
      ("", 0), ("a", 0xE8B7_BE43), ("abc", 0x3524_41C2), ("123456789", 0xCBF4_3926),
      ("The quick brown fox jumps over the lazy dog", 0x414F_A339),
    ] as [(String, UInt32)])
  func known(_ text: String, _ checksum: UInt32) {
    #expect(CRC32.checksum(of: text.utf8) == checksum)
  }

  @Test("zeros count: thirty-two of them and as many bytes of ones have different checksums than none")
  func constantBytes() {
    #expect(CRC32.checksum(of: Array(repeating: UInt8(0), count: 32)) == 0x190A_55AD)
    #expect(CRC32.checksum(of: Array(repeating: UInt8(0xFF), count: 32)) == 0xFF6C_AB0B)
  }
}
