import Foundation
import PostgresTesting
import Testing

@testable import Portal

/// A file of the spool with any contents is read within its bounds or set aside, and the files next to it are read in
/// full.
///
/// `changes.txt` in the folder of the test lists the changes of the current case. The folder stays if a case fails or
/// ends the process.
@Suite("UsageFile, fuzzed")
struct UsageSpoolFuzzTests {
  private static let caseCount = 2_000

  @Test("a changed file is read with bounded sums or set aside; the files next to it are read in full")
  func spool() async throws {
    let fuzzing = try Fuzzing("spool")
    let root = fuzzing.path + "-folder"
    try? FileManager.default.removeItem(atPath: root)
    let dead = try DeadSpool(in: root)
    var fuzzer = try SpoolFuzzer(dead)
    var readCount = 0
    try await fuzzing.run(Self.caseCount) { random in
      fuzzer.make(&random)
    } problem: { bytes, _ in
      try fuzzer.put(bytes)
      let outcome = try fuzzer.look(bytes)
      guard outcome.problems.isEmpty else {
        return "\(fuzzer.changes), in \(root): \(outcome.problems)"
      }
      if outcome.isRead { readCount += 1 }
      fuzzer.cleanUp()
      return nil
    }
    // Otherwise most cases would test the same path.
    let count = Fuzzing.count(Self.caseCount)
    #expect((count / 20...count / 20 * 19).contains(readCount), "\(readCount) files were read")
    try FileManager.default.removeItem(atPath: root)
  }
}

/// Makes cases from the files that a recorder wrote.
private struct SpoolFuzzer {
  struct Outcome {
    var isRead = false
    var problems: [String] = []
  }

  private static let regionByteCount = UsageRegion.byteCount(slotCount: UsageLayout.slotsPerShardMin)
  /// The offsets of the source ID and the inode in the header, and placeholders for them in a case, because both differ
  /// between runs.
  private static let marks = [
    (place: 24, bytes: Array("the source's own".utf8)), (place: 48, bytes: Array("its file".utf8)),
  ]
  private static let headFields = [0, 6, 8, 16, 24, 40, 48]
  private static let regionFields = [0, 4]
  private static let slotFields = [0, 8, 24, 40, 44, 48, 52, 56, 60]
  private static let interesting: [UInt64] = [
    0, 1, 63, 64, 65, 128, 0x7FFF, 0x8000, 0xFFFF, 0x1_0000, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFE, 0xFFFF_FFFF,
    0x1_0000_0000, 0x7FFF_FFFF_FFFF_FFFF, 0x8000_0000_0000_0000, 0xFFFF_FFFF_FFFF_FFFE, 0xFFFF_FFFF_FFFF_FFFF,
  ]

  private let dead: DeadSpool
  private let spool: UsageSpool
  private let path: String
  /// The contents of the files that the recorder wrote.
  private let originals: [[UInt8]]
  /// The offsets of the taken slots in the second file.
  private let slots: [Int]
  private var bytes: [UInt8] = []
  private(set) var changes: [String] = []

  init(_ dead: DeadSpool) throws {
    self.dead = dead
    spool = try UsageSpool(root: dead.root)
    path = dead.path(2)
    originals = try DeadSpool.fileNumbers.map { [UInt8](try Data(contentsOf: URL(filePath: dead.path($0)))) }
    let bytes = originals[1]
    slots = (0..<UsageLayout.shardCount).flatMap { shard in
      (0..<UsageLayout.slotsPerShardMin).map { slot in
        UsageLayout.headByteCount + shard * Self.regionByteCount + 64 + slot * 64
      }
    }.filter { bytes[$0] != 0 }
    #expect(bytes.count == UsageLayout.headByteCount + UsageLayout.shardCount * Self.regionByteCount)
    #expect(slots.count == DeadSpool.counterCount)
  }

  // MARK: Cases

  /// Makes a case from the second file.
  mutating func make(_ random: inout SeededGenerator) -> [UInt8] {
    bytes = originals[1]
    for mark in Self.marks { bytes.replaceSubrange(mark.place..<mark.place + mark.bytes.count, with: mark.bytes) }
    changes = []
    for _ in 0..<Int.random(in: 1...4, using: &random) { change(&random) }
    return bytes
  }

