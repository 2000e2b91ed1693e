import Glibc
import ServiceLifecycle
import UnixSignals

/// Reloads files on SIGHUP, and notifies the service manager. A signal during a reload causes one more reload.
struct ReloadService: Service {
  let socket: NotifySocket?
  /// Until it is given, reloads are not reported to the service manager: the message at their end would say that the
  /// server is ready.
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

  /// In microseconds of CLOCK_MONOTONIC, the clock that the service manager reads.
  private static var uptime: Int64 {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return Int64(time.tv_sec) * 1_000_000 + Int64(time.tv_nsec) / 1_000
  }
}
