package import Foundation
import JSON
import Synchronization

/// The counters of this instance since they were last taken to be written. They are in files that are mapped into
/// memory, so that a process that is killed loses none, or in memory alone without a spool.
///
/// Counting is a look-up and two stores under a short lock. A shard that is full continues in a larger extent; the same
/// counter may then be in several extents, and the database adds them up.
package final class UsageRecorder: Sendable {
  /// Endpoint names per account, day and instance; requests with further names are counted under `other`. The database
  /// applies the same bound to all instances together.
  static let endpointsPerAccountMax = 500
  package static let overflowEndpoint = "other"
  /// The total size of extents that have not been taken yet. Verdicts beyond that are lost and reported as
  /// ``Holdings/lostCount``.
  private static let byteCountMax = 256 << 20
  /// If less than this fraction of an extent is used, the next one is made smaller.
  private static let shrinkDivisor = 8

  private final class Shard: Sendable {
    let number: Int
    /// The extent with the region that the shard counts in.
    let extent: Mutex<UsageExtent>

    init(_ number: Int, _ extent: UsageExtent) {
      self.number = number
      self.extent = Mutex(extent)
    }
  }

  private struct Extents {
    var spool: UsageSpool?
    /// Why there is no spool, or no file.
    var failure: String?
    var nextNumber = 1
    /// The extents that are counted in. Shards that are full in the others use the last one.
    var current: [UsageExtent] = []
    var lostCount = 0
  }

  private let spoolFolder: String?
  /// Identifies this instance as the source of its counters.
  let sourceID: UUID
  private let shards: [Shard]
  private let extents: Mutex<Extents>
  private let endpoints = EndpointBudget()

  /// Without a folder, or if it cannot be used, the counters are in memory alone. Blocks.
  package init(spoolFolder: String? = nil, sourceID: UUID = .version7()) {
    self.spoolFolder = spoolFolder
    self.sourceID = sourceID
    var extents = Extents()
    Self.openSpool(spoolFolder, sourceID, &extents)
    let first = Self.makeExtent(&extents, UsageLayout.slotsPerShardMin, sourceID)
    extents.current = [first]
    self.extents = Mutex(extents)
    shards = (0..<UsageLayout.shardCount).map { Shard($0, first) }
  }

  // MARK: Counting

  func verified(_ keyID: UUID, of accountID: UUID, _ endpoint: String, isValid: Bool, at now: Date) {
    count(accountID, keyID, endpoint, isValid, at: max(0, now.milliseconds))
  }

  private func count(_ accountID: UUID, _ keyID: UUID, _ endpoint: String, _ isValid: Bool, at now: Int) {
    let hour = UsageCounter.hour(ofMilliseconds: now)
    let shard = shards[Int(keyID.uuid.15) % UsageLayout.shardCount]
    var text = endpoint
    text.withUTF8 { bytes in
      EndpointName.withNormalized(bytes) { bytes in
        let name = UsageRegion.Name(accountID: accountID, keyID: keyID, hour: hour, endpoint: bytes)
        if shard.extent.withLock({ $0.region(shard.number).add(name, isValid: isValid, at: now) }) { return }
        let isOther = endpoint.hasSameBytes(as: Self.overflowEndpoint)
        if isOther || endpoints.hasRoom(for: bytes, of: accountID, inHour: hour) {
          shard.extent.withLock { insert(name, isValid, at: now, shard.number, &$0) }
        } else {
          count(accountID, keyID, Self.overflowEndpoint, isValid, at: now)
        }
      }
    }
  }

  private func insert(
    _ name: UsageRegion.Name, _ isValid: Bool, at now: Int, _ shard: Int, _ extent: inout UsageExtent
  ) {
    // Another thread may have inserted the counter since the look-up.
    if extent.region(shard).add(name, isValid: isValid, at: now) { return }
    while !extent.region(shard).insert(name, isValid: isValid, at: now) {
      guard let next = self.extent(after: extent) else {
        extents.withLock { $0.lostCount += 1 }
        return
      }
      extent = next
    }
  }

  /// The extent in which a full shard continues: one that another shard has already moved to, or a new one of twice the
  /// size. Creating it may create a file on the counting thread. This is rare, and counts that waited for another
  /// thread to create the file would be lost if the process were killed.
  private func extent(after full: UsageExtent) -> UsageExtent? {
    extents.withLock { extents in
      if let last = extents.current.last, last !== full { return last }
      let slotsPerShard = min(full.slotsPerShard * 2, UsageLayout.slotsPerShardMax)
      let byteCount = extents.current.reduce(UsageLayout.byteCount(slotsPerShard: slotsPerShard)) {
        $0 + $1.byteCount
      }
      guard byteCount <= Self.byteCountMax else { return nil }
      let next = Self.makeExtent(&extents, slotsPerShard, sourceID)
      extents.current.append(next)
      return next
    }
  }

  // MARK: Sealing

  /// Takes the extents with everything counted so far, in the order in which they are to be written; empty if nothing
  /// was counted. Blocks.
  func seal() -> [UsageExtent] {
    guard hasCounted else { return [] }
    let taken = extents.withLock { extents in
      defer {
        Self.openSpool(spoolFolder, sourceID, &extents)
        extents.current = [Self.makeExtent(&extents, Self.slotsPerShard(after: extents.current), sourceID)]
      }
      return extents.current
    }
    for shard in shards {
      shard.extent.withLock { extent in
        // The shard may have moved to the new extent already.
        guard taken.contains(where: { $0 === extent }) else { return }
        if let current = extents.withLock({ $0.current.last }) { extent = current }
      }
    }
    return taken
  }

  /// The number of counters that have not been taken yet; an estimate while counting goes on.
  var counterCount: Int { extents.withLock { $0.current.reduce(0) { $0 + $1.takenCount } } }

  private var hasCounted: Bool {
    extents.withLock { $0.current.count > 1 }
      || shards.contains { shard in shard.extent.withLock { $0.region(shard.number).takenCount > 0 } }
  }

  private static func slotsPerShard(after taken: [UsageExtent]) -> Int {
    guard let last = taken.last else { return UsageLayout.slotsPerShardMin }
    // Only an estimate, because counting may still go on.
    let isRoomy = last.takenCount < last.slotsPerShard * UsageLayout.shardCount / shrinkDivisor
    return isRoomy && taken.count == 1 ? max(last.slotsPerShard / 2, UsageLayout.slotsPerShardMin) : last.slotsPerShard
  }

  private static func openSpool(_ folder: String?, _ sourceID: UUID, _ extents: inout Extents) {
    guard let folder, extents.spool == nil else { return }
    do {
      extents.spool = try UsageSpool(root: folder, sourceID: sourceID)
    } catch {
      extents.failure = "\(error)"
    }
  }

  private static func makeExtent(_ extents: inout Extents, _ slotsPerShard: Int, _ sourceID: UUID)
    -> UsageExtent
  {
    let layout = UsageLayout(sourceID: sourceID, number: extents.nextNumber, slotsPerShard: slotsPerShard)
    extents.nextNumber += 1
    if let spool = extents.spool {
      do throws(SpoolFailure) {
        let extent = try spool.makeExtent(layout)
        extents.failure = nil
        return extent
      } catch {
        extents.failure = error.description
      }
    }
    return .anonymous(layout)
  }

  // MARK: Spool

  var spool: UsageSpool? { extents.withLock { $0.spool } }

  /// Whether the counters are in files, as far as is known.
  var isDurable: Bool { extents.withLock { $0.spool != nil && $0.failure == nil } }

  /// The counters that have not been taken yet.
  package struct Holdings: Sendable {
    package var fileByteCount: Int
    /// Why current counts would be lost with the process; nil if they would not be, or if there is no spool by
    /// configuration.
    package var failure: String?
    /// Verdicts that were lost because there was no room.
    package var lostCount: Int
  }

  package var holdings: Holdings {
    extents.withLock { extents in
      Holdings(
        fileByteCount: extents.current.reduce(0) { $0 + $1.fileByteCount }, failure: extents.failure,
        lostCount: extents.lostCount)
    }
  }

  /// Writes the extents that have not been taken yet to the disk, so that a power failure does not lose them. Blocks.
  func synchronize() throws(SpoolFailure) {
    for extent in extents.withLock({ $0.current }) { try extent.synchronize() }
  }

  /// Removes the files that hold nothing, and the folder if no files are left. Call it once counting has ended. Blocks.
  func close() {
    let (current, spool) = extents.withLock { ($0.current, $0.spool) }
    for extent in current where extent.takenCount == 0 { extent.removeFile() }
    spool?.close()
  }
}
