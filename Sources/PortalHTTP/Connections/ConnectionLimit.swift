import HummingbirdCore
import Logging
import Portal
import Synchronization

/// What one connection does: noted by its own event loop, without a lock, and read by whichever has a new connection.
package final class NotedActivity: Sendable {
  /// When, and in the lowest bit whether a request is being answered: one word, so that both are of one moment.
  private let word = Atomic<UInt64>(0)

  /// Replaces what was noted; from one thread.
  package func note(_ activity: ConnectionActivity) {
    word.store(activity.since << 1 | (activity.isAnswering ? 1 : 0), ordering: .relaxed)
  }

  /// What was noted last; from any thread.
  package var activity: ConnectionActivity {
    let word = word.load(ordering: .relaxed)
    return ConnectionActivity(since: word >> 1, isAnswering: word & 1 == 1)
  }
}

/// Bounds the HTTP connections of all event loops together, since they share the process's descriptors: when there is
/// one too many, those that have answered no request for longest are closed.
package final class ConnectionLimit: Sendable {
  /// Connections beyond the bound that may be open for a moment, because they are being closed or were just accepted.
  package static let surplusMax = 64

  private struct Connection: Sendable {
    let activity: NotedActivity
    let close: @Sendable () -> Void
  }

  /// Connections at most.
  package let countMax: Int
  private let state: Mutex<ConnectionLimitState<Connection>>
  private let observer: Observer

  package init(countMax: Int, observer: Observer) {
    self.countMax = countMax
    self.observer = observer
    state = Mutex(ConnectionLimitState(countMax: countMax))
  }

  /// Connections now.
  package var count: Int { state.withLock { $0.count } }

  /// Takes in a new connection, and closes others or itself if there are too many. `now` is in nanoseconds of the
  /// system's uptime; `close` is called from any thread, once at most. Returns the number under which the connection
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

  /// Forgets a connection that has ended, or was chosen to be closed before.
  package func leave(_ number: UInt64) { state.withLock { $0.leave(number) } }

  /// Has the server accept no more while `surplusMax` connections beyond the bound are open. Nothing else bounds those
  /// that were accepted and not admitted yet, and those that are being closed, since that happens on other event loops.
  package func acceptanceLimit(
    _ logger: Logger, surplusMax: Int = ConnectionLimit.surplusMax
  ) -> any AvailableConnectionsDelegate {
    MaximumAvailableConnections(countMax + surplusMax, logger: logger)
  }
}
