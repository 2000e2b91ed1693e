import Portal
import PortalHTTP
import ServiceLifecycle

/// The first service to end at a shutdown. It begins the drain, notifies the service manager, and delays the end until
/// load balancers have noticed.
struct DrainService: Service {
  let drain: Drain
  /// How long it delays the end.
  let seconds: Int
  let socket: NotifySocket?
  let observer: Observer

  func run() async throws {
    try await gracefulShutdown()
    drain.begin()
    await socket?.tell(.stopping)
    guard seconds > 0 else { return }
    observer.observe(.draining(seconds: seconds))
    try? await Task.sleep(for: .seconds(seconds))
  }
}
