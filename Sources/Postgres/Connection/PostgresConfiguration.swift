/// Whether statements are prepared under a name, and whether the session is assumed to be the connection's own.
public enum PostgresPreparing: String, Sendable, CaseIterable {
  /// If there is no pooler in between, which each connection detects when it is opened.
  case auto
  /// Always. A pooler in between must keep a server for a client's whole session, or support prepared statements.
  case always
  /// Never: a pooler in between may give each transaction another server.
  case never
}

/// How to reach PostgreSQL, and the limits of a pool.
public struct PostgresConfiguration: Sendable {
  /// Any libpq connection string or URI (PostgreSQL manual 34.1.1). May hold a password: never printed.
  public var url: String
  /// Shown in `pg_stat_activity`, unless the connection string names another.
  public var applicationName = "latchkey"
  /// The role of every transaction; nil for the login's own. The login must be a member of it.
  public var role: String?
  /// Whether statements are prepared under a name, once per connection.
  public var preparing = PostgresPreparing.auto
  /// The maximum number of connections in the pool.
  public var poolSizeMax = 10
  /// The maximum number of callers that wait for a connection; any more fail immediately.
  public var waiterCountMax = 4_096
  /// How long a caller waits for a connection.
  public var leaseTimeout: Duration = .seconds(2)
  /// How long connecting to each host may take, unless the connection string sets `connect_timeout`; libpq counts in
  /// whole seconds, at least two.
  public var connectTimeout: Duration = .seconds(3)
  /// How long sent data may remain unacknowledged by the server's machine before the connection counts as lost, unless
  /// the connection string sets `tcp_user_timeout`.
  public var acknowledgementTimeout: Duration = .seconds(5)
  /// How long the client waits for a batch of statements before it asks the server to cancel it. A commit is not
  /// cancelled.
  public var queryTimeout: Duration = .seconds(30)
  /// How long a cancelled batch, and the request to cancel it, may take to end before the connection is closed.
  public var cancelTimeout: Duration = .seconds(5)
  /// The server's own limit for one statement, `statement_timeout`.
  public var statementTimeout: Duration = .seconds(30)
  /// How long an idle connection is kept.
  public var idleTimeout: Duration = .seconds(300)
  /// How long a shutdown waits for connections in use.
  public var drainTimeout: Duration = .seconds(10)

  /// Called with events that no caller asked for, from any thread; must not block.
  public var observe: @Sendable (PostgresEvent) -> Void = { _ in }

  /// The settings of each connection: for its session, or for each transaction if the session is not its own.
  var settings: PostgresSettings {
    var values = [
      "statement_timeout": "\(statementTimeout.milliseconds)", "TimeZone": "UTC",
      // Statements, and especially migrations, are written for it; a database may have the opposite default.
      "standard_conforming_strings": "on",
    ]
    values["role"] = role
    return PostgresSettings(values)
  }

  public init(url: String) { self.url = url }
}
