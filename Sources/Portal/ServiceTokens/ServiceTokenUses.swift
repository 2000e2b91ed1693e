import Foundation
import JSON
import Synchronization

/// The time at which a service token was last used, as far as this instance knows. Every request records it, without a
/// lock.
package final class ServiceTokenUse: Sendable {
  /// The interval at which a token in constant use is recorded.
  static let precisionSeconds = 60

  /// Seconds since 1970; 0 if no use has been recorded.
  private let noted = Atomic<Int>(0)

  var seconds: Int { noted.load(ordering: .relaxed) }

  func note(at now: Date) {
    let seconds = Int(bounding: now.timeIntervalSince1970)
    // If two threads store concurrently, either may win: their times are about the same.
    if seconds - noted.load(ordering: .relaxed) >= Self.precisionSeconds { noted.store(seconds, ordering: .relaxed) }
  }
}

/// The uses of service tokens that are in the cache of this instance, or whose last use has not been written yet.
package final class ServiceTokenUses: Sendable {
  private struct Entry {
    var use: ServiceTokenUse
    var writtenSeconds = 0
  }

  /// A token and when it was used, in seconds since 1970.
  typealias Noted = (id: UUID, seconds: Int)

  private let entries = Mutex<[UUID: Entry]>([:])

  package init() {}

  /// The object that records the uses of a token. It is shared by all cached copies of the token.
  func use(of id: UUID) -> ServiceTokenUse {
    entries.withLock { entries in
      if let known = entries[id] { return known.use }
      let use = ServiceTokenUse()
      entries[id] = Entry(use: use)
      return use
    }
  }

  /// The recorded uses that have not been written. Drops entries that have been written and whose token is no longer
  /// cached.
  func pending() -> [Noted] {
    entries.withLock { entries in
      var pending: [Noted] = []
      for id in Array(entries.keys) {
        // Taken out, because the reference count can only be checked on a variable.
        guard var entry = entries.removeValue(forKey: id) else { continue }
        // Checked before the time is read: the last holder may record a use just before it releases the object.
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
