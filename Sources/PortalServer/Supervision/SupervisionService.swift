import Logging
import ServiceLifecycle
import Synchronization

/// Whether the service manager was told that the server is ready.
final class ReadyNotice: Sendable {
  private let given = Mutex(false)

  var isGiven: Bool { given.withLock { $0 } }

  func give() { given.withLock { $0 = true } }
}

/// Tells the service manager when the server is ready, and then that it is alive.
struct SupervisionService: Service {
  /// Between two looks whether the server is ready.
  private static let readinessInterval: Duration = .milliseconds(100)

  let supervision: Supervision
  /// Has an element when the server listens.
  let listening: AsyncStream<Void>
  let isReady: @Sendable () async -> Bool
  let notice: ReadyNotice
  /// Returns when every thread that the server depends on has answered; not while one hangs.
  let goRound: @Sendable () async -> Void
  let logger: Logger

  func run() async throws {
    try? await cancelWhenGracefulShutdown {
      guard await listening.first(where: { _ in true }) != nil else { return }
      while await !isReady() { try await Task.sleep(for: Self.readinessInterval) }
      if await !supervision.socket.tell(.ready) {
        logger.error("the service manager could not be told that the server is ready")
      }
      notice.give()
      guard let interval = supervision.watchdogInterval else { return }
      while true {
        await goRound()
        await supervision.socket.tell(.watchdog)
        try await Task.sleep(for: interval)
      }
    }
    // A service that returns before it is asked to ends the others.
    try? await gracefulShutdown()
  }
}
