package import Foundation
import Synchronization

/// The keys' limits, local to this instance: a sliding window of a minute for each key that was used lately.
package final class RateLimiter: Sendable {
  private static let windowSeconds = 60
  private static let shardCount = 16
  /// Windows kept in a shard before those that are over are swept out, and the least that is kept between sweeps.
  private static let sweepThresholdMin = 4_096

  private struct Windows {
    var byKey: [UUID: SlidingWindow] = [:]
    var sweepAt = RateLimiter.sweepThresholdMin

    mutating func sweepIfLarge(at now: Int) {
      guard byKey.count >= sweepAt else { return }
      byKey = byKey.filter { !$0.value.isOver(at: now) }
      sweepAt = max(RateLimiter.sweepThresholdMin, 2 * byKey.count)
    }
  }

  private final class Shard: Sendable {
    let windows = Mutex(Windows())
  }

  private let shards = (0..<RateLimiter.shardCount).map { _ in Shard() }

  package init() {}

  /// Takes `cost` from the key's limit if it fits; nothing otherwise.
  package func admit(_ keyID: UUID, cost: Int, limitPerMinute: Int, at now: Date) -> SlidingWindow.Decision {
    shard(keyID).windows.withLock { windows in
      windows.sweepIfLarge(at: now.milliseconds)
      return windows.byKey[keyID, default: SlidingWindow(seconds: Self.windowSeconds)]
        .admit(cost: cost, limit: limitPerMinute, at: now.milliseconds)
    }
  }

  /// How the key's limit stands, without taking anything.
  package func peek(_ keyID: UUID, limitPerMinute: Int, at now: Date) -> SlidingWindow.Decision {
    shard(keyID).windows.withLock { windows in
      (windows.byKey[keyID] ?? SlidingWindow(seconds: Self.windowSeconds))
        .peek(cost: 0, limit: limitPerMinute, at: now.milliseconds)
    }
  }

  private func shard(_ keyID: UUID) -> Shard {
    // The last byte of a UUID version 7 is random.
    shards[Int(keyID.uuid.15) % Self.shardCount]
  }
}
