/// What can go wrong between this process and PostgreSQL. One type, so that callers can use typed throws.
public struct PostgresError: Error, Sendable {
  /// The kind of failure; decides whether a retry makes sense.
  public enum Code: Hashable, Sendable {
    /// The server refused a statement; `sqlState` says why (PostgreSQL manual, appendix A).
    case server
    /// No connection could be made.
    case connectFailed
    /// The connection broke while statements were in progress. Unless they were a script, they have no effect.
    case connectionLost
    /// The connection broke during a commit, the commit outlasted its deadline, or PostgreSQL stopped waiting for a
    /// synchronous standby: the change may or may not have been committed, or may be lost with the primary.
    case commitUnknown
    /// As many commits as the pool has connections have outlasted their deadline, so no other change is started.
    case commitsPending
    /// The client's own deadline passed; the statement was cancelled on the server.
    case timeout
    /// The calling task was cancelled; so was the statement.
    case cancelled
    /// No connection became free within the pool's bounded wait.
    case poolTimeout
    /// Too many callers are already waiting for a connection.
    case poolQueueFull
    /// The pool is shutting down.
    case shutdown
    /// More notifications arrived than the bounded buffer holds; the connection was closed so that none is lost
    /// silently.
    case notificationOverflow
    /// A column had another type than the statement decodes, an unknown value of an enum, an infinite time, or a NULL
    /// where none is allowed; or a statement that always returns a row returned none.
    case decoding
    /// libpq or the server violated the protocol, or the caller broke a rule of this library.
    case protocolViolation
    /// The migration files do not match the migrations that were applied.
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
  /// Whether the statements certainly had no effect and did not themselves cause the failure, so that they may be sent
  /// again on another connection.
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

  /// Whether a lock did not become free in time, or never would have (a deadlock). The transaction may be run again.
  var isLockFailure: Bool {
    code == .server && (sqlState == "55P03" || sqlState == "40P01")
  }

  /// Whether PostgreSQL was unavailable (unreachable, overloaded, restarting, too slow), as opposed to having refused a
  /// statement.
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
