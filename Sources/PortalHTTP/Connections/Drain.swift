import Synchronization

/// Whether the server is about to end: it still answers everything, but says at `/readyz` that it is not ready, and
/// ends connections after their next answer, so that whoever balances the load sends it nothing more.
package final class Drain: Sendable {
  private let hasBegun = Atomic(false)

  package init() {}

  /// Whether it has begun; from any thread, and for every request.
  package var isBegun: Bool { hasBegun.load(ordering: .relaxed) }

  /// Begins it, for good.
  package func begin() { hasBegun.store(true, ordering: .relaxed) }
}
