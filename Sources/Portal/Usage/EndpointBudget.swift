import Foundation
import Synchronization

/// The endpoint names that accounts have used on this instance today: so many, and no more.
final class EndpointBudget: Sendable {
  private struct Names {
    var day = 0
    /// Hashes of names: two that collide are counted as one towards the bound, and apart otherwise.
    var byAccount: [UUID: Set<Int>] = [:]
  }

  private let names = Mutex(Names())

  /// Whether the name is known, or becomes so.
  func hasRoom(for endpoint: UnsafeBufferPointer<UInt8>, of accountID: UUID, inHour hour: Int) -> Bool {
    var hasher = Hasher()
    hasher.combine(bytes: UnsafeRawBufferPointer(endpoint))
    let hash = hasher.finalize()
    return names.withLock { names in
      if hour / 24 > names.day { names = Names(day: hour / 24) }
      let known = names.byAccount[accountID]
      if known?.contains(hash) == true { return true }
      guard (known?.count ?? 0) < UsageRecorder.endpointsPerAccountMax else { return false }
      names.byAccount[accountID, default: []].insert(hash)
      return true
    }
  }
}
