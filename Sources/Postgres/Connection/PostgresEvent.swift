/// What happens on the connections of a pool without anybody having asked; for logs and metrics.
public enum PostgresEvent: Sendable, Equatable {
  /// The server said something beside its answers.
  case notice(PostgresNotice)
  /// What a terminated or vanished connection had not carried out was sent on another one.
  case sentAgain
  /// A connection ended without a word, so idle ones were closed as well.
  case condemned(connections: Int)
  /// A commit outlasted its deadline. Its caller was told; its connection waits for it outside the pool.
  case commitLeft
  /// Such a commit has ended; false if it failed, or its connection did and nobody knows.
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
  /// The function of the server's source that said it: unlike the message, in no language.
  public var sourceFunction: String?

  public init(_ severity: Severity, _ message: String, sqlState: String = "00000", sourceFunction: String? = nil) {
    self.severity = severity
    self.sqlState = sqlState
    self.message = message
    self.sourceFunction = sourceFunction
  }

  /// Whether a commit stands on the primary that no standby may have, because its wait for one was cancelled.
  var tellsOfMissingStandby: Bool { severity == .warning && sourceFunction == "SyncRepWaitForLSN" }
  /// Whether the connection ends with it.
  var isParting: Bool { severity == .fatal || severity == .panic }
}
