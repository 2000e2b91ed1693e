import Foundation
import JSON
import Portal
import PortalAPI
import PortalHTTP
import PortalTesting
import Postgres
import PostgresTesting
import Testing

/// Serialized, because each test has several servers.
@Suite("Wrong clocks, with real servers", .serialized)
struct ClockTests {
  /// Runs `body` with one server per machine, whose clocks it may set.
  private func withServers(
    _ machines: [FakeClock], on database: TestDatabase, _ body: (RevocationWorld) async throws -> Void
  ) async throws {
    let spool = FileManager.default.temporaryDirectory.appending(path: database.name).path
    defer { try? FileManager.default.removeItem(atPath: spool) }
    var servers: [RunningServer] = []
    defer { for server in servers { FakeClock.removeLeftovers(of: server.processID) } }
    do {
      for machine in machines {
        servers.append(try await RunningServer(on: database, spool: spool, clock: machine))
      }
      try await RevocationWorld.with(servers, on: database, body)
      for server in servers { _ = try await server.end(SIGKILL) }
    } catch {
      for server in servers { _ = try? await server.end(SIGKILL) }
      throw error
    }
  }

  private func warnings(_ server: RunningServer) async throws -> [String] {
    try JSONParser.parse(try await curl([server.url + "/readyz"]).output.utf8)["warnings"].array.compactMap(\.string)
      .filter { $0.contains("clock") }
  }

  private func metric(_ name: String, _ server: RunningServer) async throws -> Double? {
    try await curl([server.url + "/metrics"]).output.split(separator: "\n").first { $0.hasPrefix(name + " ") }
      .flatMap { Double($0.dropFirst(name.count + 1)) }
  }

  private func type(_ sql: String, _ world: RevocationWorld) async throws {
    try await world.pool.withConnection { try await $0.executeScript(sql) }
  }

  /// Sets one named limit on a key.
  private func limit(_ key: OwnedKey, _ limit: Int, seconds: Int, _ world: RevocationWorld) async throws {
    try await type(
      """
      update api_keys set limit_names = '{some}', limit_values = '{\(limit)}', limit_window_seconds = '{\(seconds)}'
      where id = '\(key.id)'
      """, world)
  }

  @Test(
    """
    servers on machines that are right, an hour ahead and an hour behind all refuse expired keys, accept others and \
    share their limits; setting a machine's clock while its server runs changes nothing
    """)
  func machines() async throws {
    try await withDatabase { database in
      let machines = [try FakeClock(), try FakeClock(aheadSeconds: 3_600), try FakeClock(aheadSeconds: -3_600)]
      try await withServers(machines, on: database) { world in
        let owner = try await world.makeOwner("ada", keyCount: 5)
        let (expired, expiring, shared, burst, idle) = (
          owner.keys[0], owner.keys[1], owner.keys[2], owner.keys[3], owner.keys[4]
        )
        try await type(
          """
          update api_keys set expires_at = now() - interval '1 second' where id = '\(expired.id)';
          update api_keys set expires_at = now() + interval '10 minutes' where id = '\(expiring.id)'
          """, world)
        try await limit(shared, 100, seconds: 3_600, world)
        try await limit(burst, 3, seconds: 1, world)
        try await TestConnection.with(world.ports) { connections in
          func codes(_ key: OwnedKey) async throws -> [String] {
            var codes: [String] = []
            for connection in connections {
              codes += try await connection.verify([key.secret], token: world.token).codes
            }
            return codes
          }
          #expect(try await codes(expired) == ["EXPIRED", "EXPIRED", "EXPIRED"])
          #expect(try await codes(expiring) == ["VALID", "VALID", "VALID"])
          var admittedCount = 0
          // In turn, so that no connection is idle long enough for its server to close it.
          for _ in 0..<150 {
            for connection in connections
            where try await connection.verify([shared.secret], token: world.token).codes == ["VALID"] {
              admittedCount += 1
            }
          }
          #expect((100...110).contains(admittedCount), "\(admittedCount)")
          #expect(try await warnings(world.servers[0]) == [])
          #expect(
            try await warnings(world.servers[1]) == ["the clock of this machine is 3600.0 s ahead of PostgreSQL's"])
          #expect(abs(try await metric("latchkey_clock_offset_seconds", world.servers[2]) ?? 0) - 3_600 < 5)

          // A clock that is set back must not refuse requests until it has caught up.
          for ahead in [-30, 86_400, 0, -86_400] {
            for _ in 0..<4 { _ = try await connections[0].verify([burst.secret], token: world.token) }
            try machines[0].set(aheadSeconds: ahead)
            try await eventually("the limit of a second admits again", within: .seconds(10)) {
              try await connections[0].verify([burst.secret], token: world.token).codes == ["VALID"]
            }
            #expect(try await codes(expired) == ["EXPIRED", "EXPIRED", "EXPIRED"])
            #expect(try await codes(expiring) == ["VALID", "VALID", "VALID"])
            #expect(try await codes(idle) == ["VALID", "VALID", "VALID"])
            #expect(try await warnings(world.servers[0]).count == (ahead == 0 ? 0 : 1))
          }
          for server in world.servers {
            #expect(try await metric("latchkey_database_clock_jumps_total", server) == 0)
          }
        }
      }
    }
  }

  @Test(
    """
    when PostgreSQL's clock is set, every server follows within a heartbeat; expired keys stay expired, and limits \
    continue
    """)
  func database() async throws {
    let clock = try FakeClock()
    let environment = ProcessInfo.processInfo.environment.merging(clock.environment) { $1 }
    try await withOwnDatabase(environment: environment) { _, database in
      try await withServers([try FakeClock(), try FakeClock()], on: database) { world in
        let owner = try await world.makeOwner("ada", keyCount: 3)
        let (soon, later, burst) = (owner.keys[0], owner.keys[1], owner.keys[2])
        try await type(
          """
          update api_keys set expires_at = now() + interval '30 minutes' where id = '\(soon.id)';
          update api_keys set expires_at = now() + interval '90 minutes' where id = '\(later.id)'
          """, world)
        try await limit(burst, 3, seconds: 1, world)
        try await TestConnection.with(world.ports) { connections in
          func code(_ key: OwnedKey, _ connection: TestConnection) async throws -> String? {
            try await connection.verify([key.secret], token: world.token).codes.first
          }
          for connection in connections {
            for key in [soon, later] { #expect(try await code(key, connection) == "VALID") }
          }
          try clock.set(aheadSeconds: 3_600)
          let setAt = ContinuousClock.now
          for connection in connections {
            try await eventually("the key has expired") { try await code(soon, connection) == "EXPIRED" }
          }
          print("PostgreSQL's clock, an hour ahead, was followed by two servers after \((.now - setAt).inMilliseconds)")
          for back in [0, -86_400, 1_200] {
            for connection in connections {
              for _ in 0..<4 { _ = try await code(burst, connection) }
            }
            try clock.set(aheadSeconds: back)
            for (server, connection) in zip(world.servers, connections) {
              try await eventually("the server follows the clock") {
                abs(-Double(back) - (try await metric("latchkey_clock_offset_seconds", server) ?? .nan)) < 5
              }
              try await eventually("the limit of a second admits again", within: .seconds(10)) {
                try await code(burst, connection) == "VALID"
              }
              #expect(try await code(soon, connection) == "EXPIRED")
              #expect(try await code(later, connection) == "VALID")
            }
          }
          for server in world.servers {
            #expect(try await metric("latchkey_database_clock_jumps_total", server) == 4)
          }
        }
      }
    }
  }
}
