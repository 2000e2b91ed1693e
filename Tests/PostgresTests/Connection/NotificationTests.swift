import Foundation
import Postgres
import PostgresTesting
import Testing

@Suite("Notifications")
struct NotificationTests {
  /// Notifications are per database, so tests on the same one use their own channels.
  private let channel = "Channel \"\(UUID())\""

  /// Runs `body` with a listening connection and its stream.
  private func withListener(
    _ body: (PostgresPool, PostgresConnection, AsyncThrowingStream<PostgresNotification, any Error>) async throws ->
      Void
  ) async throws {
    try await withPool { pool in
      let connection = try await pool.openConnection()
      try await body(pool, connection, try await connection.listen(to: [channel]))
      await connection.close()
    }
  }

  private func payloads(
    _ count: Int, of stream: AsyncThrowingStream<PostgresNotification, any Error>
  ) async throws -> [String] {
    var payloads: [String] = []
    for try await notification in stream.prefix(count) {
      #expect(notification.channel == channel)
      payloads.append(notification.payload)
    }
    return payloads
  }

  @Test("notifications arrive in commit order, whatever the channel's name")
  func order() async throws {
    try await withListener { pool, _, stream in
      for number in 1...20 { try await pool.execute(Notify(channel: channel, payload: "\(number)")) }
      #expect(try await payloads(20, of: stream) == (1...20).map(String.init))
    }
  }

  @Test("a notification that arrives during a query is delivered, and the query is not affected")
  func duringQuery() async throws {
    try await withListener { pool, connection, stream in
      let key = Int.random(in: 0...Int.max)
      try await pool.withConnection { holder in
        _ = try await holder.execute(LockAdvisory(key: key))
        let query = Task { try await connection.query(LockedEcho(key: key)) }
        try await pool.execute(Notify(channel: channel, payload: "meanwhile"))
        _ = try await holder.execute(UnlockAdvisory(key: key))
        #expect(try await query.value == ["done"])
      }
      #expect(try await payloads(1, of: stream) == ["meanwhile"])
      _ = try await connection.execute(UnlockAdvisory(key: key))
    }
  }

  private struct LockedEcho: PostgresStatement {
    typealias Row = String
    static let sql = "select 'done'::text from (select pg_advisory_lock($1)) as waiting"
    let key: Int
    func bind(_ bindings: inout PostgresBindings) { bindings.append(key) }
  }

  @Test("a notification of a rolled-back transaction never arrives")
  func rolledBack() async throws {
    struct Oops: Error {}
    try await withListener { pool, _, stream in
      await #expect(throws: Oops.self) {
        try await pool.withTransaction { connection in
          try await connection.execute(Notify(channel: channel, payload: "never"))
          throw Oops()
        }
      }
      _ = try await pool.withTransaction { try await $0.execute(Notify(channel: channel, payload: "committed")) }
      #expect(try await payloads(1, of: stream) == ["committed"])
    }
  }

  @Test("the stream ends with an error when the backend is terminated")
  func terminated() async throws {
    try await withListener { pool, connection, stream in
      let pid = try #require(try await connection.query(BackendPID()).first)
      _ = try await pool.query(TerminateBackend(pid: pid))
      let error = await #expect(throws: PostgresError.self) { for try await _ in stream {} }
      #expect(error?.code == .connectionLost)
      #expect(await connection.isClosed)
    }
  }

  @Test("the stream ends with an error when the connection is closed")
  func closed() async throws {
    try await withListener { _, connection, stream in
      await connection.close()
      let error = await #expect(throws: PostgresError.self) { for try await _ in stream {} }
      #expect(error?.code == .shutdown)
    }
  }

  private struct NotifyMany: PostgresStatement {
    static let sql = "select pg_notify($1, number::text) from generate_series(1, $2) as number"
    let channel: String
    let count: Int
    func bind(_ bindings: inout PostgresBindings) { bindings.append(channel, Int32(count)) }
  }

  @Test("more unread notifications than the buffer holds close the connection, so that none is lost silently")
  func overflow() async throws {
    try await withListener { pool, connection, stream in
      try await pool.execute(NotifyMany(channel: channel, count: 10_050))
      try await eventually("the connection was closed") { await connection.isClosed }
      var count = 0
      let error = await #expect(throws: PostgresError.self) { for try await _ in stream { count += 1 } }
      #expect(error?.code == .notificationOverflow)
      #expect(count == 10_000)
    }
  }

  @Test("a connection listens once, and may try again when listening failed")
  func listenTwice() async throws {
    try await withPool { pool in
      let connection = try await pool.openConnection()
      let tooLong = String(repeating: "x", count: 64)
      // PostgreSQL truncates longer names and refuses an empty one.
      let failed = await #expect(throws: PostgresError.self) { _ = try await connection.listen(to: [""]) }
      #expect(failed?.code == .server)
      _ = try await connection.listen(to: [channel, tooLong])
      let error = await #expect(throws: PostgresError.self) { _ = try await connection.listen(to: [channel]) }
      #expect(error?.code == .protocolViolation)
      #expect(try await connection.query(One()) == [1])
      await connection.close()
      let closed = await #expect(throws: PostgresError.self) {
        _ = try await pool.openConnection(url: "host=/nowhere").listen(to: ["a"])
      }
      #expect(closed?.code == .connectFailed)
    }
  }
}
