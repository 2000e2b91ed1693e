/// What a service manager that started this process wants to hear of it (sd_notify(3), sd_watchdog_enabled(3)).
struct Supervision: Equatable, Sendable {
  let socket: NotifySocket
  /// Between two signs of life; nil where none are wanted. Half of what the manager waits for one.
  let watchdogInterval: Duration?

  /// Reads the variables that a manager sets: `NOTIFY_SOCKET`, `WATCHDOG_USEC`, and `WATCHDOG_PID`, by which a process
  /// knows whether the last one is meant for it. Nil where nobody listens.
  init?(_ environment: [String: String], processID: Int32) {
    guard let socket = environment["NOTIFY_SOCKET"].flatMap({ NotifySocket($0) }) else { return nil }
    self.socket = socket
    let isMeant = environment["WATCHDOG_PID"].map { Int32($0) == processID } ?? true
    let microseconds = environment["WATCHDOG_USEC"].flatMap { Int64($0) } ?? 0
    watchdogInterval = isMeant && microseconds > 1 ? .microseconds(microseconds / 2) : nil
  }
}
