import Foundation

/// The layout and the owner of an extent, as its first page states them once they have been checked
/// (``SpoolHead``). An extent is read only by these numbers.
struct UsageLayout: Equatable, Sendable {
  static let shardCount = SpoolHead.shardCount
  static let slotsPerShardMin = SpoolHead.slotsPerShardMin
  /// A million slots: 100 MB.
  static let slotsPerShardMax = SpoolHead.slotsPerShardMax
  static let numberMax = SpoolHead.numberMax
  static let headByteCount = SpoolHead.byteCount
  static let byteCountMax = byteCount(slotsPerShard: slotsPerShardMax)

  /// `LUSACE02`: the last two characters are the version.
  private static let magic: UInt64 = 0x3230_4543_4153_554C
  /// `LUSACE01`: the same layout, but written to the database in larger statements.
  private static let magicOfFirstVersion: UInt64 = 0x3130_4543_4153_554C
  private static let countersPerStatementOfFirstVersion = 10_000
  private static let countersPerStatement = 1_000

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

  static let kind = SpoolHead.Kind(name: "counter file", magics: [magic, magicOfFirstVersion]) {
    byteCount(slotsPerShard: $0)
  }

  /// The layout that a page states.
  init(_ head: SpoolHead, magic: UInt64) {
    self.init(
      sourceID: head.sourceID, number: head.number, slotsPerShard: head.slotsPerShard, seed: head.seed,
      countersPerStatement: magic == Self.magic ? Self.countersPerStatement : Self.countersPerStatementOfFirstVersion)
  }

  /// Writes the first page.
  func write(to page: UnsafeMutableRawPointer, inode: UInt64) {
    SpoolHead(slotsPerShard: slotsPerShard, seed: seed, sourceID: sourceID, number: number)
      .write(to: page, magic: Self.magic, inode: inode)
  }
}
