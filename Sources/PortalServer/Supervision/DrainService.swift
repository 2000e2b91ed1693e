import Portal
import PortalHTTP
import ServiceLifecycle

/// The first to be told that the server is to end: says so to whoever asks, and holds the end up until they have heard.
struct DrainService: Service {
  let drain: Drain
  /// How long it holds it up.
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
