/// What can go wrong between this process and PostgreSQL. One type, so that callers can use typed throws.
public struct PostgresError: Error, Sendable {
  /// The kind of failure; decides whether a retry makes sense.
  public enum Code: Hashable, Sendable {
    /// The server refused a statement; `sqlState` says why (PostgreSQL manual, appendix A).
    case server
    /// No connection could be made.
    case connectFailed
    /// The connection broke while statements were under way. Nothing of them stands, unless it was a script.
    case connectionLost
    /// The connection broke under a commit, or the commit outlasted its deadline, or PostgreSQL stopped waiting for a
    /// synchronous standby: the change may or may not stand, or may be lost with the primary.
    case commitUnknown
    /// As many commits as the pool has connections outlast their deadline, so no other change is begun.
    case commitsPending
    /// The client's own deadline passed; the statement was cancelled on the server.
    case timeout
    /// The calling task was cancelled; so was the statement.
    case cancelled
    /// No connection came free within the pool's bounded wait.
    case poolTimeout
    /// Too many callers wait for a connection already.
    case poolQueueFull
    /// The pool is shutting down.
    case shutdown
    /// More notifications arrived than the bounded buffer holds; the connection was closed so that none is lost
    /// silently.
    case notificationOverflow
    /// A column held another type than the statement's decoding asked for, or a NULL where none is allowed.
    case decoding
    /// libpq or the server behaved against the protocol, or the caller broke a rule of this library.
    case protocolViolation
    /// The migrations that there are and those applied do not agree.
    case migrationMismatch
  }

  public var code: Code
  /// The server's or the library's message. May name internals: for logs, never for a client.
  public var message: String
  /// Five characters, when `code` is `.server`.
  public var sqlState: String?
  /// The name of the violated constraint, when the server gave one.
  public var constraint: String?
  /// The statement's type name, when known.
  public var statement: String?
  /// Whether what was to be run certainly left nothing behind, and was not itself what ended: it may be sent again on
  /// another connection.
  var hasNoEffect = false

  public init(
    _ code: Code, _ message: String, sqlState: String? = nil, constraint: String? = nil, statement: String? = nil
  ) {
    self.code = code
    self.message = message
    self.sqlState = sqlState
    self.constraint = constraint
    self.statement = statement
  }

  /// Whether the whole transaction may be run again: a serialization failure or a deadlock.
  public var isRetryable: Bool {
    code == .server && (sqlState == "40001" || sqlState == "40P01")
  }

  /// Whether a lock did not come free in time, or never would have. The transaction may be run again.
  var isLockFailure: Bool {
    code == .server && (sqlState == "55P03" || sqlState == "40P01")
  }

  /// Whether PostgreSQL could not be asked, as opposed to having refused: unreachable, overloaded, restarting, too
  /// slow.
  public var isUnavailable: Bool {
    switch code {
    case .connectFailed, .connectionLost, .commitUnknown, .commitsPending, .timeout, .poolTimeout, .poolQueueFull,
      .shutdown, .notificationOverflow:
      true
    case .server:
      // Classes 08 (connection), 53 (resources), 57 (operator intervention) and a read-only server after a failover.
      sqlState.map { state in
        state == "25006" || ["08", "53", "57"].contains { state.hasPrefix($0) }
      } ?? false
    case .cancelled, .decoding, .protocolViolation, .migrationMismatch:
      false
    }
  }

  /// Whether the server refused because of the constraint with this name.
  public func violates(_ constraint: String) -> Bool {
    code == .server && self.constraint == constraint
  }
}

extension PostgresError: CustomStringConvertible {
  public var description: String {
    var text = "\(code)"
    if let sqlState { text += " \(sqlState)" }
    if let statement { text += " in \(statement)" }
    if let constraint { text += " (\(constraint))" }
    return text + ": " + message
  }
}
