import Foundation
import PortalAPI
import PortalTesting
import Postgres
import PostgresTesting
import Synchronization
import Testing

/// Gateways that spend credits of one key at several servers, and record what was admitted.
private final class CreditLoad: Sendable {
  struct Tally: Sendable {
    /// The cost of the answers that arrived with `VALID`.
    var admitted = 0
    /// The cost of the questions whose answers never arrived.
    var unanswered = 0
    var refusedCount = 0
    var unavailableCount = 0
    var problems: [String] = []
  }

  static let clientCount = 50
  static let costRange = 1...9

  private let key: String
  private let token: String
  private let state = Mutex(Tally())

  init(_ key: String, token: String) {
    self.key = key
    self.token = token
  }

  var tally: Tally { state.withLock { $0 } }

  /// Fifty clients spend until not even one credit is left. Meanwhile, `body` runs.
  func run(on ports: [Int], _ body: () async throws -> Void = {}) async throws {
    try await withThrowingTaskGroup(of: Void.self) { group in
      for number in 0..<Self.clientCount { group.addTask { await self.spend(ports[number % ports.count]) } }
      try await body()
    }
  }

  private func spend(_ port: Int) async {
    while true {
      do {
        try await TestConnection.with([port]) { connections in
          var isFirst = true
          while true {
            let isAdmitted = try await ask(connections[0], .random(in: Self.costRange), isFirst: isFirst)
            isFirst = false
            if !isAdmitted, try await !ask(connections[0], 1) { return }
          }
        }
        return
      } catch {
        // Connections are refused until the server is back.
        try? await Task.sleep(for: .milliseconds(20))
      }
    }
  }

  /// Whether it was admitted. Asks again while the server is unavailable. The first question of a connection fails if
  /// there is no server.
  func ask(_ connection: TestConnection, _ cost: Int, isFirst: Bool = false) async throws -> Bool {
    while true {
      let answer: TestConnection.Answer
      do {
        answer = try await connection.send(
          "POST", "/v1/verify", #"{"key":"\#(key)","credits":{"cost":\#(cost)}}"#, token: token)
      } catch {
        if !isFirst { state.withLock { $0.unanswered += cost } }
        throw error
      }
      switch (answer.status, answer.codes.first) {
      case (200, "VALID"):
        state.withLock { $0.admitted += cost }
        return true
      case (200, "USAGE_EXCEEDED"):
        state.withLock { $0.refusedCount += 1 }
        return false
      case (503, _):
        state.withLock { $0.unavailableCount += 1 }
        try await Task.sleep(for: .milliseconds(50))
      default:
        state.withLock { $0.problems.append("answered \(answer)") }
        return false
      }
    }
  }
}

/// Serialized, because each test has three servers and fifty clients.
@Suite("Credits across instances", .serialized)
struct CreditsTests {
  private static let amount = 10_000

  /// A server on a spool of its own, which it can be started on again.
  private struct Place {
    let database: TestDatabase
    let spool: String
    let port: Int

    func start() async throws -> RunningServer {
      try await RunningServer(on: database, spool: spool, port: port)
    }
  }

  /// Runs `body` with three places, their servers, and a load on a key that all of them know.
  private func withPlaces(
    _ body: ([Place], inout [RunningServer], CreditLoad, RevocationWorld) async throws -> Void
  ) async throws {
    try await withDatabase { database in
      let places = try (0..<3).map { number in
        Place(database: database, spool: "/tmp/latchkey-\(database.name)-\(number)", port: try freePort())
      }
      defer { for place in places { try? FileManager.default.removeItem(atPath: place.spool) } }
      var servers: [RunningServer] = []
      do {
        for place in places { servers.append(try await place.start()) }
        try await RevocationWorld.with(servers, on: database) { world in
          let key = try await world.makeOwner("ada", keyCount: 1).keys[0]
          try await world.pool.withConnection { connection in
            try await connection.executeScript(
              """
              insert into credits (id, account_id, available)
                select gen_random_uuid(), account_id, \(Self.amount) from api_keys where id = '\(key.id)';
              update api_keys set credits_id = (select id from credits), rate_limit_per_minute = null
                where id = '\(key.id)'
              """)
          }
          let load = CreditLoad(key.secret, token: world.token)
          try await TestConnection.with(world.ports) { connections in
            for connection in connections { try await world.warm([key], at: connection) }
          }
          try await body(places, &servers, load, world)
        }
        for server in servers { _ = try await server.end(SIGKILL) }
      } catch {
        for server in servers { _ = try? await server.end(SIGKILL) }
        throw error
      }
    }
  }

