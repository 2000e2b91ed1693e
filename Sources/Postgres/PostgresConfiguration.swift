/// How to reach PostgreSQL, and the limits of doing so.
public struct PostgresConfiguration: Sendable {
  /// Any libpq connection string or URI (PostgreSQL manual 34.1.1). May hold a password: never printed.
  public var url: String
  /// Shown in `pg_stat_activity`, unless the connection string names another.
  public var applicationName = "latchkey"
  /// The role that every connection takes on (`SET ROLE`); nil for that of the login. The login must be a member of it.
  public var role: String?
  /// Connections that the pool holds at most.
  public var poolSizeMax = 10
  /// Callers that may wait for a connection; one more fails at once.
  public var waiterCountMax = 4_096
  /// How long a caller waits for a connection.
  public var leaseTimeout: Duration = .seconds(2)
  /// How long connecting may take for each host; libpq counts in whole seconds, two at least.
  public var connectTimeout: Duration = .seconds(5)
  /// How long the client waits for a batch of statements before it has the server cancel it.
  public var queryTimeout: Duration = .seconds(30)
  /// The server's own limit for one statement, `statement_timeout`.
  public var statementTimeout: Duration = .seconds(30)
  /// How long an idle connection is kept.
  public var idleTimeout: Duration = .seconds(300)
  /// How long a shutdown waits for connections in use.
  public var drainTimeout: Duration = .seconds(10)

  public init(url: String) { self.url = url }
}
