/// The notifications that the service manager of this process expects (sd_notify(3), sd_watchdog_enabled(3)).
struct Supervision: Equatable, Sendable {
  let socket: NotifySocket
  /// The interval between watchdog messages, half of the manager's timeout; nil if it expects none.
  let watchdogInterval: Duration?

  /// Reads the variables that a manager sets: `NOTIFY_SOCKET`, `WATCHDOG_USEC`, and `WATCHDOG_PID`, the process that
  /// `WATCHDOG_USEC` applies to. Nil without a valid `NOTIFY_SOCKET`.
  init?(_ environment: [String: String], processID: Int32) {
    guard let socket = environment["NOTIFY_SOCKET"].flatMap({ NotifySocket($0) }) else { return nil }
    self.socket = socket
    let isMeant = environment["WATCHDOG_PID"].map { Int32($0) == processID } ?? true
    let microseconds = environment["WATCHDOG_USEC"].flatMap { Int64($0) } ?? 0
    watchdogInterval = isMeant && microseconds > 1 ? .microseconds(microseconds / 2) : nil
  }
}
