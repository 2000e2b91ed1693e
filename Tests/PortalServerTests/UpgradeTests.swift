import Foundation
import JSON
import Portal
import PortalAPI
import PortalHTTP
import PortalTesting
import Postgres
import PostgresTesting
import Synchronization
import Testing

/// The servers are the program that was built. A test migrates the database further, which makes them the older
/// version.
@Suite("Upgrades", .serialized)
struct UpgradeTests {
  /// How long a client reads a table that a migration alters.
  private static let readerDuration = Duration.seconds(8)
  /// How long a request may take. A migration waits for a lock for a second, and a look-up waits behind it once; a
  /// change may wait up to three times as long (docs/UPGRADES.md). The rest is for the load of the machine.
  private static let latencyMax = Duration.seconds(4)

  private func file(_ number: Int, _ sql: String) throws -> Migrations.File {
    try Migrations.File(name: String(format: "%04d_added_by_a_test", number), sql: sql)
  }

  @Test(
    "two servers answer all requests while migrations wait for locks; an older version restarts if it is compatible")
  func upgrade() async throws {
    let embedded = try Migrations.embedded().files
    let count = embedded.count
    let compatible = try file(
      count + 1,
      String(format: "-- compatible-from: %04d\n", count) + "alter table api_keys add column note text;")
    let incompatible = try file(count + 2, "alter table api_keys add column remark text;")

    try await withDatabase { database in
      try await withServers(2, on: database) { servers in
        try await RevocationWorld.with(servers, on: database) { world in
          let owner = try await world.makeOwner("ada", keyCount: 20_000)
          let load = UpgradeLoad(world, owner)

          let first = try await load.run(at: world.ports) {
            try await migrate(world.pool, embedded + [compatible], behindReaderFor: Self.readerDuration)
          }
          check(first, "compatible", wasBlocked: true)
          for server in servers { #expect(try await status(of: server) == 200) }
          let migrated = try await latchkey(["migrate"], environment: ["DATABASE_URL": database.url])
          #expect(migrated.status == 0)
          #expect(migrated.output == "The database is ahead by \(compatible.name).\n")

          let second = try await load.run(at: [world.ports[0]]) {
            #expect(try await servers[1].end() == 0)
            let restarted = try await RunningServer(on: database, spool: servers[1].log + ".spool")
            #expect(restarted.readLog().contains(compatible.name))
            let answer = try await TestConnection.with([restarted.port]) {
              try await $0[0].verify([owner.keys[0].secret], token: world.token)
            }
            #expect(answer.codes == ["VALID"])
            #expect(try await restarted.end() == 0)
          }
          check(second, "restart", wasBlocked: false)

          let third = try await load.run(at: [world.ports[0]]) {
            try await migrate(world.pool, embedded + [compatible, incompatible], behindReaderFor: .seconds(3))
          }
          check(third, "incompatible", wasBlocked: true)
          #expect(try await status(of: servers[0]) == 503)
          let reasons = try await curl([servers[0].url + "/readyz"]).json()["reasons"]
          #expect(reasons == .array([.string("migration \(incompatible.name) needs a newer version")]))
          let line = """
            latchkey: the database has \(incompatible.name), which needs a version with migration \
            \(String(format: "%04d", count + 2)) or a later one; this version ends at \(embedded[count - 1].name)

            """
          for command in ["serve", "migrate"] {
            let refused = try await latchkey(
              [command],
              environment: [
                "DATABASE_URL": database.url, "HTTP_PORT": "\(try freePort())",
                "USAGE_SPOOL": servers[0].log + ".refused",
              ])
            #expect(refused.status == 1)
            #expect(refused.errors == line)
          }
        }
      }
    }
  }

  private func status(of server: RunningServer) async throws -> Int? {
    Int(try await curl(["-o", "/dev/null", "-w", "%{http_code}", server.url + "/readyz"]).output)
  }

  /// Applies the files while a client stays in a transaction that has read `api_keys` for `duration`.
  private func migrate(
    _ pool: PostgresPool, _ files: [Migrations.File], behindReaderFor duration: Duration
  ) async throws {
    let reader = try await pool.openConnection()
    try await reader.executeScript("begin; select count(*) from api_keys")
    async let closed: Void = {
      try? await Task.sleep(for: duration)
      await reader.close()
    }()
    var waitCount = 0
    let applied = try await Migrations(files).apply(on: pool) { progress in
      if case .waitsForLock = progress { waitCount += 1 }
    }
    await closed
    #expect(applied == [files[files.count - 1].name])
    #expect(waitCount > 0)
  }

  private func check(_ tally: UpgradeLoad.Tally, _ name: String, wasBlocked: Bool) {
    print(
      """
      \(name): \(tally.lookUps.count) look-ups, the longest \(tally.lookUps.longest.inMilliseconds); \
      \(tally.changes.count) changes, the longest \(tally.changes.longest.inMilliseconds)
      """)
    #expect(tally.problems == [])
    for part in [tally.lookUps, tally.changes] {
      #expect(part.count > 2)
      #expect(part.longest < Self.latencyMax)
      // Otherwise there was no load while the migration waited for the lock.
      if wasBlocked { #expect(part.longest > .milliseconds(500)) }
    }
  }
}

/// Look-ups of keys that no server has in its cache, and changes of keys.
private struct UpgradeLoad: Sendable {
  struct Part: Sendable {
    var count = 0
    var longest = Duration.zero

    mutating func note(_ duration: Duration) {
      count += 1
      longest = max(longest, duration)
    }
  }

  struct Tally: Sendable {
    var lookUps = Part()
    var changes = Part()
    var problems: [String] = []
  }

  private let world: RevocationWorld
  private let owner: KeyOwner
  private let next = Counter()

  init(_ world: RevocationWorld, _ owner: KeyOwner) {
    self.world = world
    self.owner = owner
  }

  /// Numbers that select each key once.
  private final class Counter: Sendable {
    private let count = Atomic<Int>(0)
    func take() -> Int { count.add(1, ordering: .relaxed).oldValue }
  }

  private final class Running: Sendable {
    let tally = Mutex(Tally())
    let isOver = Atomic(false)
  }

  /// Runs `body` under the load, and returns the load's results.
  func run(at ports: [Int], _ body: () async throws -> Void) async throws -> Tally {
    let running = Running()
    try await withThrowingTaskGroup(of: Void.self) { group in
      for port in ports {
        for isChange in [false, false, true] {
          group.addTask { try await TestConnection.with([port]) { try await work(running, $0[0], isChange) } }
        }
      }
      do {
        defer { running.isOver.store(true, ordering: .relaxed) }
        try await body()
      }
      try await group.waitForAll()
    }
    return running.tally.withLock { $0 }
  }

  private func work(_ running: Running, _ connection: TestConnection, _ isChange: Bool) async throws {
    while !running.isOver.load(ordering: .relaxed) {
      let number = next.take()
      let key = owner.keys[number % owner.keys.count]
      let start = ContinuousClock.now
      let answer =
        isChange
        ? try await connection.send(
          "PATCH", "/v1/keys/\(key.id)".lowercased(), "{\"description\":\"\(number)\"}", token: owner.session)
        : try await connection.verify([key.secret], token: world.token)
      let duration = ContinuousClock.now - start
      let isRight = answer.status == 200 && (isChange || answer.codes == ["VALID"])
      running.tally.withLock { tally in
        if isChange { tally.changes.note(duration) } else { tally.lookUps.note(duration) }
        if !isRight { tally.problems.append("answered \(answer)") }
      }
      try await Task.sleep(for: .milliseconds(5))
    }
  }
}
