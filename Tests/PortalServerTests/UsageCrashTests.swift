import Foundation
import PortalTesting
import Postgres
import PostgresTesting
import Testing

/// How long and how often: briefly in `make test`, and in full with `make soak`.
private struct Extent {
  var killCount: Int { isSoak ? 100 : 6 }
  var stopCount: Int { isSoak ? 20 : 3 }
  var outage: Duration { isSoak ? .seconds(600) : .seconds(5) }
  /// Verdicts per second that the load must reach in `make soak`, so that there is something to lose.
  let fullRateMin = 5_000.0
}

/// Serialized, because each test has its own PostgreSQL and load.
@Suite("Counters when everything fails", .serialized)
struct UsageCrashTests {
  private let extent = Extent()

  /// A port and a spool, which each server takes over from the previous one.
  private struct Place {
    let database: TestDatabase
    let spool: String
    let port: Int

    /// By default, counters are not kept after they are written, so that each file in the spool has unwritten ones.
    func start(keepSeconds: Int = 0) async throws -> RunningServer {
      try await RunningServer(
        on: database, spool: spool, port: port, environment: ["USAGE_SPOOL_KEEP_SECONDS": "\(keepSeconds)"])
    }

    /// The bytes of all files in the spool.
    var spoolByteCount: Int {
      let paths = FileManager.default.enumerator(atPath: spool)?.compactMap { $0 as? String } ?? []
      return paths.filter { $0.hasSuffix(".counters") }.reduce(0) { sum, path in
        sum + ((try? FileManager.default.attributesOfItem(atPath: spool + "/" + path)[.size] as? Int) ?? 0)
      }
    }
  }

  private func withPlace(
    _ body: (OwnServer, Place, KeyOwner, RevocationWorld) async throws -> Void
  ) async throws {
    try await withOwnDatabase { server, database in
      let place = Place(database: database, spool: "/tmp/latchkey-\(database.name)", port: try freePort())
      defer { try? FileManager.default.removeItem(atPath: place.spool) }
      let first = try await place.start()
      try await RevocationWorld.with([first], on: database) { world in
        let owner = try await world.makeOwner("ada", keyCount: 500)
        #expect(try await first.end() == 0)
        try await body(server, place, owner, world)
      }
    }
  }

  private func counted(_ world: RevocationWorld) async throws -> Int {
    try await world.pool.query(SumVerdicts()).first ?? 0
  }

  @Test("a server that is killed repeatedly under load loses no verdict that it gave, and counts none twice")
  func kills() async throws {
    try await withPlace { _, place, owner, world in
      let begun = ContinuousClock.now
      var server = try await place.start()
      let tally = try await CountedLoad.run(on: place.port, owner.keys, token: world.token) { load in
        for _ in 0..<extent.killCount {
          let before = load.tally.acknowledged
          try await eventually("it answers") { load.tally.acknowledged > before }
          try await Task.sleep(for: .milliseconds(Int.random(in: 0...1_500)))
          _ = try await server.end(SIGKILL)
          server = try await place.start()
        }
      }
      #expect(try await server.end() == 0)
      let rate = Double(tally.acknowledged) / ((ContinuousClock.now - begun) / .seconds(1))
      let stored = try await counted(world)
      let inFlightMax = extent.killCount * CountedLoad.inFlightMax
      print(
        "\(extent.killCount) kills: \(tally.acknowledged) verdicts acknowledged (\(Int(rate)) a second, starts "
          + "included), \(stored) stored, "
          + "difference \(stored - tally.acknowledged) of at most \(inFlightMax) in flight at a kill")
      #expect(tally.problems.isEmpty, "\(tally.problems.prefix(3))")
      #expect((0...inFlightMax).contains(stored - tally.acknowledged))
      #expect(tally.acknowledged > 0 && tally.failureCount >= extent.killCount)
      #expect(!isSoak || rate > extent.fullRateMin)
      #expect(place.spoolByteCount == 0, "no file is left")
    }
  }

  @Test("repeated immediate stops of PostgreSQL lose no verdict and double none")
  func stops() async throws {
    try await withPlace { postgres, place, owner, world in
      let server = try await place.start()
      let tally = try await CountedLoad.run(on: place.port, owner.keys, token: world.token) { load in
        for _ in 0..<extent.stopCount {
          let before = load.tally.acknowledged
          try await eventually("it answers") { load.tally.acknowledged > before }
          try await Task.sleep(for: .milliseconds(Int.random(in: 500...2_500)))
          try await postgres.crash()
          try await postgres.start()
        }
      }
      #expect(try await server.end() == 0)
      let stored = try await counted(world)
      print(
        "\(extent.stopCount) immediate stops of PostgreSQL: \(tally.acknowledged) verdicts acknowledged, \(stored) "
          + "stored, difference \(stored - tally.acknowledged); \(tally.unavailableCount) answers of 503")
      #expect(tally.problems.isEmpty, "\(tally.problems.prefix(3))")
      #expect(stored == tally.acknowledged && tally.failureCount == 0)
    }
  }

  @Test("an outage of PostgreSQL loses no verdict and doubles none, and the spool stays small")
  func outage() async throws {
    try await withPlace { postgres, place, owner, world in
      var largest = 0
      let server = try await place.start()
      let tally = try await CountedLoad.run(on: place.port, owner.keys, token: world.token) { load in
        try await eventually("it answers") { load.tally.acknowledged > 0 }
        try await postgres.crash()
        let end = ContinuousClock.now + extent.outage
        while .now < end {
          largest = max(largest, place.spoolByteCount)
          try await Task.sleep(for: .milliseconds(200))
        }
        try await postgres.start()
        let before = load.tally.acknowledged
        try await eventually("it answers again", within: .seconds(60)) { load.tally.acknowledged > before }
      }
      #expect(try await server.end() == 0)
      let stored = try await counted(world)
      print(
        "an outage of \(extent.outage): \(tally.acknowledged) verdicts acknowledged, \(stored) stored, difference "
          + "\(stored - tally.acknowledged); the spool had \(largest / 1_024) KiB at most; "
          + "\(tally.unavailableCount) answers of 503")
      #expect(tally.problems.isEmpty, "\(tally.problems.prefix(3))")
      #expect(stored == tally.acknowledged && tally.failureCount == 0)
      #expect((1..<16 << 20).contains(largest))
    }
  }
}

private struct SumVerdicts: PostgresStatement {
  typealias Row = Int
  static let sql = "select coalesce(sum(verified_count + denied_count), 0)::bigint from key_usage"
}
