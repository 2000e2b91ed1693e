/// The owner of a connection's session, on which it depends whether settings, prepared statements and `listen` outlast
/// a transaction.
public enum PostgresSession: Sendable {
  /// The connection itself: there is no pooler in between.
  case own
  /// There is a pooler in between, which keeps a server for each client.
  case kept
  /// There is a pooler in between that gives a client another server for another transaction, or that has a single
  /// server, so that its behavior cannot be detected.
  case shared
}

private struct ServerProcess: PostgresStatement {
  typealias Row = Int
  static let sql = "select pg_backend_pid()"
}

extension PostgresPool {
  /// A pooler with a single server keeps the second of two clients waiting as long as the first uses it.
  private static let trialTimeout: Duration = .seconds(2)

  /// Finds out how a pooler in between treats sessions, with two connections outside the pool; to another server if
  /// `url` is given. Throws `.protocolViolation` when statements are to be prepared and the pooler loses them.
  public func trySession(url: String? = nil) async throws(PostgresError) -> PostgresSession {
    let one = try await openConnection(url: url, deadline: Self.trialTimeout)
    guard one.isPooled else {
      await one.close()
      return .own
    }
    var connections = [one]
    let isKept: Result<Bool, PostgresError>
    do throws(PostgresError) {
      connections.append(try await openConnection(url: url, deadline: Self.trialTimeout))
      isKept = .success(try await Self.keepServers(connections))
    } catch {
      isKept = .failure(error)
    }
    for connection in connections { await connection.close() }
    do throws(PostgresError) {
      return try isKept.get() ? .kept : .shared
    } catch {
      switch (error.code, error.sqlState) {
      case (.timeout, _): return .shared
      // invalid_sql_statement_name, duplicate_prepared_statement
      case (_, "26000"), (_, "42P05"):
        throw PostgresError(
          .protocolViolation,
          "DATABASE_PREPARE is always, but the pooler loses prepared statements: \(error.message)")
      default: throw error
      }
    }
  }

  /// Whether each of two connections has the same server throughout. Both hold a server at the same time and release it
  /// in the same order, so that a pooler that reassigns servers swaps them: in the second round if it prefers the one
  /// returned last, in the third if it takes turns.
  private static func keepServers(_ connections: [PostgresConnection]) async throws(PostgresError) -> Bool {
    var servers: [Set<Int>] = connections.map { _ in [] }
    for order in [[0, 1], [0, 1], [1, 0]] {
      for index in order {
        connections[index].open(with: .init(begin: "begin", settings: .none))
        servers[index].formUnion(try await connections[index].query(ServerProcess()))
      }
      for connection in connections { try await connection.commit() }
    }
    return servers.allSatisfy { $0.count == 1 }
  }
}
