import Foundation
import JSON
import Synchronization

/// When a service token was last used, as far as this instance knows. Each request says so, and takes no lock for it.
package final class ServiceTokenUse: Sendable {
  /// What is used all the time is noted this often.
  package static let precisionSeconds = 60

  /// Since 1970; 0: not since it is remembered.
  private let noted = Atomic<Int>(0)

  var seconds: Int { noted.load(ordering: .relaxed) }

  func note(at now: Date) {
    let seconds = Int(bounding: now.timeIntervalSince1970)
    // Of two that store at once, either may win: they are of the same second, or nearly.
    if seconds - noted.load(ordering: .relaxed) >= Self.precisionSeconds { noted.store(seconds, ordering: .relaxed) }
  }
}

/// The uses that an instance remembers: those of tokens in its cache, and those that are not written yet.
package final class ServiceTokenUses: Sendable {
  private struct Entry {
    var use: ServiceTokenUse
    var writtenSeconds = 0
  }

  /// A token and when it was used, in seconds since 1970.
  typealias Noted = (id: UUID, seconds: Int)

  private let entries = Mutex<[UUID: Entry]>([:])

  package init() {}

  /// Where to note the uses of a token: the same for all that is cached of it.
  func use(of id: UUID) -> ServiceTokenUse {
    entries.withLock { entries in
      if let known = entries[id] { return known.use }
      let use = ServiceTokenUse()
      entries[id] = Entry(use: use)
      return use
    }
  }

  /// What is noted and not written. Forgets what is written and belongs to no cached token any more.
  func pending() -> [Noted] {
    entries.withLock { entries in
      var pending: [Noted] = []
      for id in Array(entries.keys) {
        // Taken out, since it cannot be asked in its place whether anybody else holds it.
        guard var entry = entries.removeValue(forKey: id) else { continue }
        // Before what is noted is read: whoever lets go of it may have noted something just before.
        let isCached = !isKnownUniquelyReferenced(&entry.use)
        let seconds = entry.use.seconds
        if seconds > entry.writtenSeconds { pending.append((id, seconds)) } else if !isCached { continue }
        entries[id] = entry
      }
      return pending
    }
  }

  func wrote(_ noted: [Noted]) {
    entries.withLock { entries in
      for (id, seconds) in noted { entries[id]?.writtenSeconds = seconds }
    }
  }

  var count: Int { entries.withLock { $0.count } }
}
