import Foundation
import Synchronization

/// The layout and the owner of an extent, as its first page states them once they have been checked. An extent is read
/// only by these numbers.
///
/// A file may have been left by a process that was killed at any instruction, torn by a power failure, or changed by
/// another process that shares the folder.
struct UsageLayout: Equatable, Sendable {
  /// The result of checking the first page of a file.
  enum Judgement: Equatable, Sendable {
    case good(UsageLayout)
    /// The header was never completed, so nothing has been counted in the file.
    case unfinished
    /// The file was written by another version of this program, which can read it.
    case otherVersion
    /// The file is unusable, for the reason given.
    case damaged(String)
  }

  static let shardCount = 16
  static let slotsPerShardMin = 64
  /// A million slots: 100 MB.
  static let slotsPerShardMax = 1 << 16
  /// One extent per second for 35,000 years. Low enough that a number can be shifted and incremented without overflow.
  static let numberMax = 1 << 40
  /// A page.
  static let headByteCount = 4_096
  static let byteCountMax = byteCount(slotsPerShard: slotsPerShardMax)

  /// Offsets in the first page, in bytes.
  private enum Head {
    static let magic = 0
    static let slotsPerShard = 8
    static let seed = 16
    static let sourceID = 24
    static let number = 40
    static let inode = 48
  }

  /// `LUSACE02`: the last two characters are the version.
  private static let magic: UInt64 = 0x3230_4543_4153_554C
  /// `LUSACE01`: the same layout, but written to the database in larger statements.
  private static let magicOfFirstVersion: UInt64 = 0x3130_4543_4153_554C
  private static let countersPerStatementOfFirstVersion = 10_000
  private static let countersPerStatement = 1_000
  private static let nameMask: UInt64 = 0x0000_FFFF_FFFF_FFFF

  let slotsPerShard: Int
  let seed: UInt64
  let sourceID: UUID
  /// The extents of a source are written to the database in the order of their numbers.
  let number: Int
  /// The number of counters that a statement writes to the database. Statements are numbered, and those of one extent
  /// must be the same whichever process writes it.
  let countersPerStatement: Int

  /// The layout of a new extent. `slotsPerShard` is a power of two within the bounds.
  init(sourceID: UUID, number: Int, slotsPerShard: Int, seed: UInt64 = .random(in: 1...(.max))) {
    self.init(
      sourceID: sourceID, number: number, slotsPerShard: slotsPerShard, seed: seed,
      countersPerStatement: Self.countersPerStatement)
  }

  private init(sourceID: UUID, number: Int, slotsPerShard: Int, seed: UInt64, countersPerStatement: Int) {
    self.slotsPerShard = slotsPerShard
    self.seed = seed
    self.sourceID = sourceID
    self.number = number
    self.countersPerStatement = countersPerStatement
  }

  // Neither overflows, because `slotsPerShard` is always a power of two within the bounds.
  var byteCount: Int { Self.byteCount(slotsPerShard: slotsPerShard) }
  var regionByteCount: Int { UsageRegion.byteCount(slotCount: slotsPerShard) }

  func regionOffset(_ shard: Int) -> Int { Self.headByteCount + shard * regionByteCount }

  static func byteCount(slotsPerShard: Int) -> Int {
    headByteCount + shardCount * UsageRegion.byteCount(slotCount: slotsPerShard)
  }

  // MARK: The first page

  /// Writes the first page, the magic last: a file without it does not count.
  func write(to page: UnsafeMutableRawPointer, inode: UInt64) {
    page.storeBytes(of: UInt64(slotsPerShard), toByteOffset: Head.slotsPerShard, as: UInt64.self)
    page.storeBytes(of: seed, toByteOffset: Head.seed, as: UInt64.self)
    page.storeBytes(of: sourceID.uuid, toByteOffset: Head.sourceID, as: uuid_t.self)
    page.storeBytes(of: UInt64(number), toByteOffset: Head.number, as: UInt64.self)
    page.storeBytes(of: inode, toByteOffset: Head.inode, as: UInt64.self)
    (page + Head.magic).assumingMemoryBound(to: Atomic<UInt64>.self).pointee.store(Self.magic, ordering: .releasing)
  }

  /// Checks a file by its first page, or as much of it as there is. `byteCount` and `inode` are those of the file; its
  /// name (`number`) and the folder's (`sourceID`) must match the page.
  static func judge(
    _ page: UnsafeRawBufferPointer, byteCount: Int, inode: UInt64, sourceID: UUID, number: Int
  ) -> Judgement {
    guard byteCount <= byteCountMax else { return .damaged("is larger than any counter file") }
    guard page.count >= headByteCount else {
      return page.contains { $0 != 0 } ? .damaged("ends within its header") : .unfinished
    }
    let foundMagic = page.loadUnaligned(fromByteOffset: Head.magic, as: UInt64.self)
    if foundMagic == 0 { return .unfinished }
    guard foundMagic == magic || foundMagic == magicOfFirstVersion else {
      return foundMagic & nameMask == magic & nameMask ? .otherVersion : .damaged("is not a counter file")
    }
    guard
      let slotsPerShard = Int(
        exactly: page.loadUnaligned(fromByteOffset: Head.slotsPerShard, as: UInt64.self)),
      (slotsPerShardMin...slotsPerShardMax).contains(slotsPerShard), slotsPerShard.nonzeroBitCount == 1,
      byteCount == Self.byteCount(slotsPerShard: slotsPerShard)
    else { return .damaged("does not have the size that its header states") }
    guard (1...numberMax).contains(number), page.loadUnaligned(fromByteOffset: Head.number, as: UInt64.self) == number
    else { return .damaged("does not have the number in its name") }
    guard UUID(uuid: page.loadUnaligned(fromByteOffset: Head.sourceID, as: uuid_t.self)) == sourceID else {
      return .damaged("belongs to another process than its folder")
    }
    guard page.loadUnaligned(fromByteOffset: Head.inode, as: UInt64.self) == inode else {
      return .damaged("is a copy")
    }
    return .good(
      UsageLayout(
        sourceID: sourceID, number: number, slotsPerShard: slotsPerShard,
        seed: page.loadUnaligned(fromByteOffset: Head.seed, as: UInt64.self),
        countersPerStatement: foundMagic == magic ? countersPerStatement : countersPerStatementOfFirstVersion))
  }
}
