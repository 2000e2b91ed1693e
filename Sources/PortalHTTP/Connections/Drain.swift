import Synchronization

/// Whether the server is draining. It still answers everything, but `/readyz` says that it is not ready, and
/// connections are closed after their next answer, so that load balancers send it nothing more.
package final class Drain: Sendable {
  private let hasBegun = Atomic(false)

  package init() {}

  /// Whether draining has begun. Call it from any thread, for every request.
  package var isBegun: Bool { hasBegun.load(ordering: .relaxed) }

  /// Starts draining, for good.
  package func begin() { hasBegun.store(true, ordering: .relaxed) }
}