  /// Puts a case in place of the second file.
  func put(_ bytes: [UInt8]) throws {
    let file = try Self.make(path)
    defer { close(file) }
    var status = stat()
    #expect(fstat(file, &status) == 0)
    var bytes = bytes
    // Fill in the placeholders, unless the case changed them: otherwise the file would be taken for a copy and not be
    // read.
    let own = [
      withUnsafeBytes(of: dead.sourceID.uuid) { Array($0) },
      withUnsafeBytes(of: UInt64(status.st_ino).littleEndian) { Array($0) },
    ]
    for (mark, own) in zip(Self.marks, own) where bytes.dropFirst(mark.place).starts(with: mark.bytes) {
      bytes.replaceSubrange(mark.place..<mark.place + mark.bytes.count, with: own)
    }
    let notes = try Self.make(dead.root + "/changes.txt")
    defer { close(notes) }
    let text = changes.joined(separator: "\n")
    guard write(notes, text, text.utf8.count) == text.utf8.count, write(file, bytes, bytes.count) == bytes.count else {
      throw CocoaError(.fileWriteUnknown)
    }
  }

  /// Creates a file without Foundation, which waits for the disk.
  private static func make(_ path: String) throws -> Int32 {
    unlink(path)
    let file = open(path, O_RDWR | O_CREAT | O_EXCL, 0o600)
    guard file >= 0 else { throw CocoaError(.fileWriteUnknown) }
    return file
  }

  private mutating func change(_ random: inout SeededGenerator) {
    switch Int.random(in: 0..<20, using: &random) {
    case 0..<5: flip(&random)
    case 5..<12: setField(&random)
    case 12: cut(&random)
    case 13: extend(&random)
    case 14, 15: splice(&random)
    case 16: fill(&random)
    default: forge(&random)
    }
  }

  private mutating func flip(_ random: inout SeededGenerator) {
    let place = place(&random)
    guard bytes.indices.contains(place) else { return }
    let bit = Int.random(in: 0..<8, using: &random)
    bytes[place] ^= 1 << bit
    changes.append("flipped bit \(bit) at \(place)")
  }

  private mutating func setField(_ random: inout SeededGenerator) {
    let width = [1, 2, 4, 8, 8].randomElement(using: &random) ?? 8
    let value =
      Bool.random(using: &random)
      ? Self.interesting.randomElement(using: &random) ?? 0 : UInt64.random(in: 0...(.max), using: &random)
    set(field(&random), value, width)
  }

  private mutating func cut(_ random: inout SeededGenerator) {
    let count = [
      0, 8, 64, 4_095, 4_096, 4_097, bytes.count / 2, bytes.count - 1, Int.random(in: 0...bytes.count, using: &random),
    ].randomElement(using: &random)
    bytes = Array(bytes.prefix(max(0, count ?? 0)))
    changes.append("cut to \(bytes.count)")
  }

  private mutating func extend(_ random: inout SeededGenerator) {
    let count = [1, 8, 64, 4_096, 103_424].randomElement(using: &random) ?? 1
    bytes += Array(repeating: Bool.random(using: &random) ? 0 : 0xA5, count: count)
    changes.append("extended to \(bytes.count)")
  }

  /// Copies a part of one of the files to some offset.
  private mutating func splice(_ random: inout SeededGenerator) {
    guard let from = originals.randomElement(using: &random), !bytes.isEmpty else { return }
    let length = min([8, 16, 48, 64, 4_096, 6_208, 50_000].randomElement(using: &random) ?? 64, bytes.count)
    let source = min(max(0, place(&random)), from.count - length)
    let last = bytes.count - length
    let target = Bool.random(using: &random) ? min(source, last) : Int.random(in: 0...last, using: &random)
    bytes.replaceSubrange(target..<target + length, with: from[source..<source + length])
    changes.append("put \(length) bytes from \(source) to \(target)")
  }

  private mutating func fill(_ random: inout SeededGenerator) {
    guard !bytes.isEmpty else { return }
    let byte: UInt8 = Bool.random(using: &random) ? 0 : 0xFF
    let start = min(max(0, place(&random)), bytes.count - 1)
    let length = min([1, 8, 64, 4_096, 103_424].randomElement(using: &random) ?? 1, bytes.count - start)
    bytes.replaceSubrange(start..<start + length, with: Array(repeating: byte, count: length))
    changes.append("filled \(length) bytes at \(start) with \(byte)")
  }

