package import Portal
import Synchronization

/// All observations of a portal, for tests that wait for something to happen.
package final class Observations: Sendable {
  private struct State {
    var seen: [Observation] = []
    var waiters: [(isWanted: @Sendable (Observation) -> Bool, continuation: CheckedContinuation<Void, Never>)] = []
  }

  private let state = Mutex(State())

  package init() {}

  package var sink: Observer.Sink {
    { observation in
      let ready = self.state.withLock { state in
        state.seen.append(observation)
        let ready = state.waiters.filter { $0.isWanted(observation) }
        state.waiters.removeAll { $0.isWanted(observation) }
        return ready
      }
      for waiter in ready { waiter.continuation.resume() }
    }
  }

  /// All observations as text.
  var text: String { state.withLock { $0.seen.map { "\($0)" }.joined(separator: "\n") } }

  package func count(_ observation: Observation) -> Int {
    state.withLock { $0.seen.count { $0 == observation } }
  }

  package func count(where isWanted: (Observation) -> Bool) -> Int {
    state.withLock { $0.seen.count(where: isWanted) }
  }

  /// Waits for the next such observation after this call.
  package func next(_ isWanted: @escaping @Sendable (Observation) -> Bool) async {
    await withCheckedContinuation { continuation in
      state.withLock { $0.waiters.append((isWanted, continuation)) }
    }
  }
}
