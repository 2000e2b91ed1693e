import Foundation
import Portal
import PortalAPI
import PortalApplication
import PortalHTTP
import PortalTesting
import Postgres
import PostgresTesting
import Synchronization
import Testing

@Suite("Revocation across instances", .serialized)
struct RevocationTests {
  private static let revocationCount = 1_000
  private static let lease: Duration = .seconds(2)

  @Test("1,000 keys revoked on one instance are refused by the other within the lease")
  func quiet() async throws {
    try await withTwoPortals { one, other in
      let delays = try await revokeAll(on: one, asking: other)
      report("quiet", delays)
    }
  }

  @Test("1,000 revoked keys are refused within the lease while the listeners' backends are terminated at random")
  func terminatedListeners() async throws {
    try await withTwoPortals { one, other in
      let isDone = Atomic<Bool>(false)
      async let terminations = terminateListeners(one.pool) { isDone.load(ordering: .relaxed) }
      let delays = try await revokeAll(on: one, asking: other)
      isDone.store(true, ordering: .relaxed)
      let count = try await terminations
      #expect(count > 5)
      report("with \(count) terminated listener backends", delays)
    }
  }

  @Test("1,000 keys of an account, revoked by one update, take one log row and one notification, and all refuse them")
  func account() async throws {
    try await withDatabase { database in
      try await withServers(3, on: database) { servers in
        try await RevocationWorld.with(servers, on: database) { world in
          let keys = try await world.makeOwner("ada", keyCount: 1_000).keys
          let before = try await world.pool.query(InvalidationKinds())
          let listener = try await world.pool.openConnection()
          let notifications = try await listener.listen(to: [InvalidationListener.channel])
          try await TestConnection.with(world.ports) { connections in
            for connection in connections { try await world.warm(keys, at: connection) }
            let start = ContinuousClock.now
            try await world.revokeByHand(keys)
            let committedAt = ContinuousClock.now
            for connection in connections {
              let heard = try await world.askUntilRefused(keys, at: connection)
              #expect(heard.problems.isEmpty)
              #expect(heard.accepted.joined().allSatisfy { $0 < committedAt + Self.lease })
            }
            print(
              "1,000 keys in one update: refused by 3 servers after \((ContinuousClock.now - start).inMilliseconds)")
          }
          #expect(try await world.pool.query(InvalidationKinds()) == before + ["account"])
          try await world.pool.execute(NotifyEnd())
          var count = 0
          for try await notification in notifications {
            if notification.payload == "end" { break }
            count += 1
          }
          #expect(count == 1)
          await listener.close()
        }
      }
    }
  }

  private func withTwoPortals(_ body: @escaping @Sendable (TestPortal, TestPortal) async throws -> Void) async throws {
    try await withDatabase { database in
      try await withPortal(on: database, configure: { $0.lease = Self.lease }) { one in
        try await withPortal(on: database, configure: { $0.lease = Self.lease }) { other in
          try await body(one, other)
        }
      }
    }
  }

  /// For each key: caches it on the other instance, revokes it, and asks there continuously until it is refused.
  /// Returns the times from just before the revocation is sent to the first refusal. No question sent later than the
  /// lease after the commit may be accepted.
  private func revokeAll(on one: TestPortal, asking other: TestPortal) async throws -> [Duration] {
    let customer = try await one.signUp()
    try await one.pool.withConnection { try await $0.executeScript("update plans set key_cap = 10000") }
    var delays: [Duration] = []
    for _ in 0..<Self.revocationCount {
      let now = try await one.services.keys.now()
      let key = try await one.pool.withTransaction(as: .account(customer.accountID)) {
        try await one.services.keys.create(
          KeySettings(name: "Key", scopes: ["a"], rateLimitPerMinute: 10_000), for: customer.accountID,
          by: Caller(actor: .command(name: "test")), at: now, on: $0)
      }
      let question = VerificationRequest(hash: key.secret.hash)
      #expect(try await other.services.verifier.verify(question).code == .valid)
      let start = ContinuousClock.now
      async let committed = revokeByHand(key.key.id, one.pool)
      let (accepted, refused) = try await askUntilRefused(question, at: other, begun: start)
      delays.append(refused - start)
      let end = try await committed + Self.lease
      #expect(accepted < end)
    }
    return delays
  }

  /// Returns the latest time at which the revocation was committed.
  private func revokeByHand(_ id: UUID, _ pool: PostgresPool) async throws -> ContinuousClock.Instant {
    #expect(try await pool.execute(RevokeByHand(id: id)) == 1)
    return .now
  }

  /// Returns when the last accepted question was sent, and when the first refusal arrived.
  private func askUntilRefused(
    _ question: VerificationRequest, at portal: TestPortal, begun start: ContinuousClock.Instant
  ) async throws -> (accepted: ContinuousClock.Instant, refused: ContinuousClock.Instant) {
    var accepted = start
    while ContinuousClock.now - start < .seconds(30) {
      let asked = ContinuousClock.now
      do {
        if try await portal.services.verifier.verify(question).code == .revoked { return (accepted, .now) }
        accepted = asked
      } catch let error as PostgresError where error.isUnavailable {
        // An unavailable database is not an acceptance.
      }
      try await Task.sleep(for: .microseconds(100))
    }
    throw TestSetupError(description: "a revoked key was accepted for 30 s")
  }

  private func terminateListeners(_ pool: PostgresPool, until isDone: () -> Bool) async throws -> Int {
    var count = 0
    while !isDone() {
      try await Task.sleep(for: .milliseconds(Int.random(in: 20...300)))
      count += try await pool.query(TerminateListeners()).count
    }
    return count
  }

  private func report(_ name: String, _ delays: [Duration]) {
    let sorted = delays.map { $0 / .milliseconds(1) }.sorted()
    func at(_ share: Double) -> String {
      String(format: "%.1f", sorted[min(sorted.count - 1, Int(share * Double(sorted.count)))])
    }
    print(
      "commit to first refusal, \(name), \(sorted.count) keys: p50 \(at(0.5)) ms, p90 \(at(0.9)) ms, "
        + "p99 \(at(0.99)) ms, max \(at(1)) ms")
  }
}

/// Revokes a key as in psql, without the code of the portal.
struct RevokeByHand: PostgresStatement {
  static let sql = "update api_keys set revoked_at = now() where id = $1"
  let id: UUID
  func bind(_ bindings: inout PostgresBindings) { bindings.append(id) }
}

struct TerminateListeners: PostgresStatement {
  typealias Row = Bool
  static let sql = """
    select pg_terminate_backend(pid) from pg_stat_activity
    where datname = current_database() and application_name = 'latchkey listener'
    """
}

/// The rows of the log, in order.
private struct InvalidationKinds: PostgresStatement {
  typealias Row = String
  static let sql = "select kind from invalidation_log order by seq"
}

private struct NotifyEnd: PostgresStatement {
  static let sql = "select pg_notify('latchkey_invalidation', 'end')"
}