  /// Inserts an intact counter with an unchecked name and hour.
  private mutating func forge(_ random: inout SeededGenerator) {
    let shard = Int.random(in: 0..<UsageLayout.shardCount, using: &random)
    let start = UsageLayout.headByteCount + shard * Self.regionByteCount
    guard start + Self.regionByteCount <= bytes.count else { return }
    let name = (0..<Int.random(in: 0...300, using: &random)).map { _ in UInt8.random(in: 0...255, using: &random) }
    let isText = Bool.random(using: &random)
    let endpoint = isText ? Array(String(decoding: name, as: UTF8.self).utf8) : name
    let hour = Bool.random(using: &random) ? 480_012 : Int(UInt32.random(in: 0...(.max), using: &random))
    bytes.withUnsafeMutableBytes { buffer in
      guard let base = buffer.baseAddress else { return }
      let region = UsageRegion(
        at: base + start, slotCount: UsageLayout.slotsPerShardMin,
        seed: base.loadUnaligned(fromByteOffset: 16, as: UInt64.self))
      endpoint.withUnsafeBufferPointer { endpoint in
        let name = UsageRegion.Name(
          accountID: .numbered(1), keyID: .numbered(2), hour: hour, endpoint: endpoint)
        _ = region.insert(name, isValid: true, at: 0)
      }
    }
    changes.append("forged a counter in shard \(shard), hour \(hour), named \(endpoint)")
  }

  // MARK: Offsets

  /// A random offset, mostly in the header or a taken slot.
  private func place(_ random: inout SeededGenerator) -> Int {
    switch Int.random(in: 0..<10, using: &random) {
    case 0..<3: Int.random(in: 0..<64, using: &random)
    case 3..<8: (slots.randomElement(using: &random) ?? 0) + Int.random(in: 0..<64, using: &random)
    default: Int.random(in: 0..<originals[1].count, using: &random)
    }
  }

  private func field(_ random: inout SeededGenerator) -> Int {
    switch Int.random(in: 0..<10, using: &random) {
    case 0..<3: Self.headFields.randomElement(using: &random) ?? 0
    case 3..<5:
      UsageLayout.headByteCount + Int.random(in: 0..<UsageLayout.shardCount, using: &random) * Self.regionByteCount
        + (Self.regionFields.randomElement(using: &random) ?? 0)
    default: (slots.randomElement(using: &random) ?? 0) + (Self.slotFields.randomElement(using: &random) ?? 0)
    }
  }

  private mutating func set(_ offset: Int, _ value: UInt64, _ width: Int) {
    guard offset + width <= bytes.count else { return }
    for place in 0..<width { bytes[offset + place] = UInt8(truncatingIfNeeded: value >> (8 * place)) }
    changes.append("set \(width) bytes at \(offset) to \(value)")
  }

  // MARK: Outcomes

  func look(_ bytes: [UInt8]) throws -> Outcome {
    var orphans = spool.adopt()
    // A child process that another test starts holds all locks of this process until it calls exec (flock(2), fork(2)).
    for _ in 0..<500 where orphans.isEmpty {
      usleep(10_000)
      orphans = spool.adopt()
    }
    let orphan = try #require(orphans.first)
    var outcome = Outcome()
    for number in [1, 3] {
      let file = orphan.files.first { $0.layout.number == number }
      if try file?.read() != dead.contents[number] { outcome.problems.append("file \(number) was not read in full") }
    }
    if let file = orphan.files.first(where: { $0.path == path }) {
      outcome.isRead = true
      outcome.problems += Self.problems(of: try file.read())
      return outcome
    }
    let isThere = access(path, F_OK) == 0
    switch (orphan.setAside.count, orphan.left.count) {
    case (1, 0):
      if isThere || access(path + ".aside", F_OK) != 0 { outcome.problems.append("it was not set aside") }
    case (0, 1):
      if !isThere { outcome.problems.append("it was not left") }
    case (0, 0):
      let isEmpty = bytes.prefix(8).allSatisfy { $0 == 0 } && bytes.dropFirst(4_096).allSatisfy { $0 == 0 }
      if isThere || !isEmpty { outcome.problems.append("it was not removed, or not empty") }
    default: outcome.problems.append("\(orphan.setAside), \(orphan.left)")
    }
    return outcome
  }

  /// Counters that were read must be acceptable to the database, which must be able to add them up.
  private static func problems(of contents: UsageExtent.Contents) -> [String] {
    var problems: [String] = []
    let slotCount = UsageLayout.shardCount * UsageLayout.slotsPerShardMin
    if contents.counters.count + contents.damagedCount > slotCount { problems.append("more counters than slots") }
    for counter in contents.counters {
      let (hour, count) = (counter.hour, counter.endpoint.unicodeScalars.count)
      let start = hour * UsageCounter.millisecondsPerHour
      let isGood =
        (0...UsageCounter.hourMax).contains(hour) && (1...200).contains(count) && !counter.endpoint.utf8.contains(0)
        && (0...UsageCounter.countMax).contains(counter.verified)
        && (0...UsageCounter.countMax).contains(counter.denied)
        && (start..<start + UsageCounter.millisecondsPerHour).contains(counter.lastUsedAt)
      if !isGood { problems.append("\(counter)") }
    }
    return problems
  }

  func cleanUp() {
    unlink(path)
    unlink(path + ".aside")
  }
}
