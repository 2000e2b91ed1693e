import Foundation
import Synchronization

/// The counters of this instance since the last flush, in memory: an increment under a short lock.
package final class UsageRecorder: Sendable {
  private static let shardCount = 16
  /// Endpoint names that an account may fill on this instance in a day; what comes beyond is counted under `other`.
  package static let endpointsPerAccountMax = 500
  package static let overflowEndpoint = "other"

  private final class Shard: Sendable {
    let counters = Mutex<[UsageKey: UsageCounts]>([:])
  }

  private struct Endpoints {
    var day: Day?
    var byAccount: [UUID: Set<String>] = [:]
  }

  private let shards = (0..<UsageRecorder.shardCount).map { _ in Shard() }
  private let endpoints = Mutex(Endpoints())

  package init() {}

  func verified(_ key: VerifiableKey, _ endpoint: String, isValid: Bool, at now: Date) {
    count(key.accountID, key.id, endpoint, Day(containing: now)) { counts in
      if isValid { counts.verified += 1 } else { counts.denied += 1 }
      counts.lastUsedAt = max(counts.lastUsedAt, now)
    }
  }

  func reported(_ outcome: ReportedOutcome, of accountID: UUID, at: Date) {
    count(accountID, outcome.keyID, outcome.endpoint, Day(containing: at)) { $0.addOutcome(outcome, at: at) }
  }

  /// Takes everything that was counted so far.
  package func seal() -> UsageSegment {
    var all: [UsageKey: UsageCounts] = [:]
    for shard in shards {
      let taken = shard.counters.withLock { counters in
        defer { counters = [:] }
        return counters
      }
      all.merge(taken) { one, _ in one }
    }
    return UsageSegment(counters: all)
  }

  private func count(
    _ accountID: UUID, _ keyID: UUID, _ endpoint: String, _ day: Day, _ change: (inout UsageCounts) -> Void
  ) {
    let shard = shards[Int(keyID.uuid.15) % Self.shardCount]
    let key = UsageKey(accountID: accountID, keyID: keyID, day: day, endpoint: endpoint)
    let isKnown = shard.counters.withLock { counters in
      guard counters[key] != nil else { return false }
      change(&counters[key, default: UsageCounts()])
      return true
    }
    if isKnown { return }
    var bounded = key
    bounded.endpoint = boundedEndpoint(endpoint, of: accountID, on: day)
    shard.counters.withLock { counters in change(&counters[bounded, default: UsageCounts()]) }
  }

  /// The name itself, or that of the overflow once the account has used up its share for the day.
  func boundedEndpoint(_ endpoint: String, of accountID: UUID, on day: Day) -> String {
    endpoints.withLock { endpoints in
      if let current = endpoints.day, current < day { endpoints = Endpoints() }
      endpoints.day = max(endpoints.day ?? day, day)
      var names = endpoints.byAccount[accountID] ?? []
      if names.contains(endpoint) { return endpoint }
      guard names.count < Self.endpointsPerAccountMax else { return Self.overflowEndpoint }
      names.insert(endpoint)
      endpoints.byAccount[accountID] = names
      return endpoint
    }
  }
}
