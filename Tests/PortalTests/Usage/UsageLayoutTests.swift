import Foundation
import Testing

@testable import Portal

@Suite("UsageLayout")
struct UsageLayoutTests {
  private static let inode: UInt64 = 12_345
  private enum Judgement: Equatable {
    case good(UsageLayout)
    case unfinished
    case otherVersion
    case damaged(String)

    init(_ judgement: SpoolHead.Judgement) {
      self =
        switch judgement {
        case .good(let head, let magic): .good(UsageLayout(head, magic: magic))
        case .unfinished: .unfinished
        case .otherVersion: .otherVersion
        case .damaged(let reason): .damaged(reason)
        }
    }
  }

  private let layout = UsageLayout(sourceID: .numbered(1), number: 7, slotsPerShard: 128, seed: 99)

  /// Checks a first page with changed bytes.
  private func judge(
    _ changes: [Int: [UInt8]] = [:], pageByteCount: Int = UsageLayout.headByteCount, byteCount: Int? = nil,
    inode: UInt64 = inode, sourceID: UUID = .numbered(1), number: Int = 7
  ) -> Judgement {
    let page = UnsafeMutableRawBufferPointer.allocate(byteCount: UsageLayout.headByteCount, alignment: 64)
    defer { page.deallocate() }
    page.initializeMemory(as: UInt8.self, repeating: 0)
    if let base = page.baseAddress { layout.write(to: base, inode: Self.inode) }
    for (offset, bytes) in changes { for (place, byte) in bytes.enumerated() { page[offset + place] = byte } }
    return Judgement(
      SpoolHead.judge(
        UnsafeRawBufferPointer(rebasing: page[..<pageByteCount]), UsageLayout.kind,
        byteCount: byteCount ?? layout.byteCount, inode: inode, sourceID: sourceID, number: number))
  }

  private func bytes(_ number: UInt64) -> [UInt8] { (0..<8).map { UInt8(truncatingIfNeeded: number >> (8 * $0)) } }

  private func isDamaged(_ judgement: Judgement) -> Bool {
    if case .damaged = judgement { true } else { false }
  }

  @Test("a layout that was written is read back")
  func good() {
    #expect(judge() == .good(layout))
  }

  @Test(
    "an impossible number of slots is refused, for any size of the file",
    arguments: [0, 1, 63, 65, 127, 129, 1 << 17, 1 << 31, 1 << 32, 1 << 62, 1 << 63, .max - 1, .max] as [UInt64])
  func slots(_ slots: UInt64) {
    #expect(isDamaged(judge([8: bytes(slots)])))
    let claimed = Int(truncatingIfNeeded: slots).multipliedReportingOverflow(by: 16 * 96).partialValue
    #expect(isDamaged(judge([8: bytes(slots)], byteCount: max(0, min(claimed, Int.max - 5_120) + 5_120))))
  }

  @Test("a file whose size does not match its slots, even by a byte, is refused")
  func size() {
    for byteCount in [0, 4_096, layout.byteCount - 1, layout.byteCount + 1, UsageLayout.byteCountMax + 1, .max] {
      #expect(isDamaged(judge(byteCount: byteCount)), "\(byteCount)")
    }
  }

  @Test(
    "a number that differs from the file's name, or that is impossible, is refused",
    arguments: [0, 6, 8, 1 << 40 + 7, 1 << 62, 1 << 63, .max - 1, .max] as [UInt64])
  func numbers(_ number: UInt64) {
    #expect(isDamaged(judge([40: bytes(number)])))
    // Even if the name agrees with it.
    if number > UsageLayout.numberMax, let named = Int(exactly: number) {
      #expect(isDamaged(judge([40: bytes(number)], number: named)))
    }
  }

  @Test("the highest number leaves room for the numbers of its statements, and for one more")
  func numberMax() {
    let last = UsageLayout.numberMax << 16 | 0xFFFF
    #expect(last > 0 && last >> 16 == UsageLayout.numberMax && last < Int.max)
  }

  @Test("files of another process and copies are refused")
  func others() {
    #expect(isDamaged(judge(sourceID: .numbered(2))))
    #expect(judge(inode: 1) == .damaged("is a copy"))
  }

  @Test("other files, files of another version and unfinished ones are told apart")
  func magic() {
    #expect(judge([0: bytes(0)]) == .unfinished)
    #expect(judge([6: Array("99".utf8)]) == .otherVersion)
    #expect(isDamaged(judge([0: bytes(.max)])))
    #expect(isDamaged(judge([0: [0]])))
  }

  @Test("a file of the first version is read, and written in the statements of that version")
  func firstVersion() {
    guard case .good(let first) = judge([6: Array("01".utf8)]) else {
      Issue.record("the first version is not read")
      return
    }
    #expect(first.countersPerStatement == 10_000)
    #expect(layout.countersPerStatement == 1_000)
    #expect(first.seed == layout.seed && first.byteCount == layout.byteCount)
  }

  @Test("a file that ends within its header is damaged, unless it is empty or all zero")
  func short() {
    for count in [1, 7, 8, 48, 4_095] { #expect(isDamaged(judge(pageByteCount: count, byteCount: count))) }
    #expect(judge(pageByteCount: 0, byteCount: 0) == .unfinished)
    let zeros = [UInt8](repeating: 0, count: 64)
    #expect(judge([0: zeros], pageByteCount: 100, byteCount: 100) == .unfinished)
  }
}
