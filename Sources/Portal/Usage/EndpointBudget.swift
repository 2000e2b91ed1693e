import Foundation
import Synchronization

/// The endpoint names that each account has used on this instance today, at most
/// ``UsageRecorder/endpointsPerAccountMax`` per account.
final class EndpointBudget: Sendable {
  private struct Names {
    var day = 0
    /// Hashes of names. Two names whose hashes collide count as one towards the bound; their usage is still counted
    /// separately.
    var byAccount: [UUID: Set<Int>] = [:]
  }

  private let names = Mutex(Names())

  /// Whether the account has used the name today, or there was room to add it.
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
