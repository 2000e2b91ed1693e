import HummingbirdCore
import Logging
import Portal
import Synchronization

/// The activity of one connection: noted by its own event loop, without a lock, and read by any that gets a new
/// connection.
package final class NotedActivity: Sendable {
  /// The time, and in the lowest bit whether a request is being answered: one word, so that both are from the same
  /// moment.
  private let word = Atomic<UInt64>(0)

  /// Replaces the activity. Call it from one thread only.
  package func note(_ activity: ConnectionActivity) {
    word.store(activity.since << 1 | (activity.isAnswering ? 1 : 0), ordering: .relaxed)
  }

  /// The activity last noted; from any thread.
  package var activity: ConnectionActivity {
    let word = word.load(ordering: .relaxed)
    return ConnectionActivity(since: word >> 1, isAnswering: word & 1 == 1)
  }
}

/// Bounds the HTTP connections of all event loops together, because they share the process's descriptors. If there are
/// too many, those that have gone longest without answering a request are closed.
package final class ConnectionLimit: Sendable {
  /// Connections beyond the limit that may be open for a moment, because they are being closed or were just accepted.
  package static let surplusMax = 64

  private struct Connection: Sendable {
    let activity: NotedActivity
    let close: @Sendable () -> Void
  }

  /// The most connections.
  package let countMax: Int
  private let state: Mutex<ConnectionLimitState<Connection>>
  private let observer: Observer

  package init(countMax: Int, observer: Observer) {
    self.countMax = countMax
    self.observer = observer
    state = Mutex(ConnectionLimitState(countMax: countMax))
  }

  /// The number of connections.
  package var count: Int { state.withLock { $0.count } }

  /// Admits a new connection, and closes others or the new one if there are too many. `now` is in nanoseconds of the
  /// system's uptime; `close` is called from any thread, at most once. Returns the number under which the connection
  /// leaves.
  package func admit(_ activity: NotedActivity, at now: UInt64, close: @escaping @Sendable () -> Void) -> UInt64 {
    let connection = Connection(activity: activity, close: close)
    let admission = state.withLock { state in
      state.admit(connection, at: now) { $0.activity.activity }
    }
    if admission.closed.isEmpty { return admission.number }
    for connection in admission.closed { connection.close() }
    observer.observe(.connectionsClosed(connections: admission.closed.count, isLogged: admission.isLogged))
    return admission.number
  }

  /// Removes a connection that has ended. Has no effect if it was chosen to be closed before.
  package func leave(_ number: UInt64) { state.withLock { $0.leave(number) } }

  /// Makes the server stop accepting while `surplusMax` connections beyond the limit are open. Nothing else bounds
  /// connections that were accepted but not yet admitted, or that are being closed, because that happens on other event
  /// loops.
  package func acceptanceLimit(
    _ logger: Logger, surplusMax: Int = ConnectionLimit.surplusMax
  ) -> any AvailableConnectionsDelegate {
    MaximumAvailableConnections(countMax + surplusMax, logger: logger)
  }
}
