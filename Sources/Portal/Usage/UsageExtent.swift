import Foundation

/// Memory for counters, with one ``UsageRegion`` per shard: mapped from a file, so that counts survive the process, or
/// anonymous where no file can be created (``SpoolMemory``).
final class UsageExtent: Sendable {
  /// The counters of an extent.
  struct Contents: Sendable, Equatable {
    /// The order is the same for every reader.
    var counters: [UsageCounter] = []
    /// The number of damaged counters, which are left out.
    var damagedCount = 0
  }

  /// A shard's region is written only under that shard's lock, and read once no shard uses it any more.
  private let memory: SpoolMemory
  let layout: UsageLayout

  private init(_ memory: SpoolMemory, _ layout: UsageLayout) {
    self.memory = memory
    self.layout = layout
  }

  // MARK: Creation

  /// An extent in anonymous memory: its counts are lost with the process.
  static func anonymous(_ layout: UsageLayout) -> UsageExtent {
    UsageExtent(.anonymous(byteCount: layout.byteCount), layout)
  }

  /// An extent in a new file at `path`.
  static func make(at path: String, _ layout: UsageLayout) throws(SpoolFailure) -> UsageExtent {
    UsageExtent(
      try .make(at: path, byteCount: layout.byteCount) { page, inode in layout.write(to: page, inode: inode) }, layout)
  }

  // MARK: Use

  var sourceID: UUID { layout.sourceID }
  var number: Int { layout.number }
  var slotsPerShard: Int { layout.slotsPerShard }
  var byteCount: Int { layout.byteCount }

  func region(_ shard: Int) -> UsageRegion {
    UsageRegion(at: memory.base + layout.regionOffset(shard), slotCount: layout.slotsPerShard, seed: layout.seed)
  }

  /// Reads all counters. Nothing may be counted meanwhile.
  func read() -> Contents {
    var contents = Contents()
    contents.counters.reserveCapacity(takenCount)
    for shard in 0..<UsageLayout.shardCount { contents.read(region(shard)) }
    return contents
  }

  /// The number of counters; an estimate while counting goes on.
  var takenCount: Int { (0..<UsageLayout.shardCount).reduce(0) { $0 + region($1).takenCount } }

  /// 0 if the memory is anonymous.
  var fileByteCount: Int { memory.path == nil ? 0 : byteCount }

  /// Writes the file to the disk, so that a power failure loses nothing. Blocks.
  func synchronize() throws(SpoolFailure) { try memory.synchronize() }

  func removeFile() { memory.removeFile() }
}

extension UsageExtent.Contents {
  /// Adds the counters of a region.
  mutating func read(_ region: UsageRegion) {
    damagedCount += region.read { counters.append($0) }
  }
}
