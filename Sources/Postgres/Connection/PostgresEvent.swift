/// An event on a pool's connections that no caller asked for; for logs and metrics.
public enum PostgresEvent: Sendable, Equatable {
  /// The server sent a notice or a warning.
  case notice(PostgresNotice)
  /// A statement or transaction that a terminated or vanished connection had not carried out was sent on another one.
  case sentAgain
  /// A connection ended without a message from the server, so the idle ones were closed as well.
  case condemned(connections: Int)
  /// A commit outlasted its deadline. Its caller got `.commitUnknown`; its connection waits for it outside the pool.
  case commitLeft
  /// Such a commit has ended; false if it failed, or if its connection ended and the outcome is unknown.
  case commitSettled(isCommitted: Bool)
}

/// A notice or warning of the server (PostgreSQL manual 55.8).
public struct PostgresNotice: Sendable, Equatable {
  public enum Severity: String, Sendable, CaseIterable {
    case debug = "DEBUG"
    case log = "LOG"
    case info = "INFO"
    case notice = "NOTICE"
    case warning = "WARNING"
    case error = "ERROR"
    case fatal = "FATAL"
    case panic = "PANIC"
  }

  public var severity: Severity
  /// Five characters.
  public var sqlState: String
  public var message: String
  /// The function in the server's source that reported it; unlike the message, it is not translated.
  public var sourceFunction: String?

  public init(_ severity: Severity, _ message: String, sqlState: String = "00000", sourceFunction: String? = nil) {
    self.severity = severity
    self.sqlState = sqlState
    self.message = message
    self.sourceFunction = sourceFunction
  }

  /// Whether it reports a commit that is on the primary and perhaps on no standby, because the wait for one was
  /// cancelled.
  var tellsOfMissingStandby: Bool { severity == .warning && sourceFunction == "SyncRepWaitForLSN" }
  /// Whether the connection ends with it.
  var isParting: Bool { severity == .fatal || severity == .panic }
}
