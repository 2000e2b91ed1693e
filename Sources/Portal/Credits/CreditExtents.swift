import Foundation
import Synchronization

/// The extents of a holder, in files of its own, or in anonymous memory while no file can be had. Each is twice as
/// large as the one before. A shard gets its slots of one extent after the other, as it needs them.
final class CreditExtents: Sendable {
  private struct State: Sendable {
    var holder: UUID
    var spool: CreditSpool?
    /// Why there is no file.
    var failure: String?
    var all: [CreditExtent] = []
    /// How many of them, from the first on, are not used any more where they are in anonymous memory.
    var movedCount = 0

    init(_ holder: UUID) { self.holder = holder }

    func isUsed(_ place: Int) -> Bool { place >= movedCount || !all[place].isAnonymous }

    var usesMemory: Bool { all.indices.contains { all[$0].isAnonymous && isUsed($0) } }

    var slotsPerShard: Int {
      all.last.map { min(2 * $0.slotsPerShard, SpoolHead.slotsPerShardMax) } ?? SpoolHead.slotsPerShardMin
    }
  }

  /// The folder for files; nil: there are none.
  private let folder: String?
  private let state: Mutex<State>

  init(_ folder: String?, of holder: UUID) {
    self.folder = folder
    state = Mutex(State(holder))
  }

  /// Creates the folder of the holder, unless it is another by now. Blocks.
  func open(for holder: UUID) {
    state.withLock { state in if state.holder == holder { openSpool(&state) } }
  }

  private func openSpool(_ state: inout State) {
    guard let folder, state.spool == nil else { return }
    do {
      state.spool = try CreditSpool(spool: folder, holder: state.holder)
      if !state.usesMemory { state.failure = nil }
    } catch {
      state.failure = "\(error)"
    }
  }

  /// An extent for a shard that has had the first `count`, and how many it has had then. May create a file on the
  /// calling thread. This is rare.
  func next(after count: Int, for holder: UUID) -> (extent: CreditExtent, count: Int) {
    state.withLock { state in
      // The shard is about to lose all that it has.
      guard state.holder == holder else { return (.anonymous(slotsPerShard: SpoolHead.slotsPerShardMin), count) }
      if let place = state.all.indices.dropFirst(count).first(where: { state.isUsed($0) }) {
        return (state.all[place], place + 1)
      }
      let extent = makeFile(&state) ?? .anonymous(slotsPerShard: state.slotsPerShard)
      state.all.append(extent)
      return (extent, state.all.count)
    }
  }

  private func makeFile(_ state: inout State) -> CreditExtent? {
    openSpool(&state)
    guard let spool = state.spool else { return nil }
    do throws(SpoolFailure) {
      let last = state.all.lazy.map(\.number).max() ?? 0
      return try spool.makeExtent(last + 1, slotsPerShard: state.slotsPerShard)
    } catch {
      state.failure = error.description
      return nil
    }
  }

  // MARK: From memory to files

  /// Whether everything in anonymous memory can be moved to a file that was just made: what is used from now on is in
  /// files. Blocks.
  func beginMove() -> Bool {
    state.withLock { state in
      guard folder != nil, state.usesMemory, let file = makeFile(&state) else { return false }
      state.all.append(file)
      state.movedCount = state.all.count
      return true
    }
  }

  /// Everything was moved.
  func endMove() {
    state.withLock { state in if !state.usesMemory { state.failure = nil } }
  }

  // MARK: The end

  /// Removes all files, once PostgreSQL has what they say, and begins anew. Blocks.
  func remove(nextHolder: UUID? = nil) {
    state.withLock { state in
      // The last goes first, as in ``CreditSpool/Orphan/remove()``.
      for extent in state.all.reversed() { extent.removeFile() }
      state.spool?.close()
      state = State(nextHolder ?? state.holder)
    }
  }

  /// The size of the files, and why what is spent would be lost with the process; nil if it would not be, or if there
  /// is no folder by configuration.
  var holdings: (fileByteCount: Int, failure: String?) {
    state.withLock { ($0.all.reduce(0) { $0 + $1.fileByteCount }, $0.failure) }
  }
}
