import Glibc
import PortalHTTP
import ServiceLifecycle
import UnixSignals

/// Reads files again at SIGHUP, and tells the service manager of it. One signal that comes meanwhile is another time.
struct ReloadService: Service {
  let socket: NotifySocket?
  /// Until this is given, the service manager is told of no reload: its end would say that the server is ready.
  let notice: ReadyNotice
  let reload: @Sendable () async -> Void

  func run() async throws {
    let signals = await UnixSignalsSequence(trapping: .sighup)
    await cancelWhenGracefulShutdown {
      for await _ in signals { await reloadOnce() }
    }
    try? await gracefulShutdown()
  }

  func reloadOnce() async {
    let socket = notice.isGiven ? socket : nil
    await socket?.tell(.reloading(uptime: Self.uptime))
    await reload()
    await socket?.tell(.ready)
  }

  /// In microseconds of CLOCK_MONOTONIC, which the service manager reads, too.
  private static var uptime: Int64 {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return Int64(time.tv_sec) * 1_000_000 + Int64(time.tv_nsec) / 1_000
  }
}
