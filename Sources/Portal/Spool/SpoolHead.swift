import Foundation
import Synchronization

/// The first page of every file of a spool: the size and the owner of the file. The magic differs by what is in it.
///
/// A file may have been left by a process that was killed at any instruction, torn by a power failure, or changed by
/// another process that shares the folder. It is read only by these numbers, once they have been checked.
struct SpoolHead: Equatable, Sendable {
  /// One kind of file.
  struct Kind: Sendable {
    /// For messages, such as "counter file".
    let name: String
    /// The magic of this version, and that of earlier ones that this version reads. The last two bytes of a magic are
    /// the version.
    let magics: [UInt64]
    /// The size of a file, in bytes, by the number of its slots per shard.
    let byteCount: @Sendable (_ slotsPerShard: Int) -> Int

    var byteCountMax: Int { byteCount(slotsPerShardMax) }
  }

  /// The result of checking the first page of a file.
  enum Judgement: Equatable, Sendable {
    case good(SpoolHead, magic: UInt64)
    /// The header was never completed, so nothing was stored in the file.
    case unfinished
    /// The file was written by another version of this program, which can read it.
    case otherVersion
    /// The file is unusable, for the reason given.
    case damaged(String)
  }

  static let shardCount = 16
  static let slotsPerShardMin = 64
  static let slotsPerShardMax = 1 << 16
  /// One file per second for 35,000 years. Low enough that a number can be shifted and incremented without overflow.
  static let numberMax = 1 << 40
  /// A page.
  static let byteCount = 4_096

  /// Offsets in the page, in bytes.
  private enum Place {
    static let magic = 0
    static let slotsPerShard = 8
    static let seed = 16
    static let sourceID = 24
    static let number = 40
    static let inode = 48
  }

  private static let nameMask: UInt64 = 0x0000_FFFF_FFFF_FFFF

  /// A power of two within the bounds.
  let slotsPerShard: Int
  let seed: UInt64
  let sourceID: UUID
  let number: Int

  /// Writes the page, the magic last: a file without it does not count.
  func write(to page: UnsafeMutableRawPointer, magic: UInt64, inode: UInt64) {
    page.storeBytes(of: UInt64(slotsPerShard), toByteOffset: Place.slotsPerShard, as: UInt64.self)
    page.storeBytes(of: seed, toByteOffset: Place.seed, as: UInt64.self)
    page.storeBytes(of: sourceID.uuid, toByteOffset: Place.sourceID, as: uuid_t.self)
    page.storeBytes(of: UInt64(number), toByteOffset: Place.number, as: UInt64.self)
    page.storeBytes(of: inode, toByteOffset: Place.inode, as: UInt64.self)
    (page + Place.magic).assumingMemoryBound(to: Atomic<UInt64>.self).pointee.store(magic, ordering: .releasing)
  }

  /// Checks a file by its first page, or as much of it as there is. `byteCount` and `inode` are those of the file; its
  /// name (`number`) and the folder's (`sourceID`) must match the page.
  static func judge(
    _ page: UnsafeRawBufferPointer, _ kind: Kind, byteCount: Int, inode: UInt64, sourceID: UUID, number: Int
  ) -> Judgement {
    guard byteCount <= kind.byteCountMax else { return .damaged("is larger than any \(kind.name)") }
    guard page.count >= Self.byteCount else {
      return page.contains { $0 != 0 } ? .damaged("ends within its header") : .unfinished
    }
    let magic = page.loadUnaligned(fromByteOffset: Place.magic, as: UInt64.self)
    if magic == 0 { return .unfinished }
    guard kind.magics.contains(magic) else {
      return kind.magics.contains { $0 & nameMask == magic & nameMask }
        ? .otherVersion : .damaged("is not a \(kind.name)")
    }
    guard
      let slotsPerShard = Int(exactly: page.loadUnaligned(fromByteOffset: Place.slotsPerShard, as: UInt64.self)),
      (slotsPerShardMin...slotsPerShardMax).contains(slotsPerShard), slotsPerShard.nonzeroBitCount == 1,
      byteCount == kind.byteCount(slotsPerShard)
    else { return .damaged("does not have the size that its header states") }
    guard (1...numberMax).contains(number), page.loadUnaligned(fromByteOffset: Place.number, as: UInt64.self) == number
    else { return .damaged("does not have the number in its name") }
    guard UUID(uuid: page.loadUnaligned(fromByteOffset: Place.sourceID, as: uuid_t.self)) == sourceID else {
      return .damaged("belongs to another process than its folder")
    }
    guard page.loadUnaligned(fromByteOffset: Place.inode, as: UInt64.self) == inode else {
      return .damaged("is a copy")
    }
    return .good(
      SpoolHead(
        slotsPerShard: slotsPerShard, seed: page.loadUnaligned(fromByteOffset: Place.seed, as: UInt64.self),
        sourceID: sourceID, number: number),
      magic: magic)
  }
}
