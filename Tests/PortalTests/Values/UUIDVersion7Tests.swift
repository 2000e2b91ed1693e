import Foundation
import Testing

@testable import Portal

@Suite("UUID version 7")
struct UUIDVersion7Tests {
  private func bytes(_ id: UUID) -> [UInt8] { withUnsafeBytes(of: id.uuid) { Array($0) } }

  @Test(
    "begins with the milliseconds since 1970, and has its version and variant",
    arguments: [0, 1, 1_645_557_742_000])
  func layout(_ milliseconds: Int) {
    for _ in 0..<50 {
      let bytes = bytes(.version7(at: Date(timeIntervalSince1970: Double(milliseconds) / 1_000)))
      #expect(bytes[..<6].reduce(0) { $0 << 8 | Int($1) } == milliseconds)
      #expect(bytes[6] >> 4 == 7)
      #expect(bytes[8] >> 6 == 0b10)
    }
  }

  @Test("ids of later microseconds sort later, in Swift, as text and byte by byte")
  func order() {
    let ids = (0..<5_000).map { UUID.version7(at: Date(timeIntervalSince1970: 1_800_000_000 + Double($0) * 1e-6)) }
    for (one, next) in zip(ids, ids.dropFirst()) {
      #expect(one < next && one.text < next.text)
    }
  }

  @Test("a time before 1970 counts as 1970")
  func beforeTheEpoch() {
    #expect(bytes(.version7(at: .distantPast)).prefix(6).allSatisfy { $0 == 0 })
  }

  @Test("a hundred thousand ids are all different, even if made at the same moment")
  func unique() async {
    let moment = Date()
    let outcomes = await concurrently(50) { index in
      (0..<2_000).map { _ in index.isMultiple(of: 2) ? UUID.version7() : UUID.version7(at: moment) }
    }
    #expect(Set(outcomes.values.joined()).count == 100_000)
  }

  /// Shards are chosen by it.
  @Test("the last byte is evenly distributed")
  func lastByte() {
    let counts = Dictionary((0..<25_600).map { _ in (UUID.version7().uuid.15, 1) }, uniquingKeysWith: +)
    #expect(counts.count == 256)
    #expect(counts.values.allSatisfy { (40...180).contains($0) })
  }

  @Test("its text is in lower case")
  func text() {
    let id = UUID(uuidString: "018F0000-0000-7ABC-8DEF-0000000000FF")!
    #expect(id.text == "018f0000-0000-7abc-8def-0000000000ff")
  }
}
