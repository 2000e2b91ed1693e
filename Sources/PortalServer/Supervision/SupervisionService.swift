import Logging
import ServiceLifecycle
import Synchronization

/// Whether the service manager has been notified that the server is ready.
final class ReadyNotice: Sendable {
  private let given = Mutex(false)

  var isGiven: Bool { given.withLock { $0 } }

  func give() { given.withLock { $0 = true } }
}

/// Notifies the service manager when the server is ready, and from then on that it is alive.
struct SupervisionService: Service {
  /// The interval between checks of whether the server is ready.
  private static let readinessInterval: Duration = .milliseconds(100)

  let supervision: Supervision
  /// Yields an element when the server listens.
  let listening: AsyncStream<Void>
  let isReady: @Sendable () async -> Bool
  let notice: ReadyNotice
  /// Returns when every thread that the server depends on has responded, and not while one hangs.
  let goRound: @Sendable () async -> Void
  let logger: Logger

  func run() async throws {
    try? await cancelWhenGracefulShutdown {
      guard await listening.first(where: { _ in true }) != nil else { return }
      while await !isReady() { try await Task.sleep(for: Self.readinessInterval) }
      if await !supervision.socket.tell(.ready) {
        logger.error("the service manager could not be notified that the server is ready")
      }
      notice.give()
      guard let interval = supervision.watchdogInterval else { return }
      while true {
        await goRound()
        await supervision.socket.tell(.watchdog)
        try await Task.sleep(for: interval)
      }
    }
    // A service that returns before the shutdown ends the others.
    try? await gracefulShutdown()
  }
}
