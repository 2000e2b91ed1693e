import Foundation
import Testing

@testable import Portal

@Suite("UsageLayout")
struct UsageLayoutTests {
  private static let inode: UInt64 = 12_345
  private let layout = UsageLayout(sourceID: .numbered(1), number: 7, slotsPerShard: 128, seed: 99)

  /// The first page, with bytes of it changed.
  private func judge(
    _ changes: [Int: [UInt8]] = [:], pageByteCount: Int = UsageLayout.headByteCount, byteCount: Int? = nil,
    inode: UInt64 = inode, sourceID: UUID = .numbered(1), number: Int = 7
  ) -> UsageLayout.Judgement {
    let page = UnsafeMutableRawBufferPointer.allocate(byteCount: UsageLayout.headByteCount, alignment: 64)
    defer { page.deallocate() }
    page.initializeMemory(as: UInt8.self, repeating: 0)
    if let base = page.baseAddress { layout.write(to: base, inode: Self.inode) }
    for (offset, bytes) in changes { for (place, byte) in bytes.enumerated() { page[offset + place] = byte } }
    return UsageLayout.judge(
      UnsafeRawBufferPointer(rebasing: page[..<pageByteCount]), byteCount: byteCount ?? layout.byteCount,
      inode: inode, sourceID: sourceID, number: number)
  }

  private func bytes(_ number: UInt64) -> [UInt8] { (0..<8).map { UInt8(truncatingIfNeeded: number >> (8 * $0)) } }

  private func isDamaged(_ judgement: UsageLayout.Judgement) -> Bool {
    if case .damaged = judgement { true } else { false }
  }

  @Test("what was written is what is judged to be there")
  func good() {
    #expect(judge() == .good(layout))
  }

  @Test(
    "a number of slots that no file has is refused, whatever the file's size",
    arguments: [0, 1, 63, 65, 127, 129, 1 << 17, 1 << 31, 1 << 32, 1 << 62, 1 << 63, .max - 1, .max] as [UInt64])
  func slots(_ slots: UInt64) {
    #expect(isDamaged(judge([8: bytes(slots)])))
    let claimed = Int(truncatingIfNeeded: slots).multipliedReportingOverflow(by: 16 * 96).partialValue
    #expect(isDamaged(judge([8: bytes(slots)], byteCount: max(0, min(claimed, Int.max - 5_120) + 5_120))))
  }

  @Test("a file of another size than its slots take is refused, be it by a byte")
  func size() {
    for byteCount in [0, 4_096, layout.byteCount - 1, layout.byteCount + 1, UsageLayout.byteCountMax + 1, .max] {
      #expect(isDamaged(judge(byteCount: byteCount)), "\(byteCount)")
    }
  }

  @Test(
    "a number that is not that of the file's name, or that no file has, is refused",
    arguments: [0, 6, 8, 1 << 40 + 7, 1 << 62, 1 << 63, .max - 1, .max] as [UInt64])
  func numbers(_ number: UInt64) {
    #expect(isDamaged(judge([40: bytes(number)])))
    // Nor where the name agrees with it.
    if number > UsageLayout.numberMax, let named = Int(exactly: number) {
      #expect(isDamaged(judge([40: bytes(number)], number: named)))
    }
  }

  @Test("the highest number has room for the numbers of its statements, and for one more")
  func numberMax() {
    let last = UsageLayout.numberMax << 16 | 0xFFFF
    #expect(last > 0 && last >> 16 == UsageLayout.numberMax && last < Int.max)
  }

  @Test("a file of another process, and a copy, are refused")
  func others() {
    #expect(isDamaged(judge(sourceID: .numbered(2))))
    #expect(judge(inode: 1) == .damaged("is a copy"))
  }

  @Test("what is no file of counters is told from one of another version, and from one that was never begun")
  func magic() {
    #expect(judge([0: bytes(0)]) == .unfinished)
    #expect(judge([6: Array("02".utf8)]) == .otherVersion)
    #expect(isDamaged(judge([0: bytes(.max)])))
    #expect(isDamaged(judge([0: [0]])))
  }

  @Test("a file that ends within its head is no file, unless it is empty or all zero")
  func short() {
    for count in [1, 7, 8, 48, 4_095] { #expect(isDamaged(judge(pageByteCount: count, byteCount: count))) }
    #expect(judge(pageByteCount: 0, byteCount: 0) == .unfinished)
    let zeros = [UInt8](repeating: 0, count: 64)
    #expect(judge([0: zeros], pageByteCount: 100, byteCount: 100) == .unfinished)
  }
}
