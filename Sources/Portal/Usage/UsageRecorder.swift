package import Foundation
import Synchronization

/// The counters of this instance since they were last taken to be written: in files that are mapped into memory, so
/// that a process that is killed loses none, or in memory alone where there is no spool.
///
/// To count is a look-up and two stores under a short lock. A shard that has no room goes on in a larger extent; the
/// same counter may then stand in several, which add up in the database.
package final class UsageRecorder: Sendable {
  /// Endpoint names that an account may fill on this instance in a day; what comes beyond is counted under `other`. The
  /// database has the same bound for all instances.
  package static let endpointsPerAccountMax = 500
  package static let overflowEndpoint = "other"
  /// Of counters that are not taken yet. What finds no room then is lost, and said to be.
  private static let byteCountMax = 256 << 20
  /// What is taken less than this share is made smaller next time.
  private static let shrinkDivisor = 8

  private final class Shard: Sendable {
    let number: Int
    /// Where it counts: in its own region of the extent.
    let extent: Mutex<UsageExtent>

    init(_ number: Int, _ extent: UsageExtent) {
      self.number = number
      self.extent = Mutex(extent)
    }
  }

  private struct Extents {
    var spool: UsageSpool?
    /// Why there is none, or no file.
    var failure: String?
    var nextNumber = 1
    /// Those that are counted in, the last by whoever has no room in the others.
    var current: [UsageExtent] = []
    var lostCount = 0
  }

  private let spoolFolder: String?
  /// The instance, as the one that its counters come from.
  let sourceID: UUID
  private let shards: [Shard]
  private let extents: Mutex<Extents>
  private let endpoints = EndpointBudget()

  /// Without a folder, or with one that cannot be used, in memory alone. Blocks.
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
        let isOther = endpoint == Self.overflowEndpoint
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
    // Another may have made it since it was looked for.
    if extent.region(shard).add(name, isValid: isValid, at: now) { return }
    while !extent.region(shard).insert(name, isValid: isValid, at: now) {
      guard let next = self.extent(after: extent) else {
        extents.withLock { $0.lostCount += 1 }
        return
      }
      extent = next
    }
  }

  /// Where a shard goes on that has no room: where another has gone already, or in a new extent of twice the size. That
  /// makes a file, on the thread that counts: it is rare, and what waits for a file to be made by others is lost if the
  /// process is killed.
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

  // MARK: Taking

  /// Takes everything that was counted so far, in the order in which it is to be written; nothing if there is nothing.
  /// Blocks.
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
        // It may have gone on in the new one by itself.
        guard taken.contains(where: { $0 === extent }) else { return }
        if let current = extents.withLock({ $0.current.last }) { extent = current }
      }
    }
    return taken
  }

  private var hasCounted: Bool {
    extents.withLock { $0.current.count > 1 }
      || shards.contains { shard in shard.extent.withLock { $0.region(shard.number).takenCount > 0 } }
  }

  private static func slotsPerShard(after taken: [UsageExtent]) -> Int {
    guard let last = taken.last else { return UsageLayout.slotsPerShardMin }
    // Only an estimate: somebody may still be counting.
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
      do throws(UsageExtent.Failure) {
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

  /// What it holds that is not taken yet.
  package struct Holdings: Sendable {
    package var fileByteCount: Int
    /// Why what is counted now would be lost with the process; nil where it would not, or was not meant to be kept.
    package var failure: String?
    /// Verdicts that found no room.
    package var lostCount: Int
  }

  package var holdings: Holdings {
    extents.withLock { extents in
      Holdings(
        fileByteCount: extents.current.reduce(0) { $0 + $1.fileByteCount }, failure: extents.failure,
        lostCount: extents.lostCount)
    }
  }

  /// Writes what is not taken yet to the disk, for the case that the power goes. Blocks.
  func synchronize() throws(UsageExtent.Failure) {
    for extent in extents.withLock({ $0.current }) { try extent.synchronize() }
  }

  /// Removes the files that hold nothing, and the folder with the last of them. For when nobody counts any more.
  /// Blocks.
  func close() {
    let (current, spool) = extents.withLock { ($0.current, $0.spool) }
    for extent in current where extent.takenCount == 0 { extent.removeFile() }
    spool?.close()
  }
}
