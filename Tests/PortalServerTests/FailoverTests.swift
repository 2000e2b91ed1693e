import Foundation
import PortalTesting
import Postgres
import PostgresTesting
import Synchronization
import Testing

/// A standby takes over from a crashed primary under load: the promises of docs/FAILOVER.md.
@Suite("Failover", .serialized)
struct FailoverTests {
  private static let lease: Duration = .seconds(2)
  private static let revocationCount = isSoak ? 200 : 40

  @Test(
    """
    with a synchronous standby, no revocation is lost or late, every live key is found, and every verdict is counted
    """)
  func synchronous() async throws {
    try await withReplicatedDatabase { primary, standby, database in
      try await primary.administer("alter system set synchronous_standby_names = '*'", "select pg_reload_conf()")
      try await eventually("the standby is synchronous") {
        try await primary.ask(CountSynchronousStandbys()) == 1
      }
      try await withServers(3, on: database) { servers in
        try await RevocationWorld.with(servers, on: database) { world in
          let owner = try await world.makeOwner("ada", keyCount: Self.revocationCount + 20)
          let (revoked, staying) = (owner.keys[..<Self.revocationCount], Array(owner.keys[Self.revocationCount...]))
          let tally = try await CountedLoad.run(on: world.ports[0], staying, token: world.token) { load in
            try await TestConnection.with(world.ports) { connections in
              // The other keys are only for the load, so that all of their verdicts are known.
              for connection in connections { try await world.warm(Array(revoked), at: connection) }
              let done = Atomic(0)
              async let failover: Void = {
                try await eventually("some are revoked", within: .seconds(60)) { done.load(ordering: .relaxed) > 10 }
                try await primary.crash()
                try await standby.promote()
              }()
              var slowest = Duration.zero
              for key in revoked {
                let heard = try await world.revokeAndAsk(key, of: owner, at: connections[1], asking: connections)
                #expect(heard.problems.isEmpty, "\(heard.problems.prefix(3))")
                #expect(heard.acceptedAfter.allSatisfy { $0 <= Self.lease }, "accepted later than the lease")
                slowest = max(slowest, heard.slowest)
                done.add(1, ordering: .relaxed)
              }
              try await failover
              for connection in connections {
                let codes = try await connection.verify(revoked.map(\.secret), token: world.token).codes
                #expect(codes == revoked.map { _ in "REVOKED" })
              }
              print(
                "a failover to a synchronous standby: \(Self.revocationCount) revocations, the slowest refusal "
                  + "\(slowest.inMilliseconds) after its commit was known")
            }
            let before = load.tally.acknowledged
            try await eventually("it answers on the new primary") { load.tally.acknowledged > before }
          }
          try await expectStored(tally, staying, "a failover to a synchronous standby", servers, world)
        }
      }
    }
  }

  @Test("with an asynchronous standby that lags by seconds, every verdict is still counted")
  func asynchronous() async throws {
    try await withReplicatedDatabase { primary, standby, database in
      try await withServers(1, on: database) { servers in
        try await RevocationWorld.with(servers, on: database) { world in
          let keys = try await world.makeOwner("ada", keyCount: 50).keys
          var lostCount = 0
          let tally = try await CountedLoad.run(on: world.ports[0], keys, token: world.token) { load in
            try await eventually("some are counted") { try await world.verdictCount(of: keys) > 0 }
            try await standby.administer("alter system set primary_conninfo = ''", "select pg_reload_conf()")
            try await eventually("no standby follows the primary") { try await primary.ask(CountStandbys()) == 0 }
            let before = try await world.verdictCount(of: keys)
            try await eventually("verdicts are counted that the standby does not have") {
              lostCount = try await world.verdictCount(of: keys) - before
              return lostCount > 1_000
            }
            try await primary.crash()
            try await standby.promote()
            let acknowledged = load.tally.acknowledged
            try await eventually("it answers on the new primary") { load.tally.acknowledged > acknowledged }
          }
          print("the standby lacked \(lostCount) verdicts that the primary had")
          try await expectStored(tally, keys, "a failover to an asynchronous standby", servers, world)
        }
      }
    }
  }
}

extension OwnServer {
  /// Runs each statement separately.
  func administer(_ statements: String...) async throws {
    try await PostgresPool.with(PostgresConfiguration(url: try await url())) { pool in
      for statement in statements { try await pool.withConnection { try await $0.executeScript(statement) } }
    }
  }

  func ask<Statement: PostgresStatement>(_ statement: Statement) async throws -> Statement.Row? {
    try await PostgresPool.with(PostgresConfiguration(url: try await url())) { try await $0.query(statement).first }
  }
}

struct CountSynchronousStandbys: PostgresStatement {
  typealias Row = Int
  static let sql = "select count(*) from pg_stat_replication where sync_state = 'sync'"
}

private struct CountStandbys: PostgresStatement {
  typealias Row = Int
  static let sql = "select count(*) from pg_stat_replication"
}
