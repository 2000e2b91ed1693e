/// Whether statements are prepared under a name, and the session is taken for the connection's own.
public enum PostgresPreparing: String, Sendable, CaseIterable {
  /// Where no pooler is between, as each connection finds out when it is made.
  case auto
  /// Always. Through a pooler this takes one that keeps a server for a client's whole session, or that prepares on its
  /// own.
  case always
  /// Never: whatever is between may give each transaction another server.
  case never
}

/// How to reach PostgreSQL, and the limits of doing so.
public struct PostgresConfiguration: Sendable {
  /// Any libpq connection string or URI (PostgreSQL manual 34.1.1). May hold a password: never printed.
  public var url: String
  /// Shown in `pg_stat_activity`, unless the connection string names another.
  public var applicationName = "latchkey"
  /// The role that every transaction has; nil for that of the login. The login must be a member of it.
  public var role: String?
  /// Whether statements are prepared under a name, once a connection.
  public var preparing = PostgresPreparing.auto
  /// Connections that the pool holds at most.
  public var poolSizeMax = 10
  /// Callers that may wait for a connection; one more fails at once.
  public var waiterCountMax = 4_096
  /// How long a caller waits for a connection.
  public var leaseTimeout: Duration = .seconds(2)
  /// How long connecting may take for each host, unless the connection string says (`connect_timeout`); libpq counts in
  /// whole seconds, two at least.
  public var connectTimeout: Duration = .seconds(3)
  /// How long what was sent may stay unacknowledged by the server's machine before the connection is lost, unless the
  /// connection string says (`tcp_user_timeout`).
  public var acknowledgementTimeout: Duration = .seconds(5)
  /// How long the client waits for a batch of statements before it has the server cancel it. A commit is not cancelled.
  public var queryTimeout: Duration = .seconds(30)
  /// How long a cancelled batch, and the request to cancel it, may take to end before the connection is given up.
  public var cancelTimeout: Duration = .seconds(5)
  /// The server's own limit for one statement, `statement_timeout`.
  public var statementTimeout: Duration = .seconds(30)
  /// How long an idle connection is kept.
  public var idleTimeout: Duration = .seconds(300)
  /// How long a shutdown waits for connections in use.
  public var drainTimeout: Duration = .seconds(10)

  /// Told of what happens without anybody having asked; called from any thread, and must not block.
  public var observe: @Sendable (PostgresEvent) -> Void = { _ in }

  /// What each connection has set: for its session, or for each transaction where the session is not its own.
  var settings: PostgresSettings {
    var values = [
      "statement_timeout": "\(statementTimeout.milliseconds)", "TimeZone": "UTC",
      // Statements, and migrations above all, are written for it; a database may have the opposite.
      "standard_conforming_strings": "on",
    ]
    values["role"] = role
    return PostgresSettings(values)
  }

  public init(url: String) { self.url = url }
}
