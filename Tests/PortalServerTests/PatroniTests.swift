import Foundation
import PortalTesting
import Postgres
import PostgresTesting
import Testing

/// Patroni changes the primary under load, after a crash and in a planned switchover: the promises of docs/FAILOVER.md.
@Suite("Patroni", .serialized)
struct PatroniTests {
  /// More keys than are revoked during the test.
  private static let changingCount = 4_000
  private static let stayingCount = 50
  /// How long anything may take besides the time that Patroni's lock is held.
  private static let margin = muchTooLong
  /// How long recovery, `pg_rewind` and catching up may take on a busy machine.
  private static let repairMax: Duration = .seconds(180)

  @Test(
    """
    in Patroni's synchronous mode, a crash of the primary and then a switchover lose no revocation, key, verdict or \
    outcome that was acknowledged, and the servers find the new primary
    """, arguments: isSoak ? [false, true] : [false])
  func failovers(isStrict: Bool) async throws {
    let what = isStrict ? "under Patroni, strictly synchronous" : "under Patroni"
    try await PatroniCluster.with(isStrict: isStrict) { cluster in
      let database = try await cluster.makeDatabase()
      try await withServers(2, on: database) { servers in
        try await RevocationWorld.with(servers, on: database) { world in
          try await world.pool.withConnection { try await $0.executeScript("update plans set key_cap = 10000") }
          let owner = try await world.makeOwner("ada", keyCount: Self.changingCount + Self.stayingCount)
          let changing = KeyOwner(session: owner.session, keys: Array(owner.keys[..<Self.changingCount]))
          let staying = Array(owner.keys[Self.changingCount...])
          var changes = ChangeLoad.Tally()
          let verdicts = try await CountedLoad.run(
            on: world.ports[0], staying, token: world.token, pause: .milliseconds(100)
          ) { load in
            changes = try await ChangeLoad.run(on: world, changing) { changes in
              _ = try await changes.longestSilence()
              try await crash(cluster, servers, changes, what)
              try await switchOver(cluster, servers, changes, what)
            }
            let before = load.tally.acknowledged
            try await eventually("it answers on the new primary") { load.tally.acknowledged > before }
            try await expectKept(changes, world)
          }
          try await expectStored(verdicts, staying, what, servers, world)
          let stored = try await world.outcomeCount(of: changing.keys)
          print(
            "\(what): \(changes.revoked.count) revocations, \(changes.lateCount) acceptances later than the lease, the "
              + "latest \(changes.acceptedLatest.inMilliseconds) after its commit was known; \(changes.made.count) "
              + "keys made, all found; \(changes.outcomeCount) outcomes acknowledged, \(stored) stored, difference "
              + "\(stored - changes.outcomeCount)")
          #expect(changes.lateCount == 0 && changes.problems.isEmpty, "\(changes.problems.prefix(3))")
          #expect(stored == changes.outcomeCount)
        }
      }
    }
  }

  /// The primary vanishes, the standby takes over when the lock has expired, and the old primary becomes its standby.
  private func crash(
    _ cluster: PatroniCluster, _ servers: [RunningServer], _ changes: ChangeLoad, _ what: String
  ) async throws {
    let (old, new) = (cluster.members[0], cluster.members[1])
    let start = ContinuousClock.now
    try await cluster.crash(old)
    async let ready = readyAgain(servers, since: start)
    try await cluster.wait(for: new, as: .primary, within: PatroniCluster.ttl + Self.margin)
    let promoted = ContinuousClock.now - start
    let readyAfter = try await ready
    try cluster.start(old)
    try await cluster.wait(for: old, as: .synchronous, within: Self.repairMax)
    let repaired = ContinuousClock.now - start
    let silence = try await changes.longestSilence()
    print(
      "\(what), a crash of the primary: the standby promoted after \(promoted.inMilliseconds), the servers ready again "
        + "after \(readyAfter.inMilliseconds), no change acknowledged for \(silence.inMilliseconds), the old primary a "
        + "synchronous standby after \(repaired.inMilliseconds)")
    #expect(readyAfter < PatroniCluster.ttl + Self.margin)
  }

  /// The two members switch roles again, in a planned switchover.
  private func switchOver(
    _ cluster: PatroniCluster, _ servers: [RunningServer], _ changes: ChangeLoad, _ what: String
  ) async throws {
    let start = ContinuousClock.now
    try await cluster.switchOver()
    try await cluster.wait(for: cluster.members[0], as: .primary, within: Self.margin)
    for server in servers { try await waitUntilReady(server) }
    let readyAfter = ContinuousClock.now - start
    let silence = try await changes.longestSilence()
    print(
      "\(what), a switchover: the servers ready after \(readyAfter.inMilliseconds), no change acknowledged for "
        + silence.inMilliseconds)
  }

  /// Returns how long after `start` the last server is ready again. Each first notices that it is not.
  private func readyAgain(_ servers: [RunningServer], since start: ContinuousClock.Instant) async throws -> Duration {
    for server in servers {
      try await eventually("the server has noticed that the primary is gone") { try await !server.isReady() }
    }
    for server in servers { try await waitUntilReady(server) }
    return .now - start
  }

  private func waitUntilReady(_ server: RunningServer) async throws {
    try await eventually("the server is ready again", within: PatroniCluster.ttl + Self.margin) {
      if try await server.isReady() { return true }
      try await Task.sleep(for: .milliseconds(100))
      return false
    }
  }

  /// Expects that each server knows each key in the state after the last acknowledged change.
  private func expectKept(_ changes: ChangeLoad.Tally, _ world: RevocationWorld) async throws {
    for (keys, code) in [(changes.revoked, "REVOKED"), (changes.made, "VALID")] {
      #expect(!keys.isEmpty)
      try await TestConnection.with(world.ports) { connections in
        for connection in connections {
          for start in stride(from: 0, to: keys.count, by: 500) {
            let some = keys[start..<min(start + 500, keys.count)].map(\.secret)
            let codes = try await connection.verify(some, token: world.token).codes
            #expect(codes == some.map { _ in code })
          }
        }
      }
    }
  }
}