  /// What PostgreSQL knows to be left, once everybody has settled.
  private func balance(_ world: RevocationWorld) async throws -> Int {
    try await world.pool.query(CreditsLeft()).first ?? -1
  }

  /// Warming the caches has taken the default cost once at each server, or more often.
  private func spentBefore(_ world: RevocationWorld) async throws -> Int {
    var spent = -1
    try await eventually("all servers have settled") {
      let last = spent
      try await Task.sleep(for: .milliseconds(1_500))
      spent = Self.amount - (try await balance(world))
      return spent == last && spent >= 3
    }
    return spent
  }

  @Test("fifty clients use up a bucket on three servers, to the last one, and then all three refuse")
  func lastOne() async throws {
    try await withPlaces { _, _, load, world in
      let before = try await spentBefore(world)
      try await load.run(on: world.ports)
      #expect(load.tally.problems.isEmpty, "\(load.tally.problems.prefix(3))")
      #expect(load.tally.admitted == Self.amount - before && load.tally.unanswered == 0)
      try await TestConnection.with(world.ports) { connections in
        for connection in connections {
          let isAdmitted = try await load.ask(connection, 1)
          #expect(!isAdmitted)
        }
      }
      try await eventually("all servers have settled") { try await balance(world) == 0 }
      print(
        "credits: \(load.tally.admitted) admitted, \(load.tally.refusedCount) refusals, "
          + "\(load.tally.unavailableCount) answers of 503")
    }
  }

  @Test("a server that is killed and started again on its spool sells nothing twice and loses nothing")
  func killed() async throws {
    try await withPlaces { places, servers, load, world in
      let before = try await spentBefore(world)
      try await load.run(on: world.ports) {
        try await eventually("a third is spent") { load.tally.admitted > Self.amount / 3 }
        _ = try await servers[1].end(SIGKILL)
        servers[1] = try await places[1].start()
      }
      // What the killed server had is in its files. Whoever was refused before they were adopted asks again.
      try await eventually("the files were adopted, and all is spent and settled", within: .seconds(60)) {
        try await load.run(on: world.ports)
        try await Task.sleep(for: .milliseconds(500))
        return try await balance(world) == 0
      }
      let tally = load.tally
      print(
        "credits: \(tally.admitted) admitted, \(tally.unanswered) unanswered at the kill, \(tally.refusedCount) "
          + "refusals, \(tally.unavailableCount) answers of 503")
      #expect(tally.problems.isEmpty, "\(tally.problems.prefix(3))")
      // A request that was not answered may have been admitted.
      #expect(tally.admitted <= Self.amount - before)
      #expect(tally.admitted + tally.unanswered >= Self.amount - before)
      #expect(try await world.pool.query(CreditsOversold()).first == 0)
    }
  }
}

private struct CreditsLeft: PostgresStatement {
  typealias Row = Int
  static let sql = """
    select (bucket.available + coalesce(sum(lease.granted - lease.settled), 0))::bigint
    from credits bucket left join credit_leases lease on lease.credits_id = bucket.id group by bucket.id
    """
}

private struct CreditsOversold: PostgresStatement {
  typealias Row = Int
  static let sql = "select oversold from credits"
}
