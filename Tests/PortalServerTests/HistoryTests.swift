import Foundation
import JSON
import PortalAPI
import PortalHTTP
import PortalTesting
import Postgres
import PostgresTesting
import Testing

/// The database continues from an earlier state, while three servers have cached what was lost. One of them is
/// suspended meanwhile, so that it has not even noticed that the database was away.
@Suite("A database that loses commits", .serialized)
struct HistoryTests {
  private static let lease: Duration = .seconds(2)
  /// The number of commits that are lost.
  private static let lostCount = 8
  /// Keys revoked on the remaining database before a listener is back: more than were lost, under the same numbers.
  private static let revokedCount = 18

  @Test("after a failover that loses commits, all servers refuse keys revoked on the new primary within the lease")
  func failover() async throws {
    try await withReplicatedDatabase { primary, standby, database in
      try await withServers(3, on: database) { servers in
        try await RevocationWorld.with(servers, on: database) { world in
          try await goBack("a failover", servers, world) { loss in
            try await waitForReplay(of: primary, standby)
            try await cutOff(standby, from: primary)
            try await loss()
            try await primary.crash()
            try await standby.promote()
          }
        }
      }
    }
  }

  @Test("after a dump is restored in place of the database, all servers refuse keys revoked there within the lease")
  func dump() async throws {
    try await withOwnDatabase { server, database in
      try await withServers(3, on: database) { servers in
        try await RevocationWorld.with(servers, on: database) { world in
          try await goBack("a restored dump", servers, world) { loss in
            let file = FileManager.default.temporaryDirectory.appending(path: "\(database.name).dump").path
            defer { try? FileManager.default.removeItem(atPath: file) }
            try await program("pg_dump", "--dbname", database.url, "--format", "custom", "--file", file)
            try await loss()
            try await PostgresPool.with(PostgresConfiguration(url: try await server.url())) { pool in
              for statement in ["drop database \(database.name) with (force)", "create database \(database.name)"] {
                try await pool.withConnection { try await $0.executeScript(statement) }
              }
            }
            try await program("pg_restore", "--exit-on-error", "--dbname", database.url, file)
          }
        }
      }
    }
  }

  @Test("after a cold backup is restored, all servers refuse keys revoked there within the lease")
  func coldBackup() async throws {
    try await withOwnDatabase { server, database in
      try await withServers(3, on: database) { servers in
        try await RevocationWorld.with(servers, on: database) { world in
          try await goBack("a cold backup", servers, world) { loss in try await server.losing(loss) }
        }
      }
    }
  }

  /// Right after a restart, the contents of a cache are most valuable.
  @Test("a restart of PostgreSQL and a trimmed log leave the caches as they are")
  func kept() async throws {
    try await withOwnDatabase { server, database in
      try await withServers(2, on: database) { servers in
        try await RevocationWorld.with(servers, on: database) { world in
          let keys = try await world.makeOwner("ada", keyCount: 21).keys
          try await TestConnection.with(world.ports) { connections in
            for connection in connections { try await world.warm(keys, at: connection) }
            // What is trimmed before it is applied would be a gap.
            let head = Double(try #require(try await world.pool.query(HeadSeq()).first))
            try await eventually("the servers have applied the log") {
              for server in servers where try await metric("latchkey_listener_applied_seq", of: server) < head {
                return false
              }
              return true
            }
            for crash in [false, true] {
              if crash {
                try await server.crash()
                try await server.start()
              } else {
                try await server.restart()
              }
              try await eventually("the log can be trimmed") {
                (try? await world.pool.withConnection {
                  try await $0.executeScript("delete from invalidation_log")
                }) != nil
              }
            }
            try await world.pool.withConnection { try await $0.executeScript("delete from invalidation_log") }
            try await world.revokeByHand([keys[20]])
            for (server, connection) in zip(servers, connections) {
              let heard = try await world.askUntilRefused([keys[20]], at: connection)
              #expect(heard.problems.isEmpty)
              let before = try await misses(server)
              #expect(
                try await connection.verify(keys[..<20].map(\.secret), token: world.token).codes
                  == Array(repeating: "VALID", count: 20))
              #expect(try await misses(server) == before)
              #expect(try await metric("latchkey_history_breaks_total", of: server) == 0)
            }
          }
        }
      }
    }
  }

  @Test("a revocation with synchronous_commit = off is not lost when its backend is killed right after it")
  func killedBackend() async throws {
    try await withOwnDatabase { server, database in
      try await PostgresPool.with(PostgresConfiguration(url: try await server.url())) { pool in
        // So that nothing is written to the disk in the background.
        try await pool.withConnection { try await $0.executeScript("alter system set wal_writer_delay = '10s'") }
      }
      try await server.restart()
      try await withServers(1, on: database) { servers in
        try await RevocationWorld.with(servers, on: database) { world in
          let keys = try await world.makeOwner("ada", keyCount: 5).keys
          try await TestConnection.with(world.ports) { connections in
            for key in keys {
              try await eventually("the key is accepted") {
                try await connections[0].verify([key.secret], token: world.token).codes == ["VALID"]
              }
              // The previous round has ended all backends, and PostgreSQL accepts no connection until it has recovered.
              try await eventually("the database is back") {
                (try? await world.pool.query(CountRevoked(ids: [key.id])).first) != nil
              }
              let victim = try await world.pool.withConnection { connection in
                try await connection.executeScript(
                  "set synchronous_commit = off; update api_keys set revoked_at = now() where id = '\(key.id)'")
                return try await connection.query(OwnBackend())[0]
              }
              kill(victim, SIGKILL)
              let heard = try await world.askUntilRefused([key], at: connections[0])
              #expect(heard.problems.isEmpty)
            }
            try await eventually("the database is back") {
              (try? await world.pool.query(CountRevoked(ids: keys.map(\.id))).first) == keys.count
            }
          }
        }
      }
    }
  }

  @Test("latchkey epoch new makes every server drop its caches, and reports how many have")
  func epoch() async throws {
    try await withDatabase { database in
      try await withServers(2, on: database) { servers in
        try await RevocationWorld.with(servers, on: database) { world in
          let keys = try await world.makeOwner("ada", keyCount: 2).keys
          try await TestConnection.with(world.ports) { connections in
            for connection in connections { try await world.warm(keys, at: connection) }
            // As a partial restore does.
            try await world.pool.withConnection {
              try await $0.executeScript(
                """
                begin; set local session_replication_role = replica;
                update api_keys set revoked_at = now() where id = '\(keys[0].id)'; commit
                """)
            }
            for connection in connections {
              #expect(try await connection.verify([keys[0].secret], token: world.token).codes == ["VALID"])
            }
            let result = try await latchkey(
              ["epoch", "new", "--reason", "a table was restored", "--json"],
              environment: ["DATABASE_URL": database.url])
            #expect(result.status == 0, "\(result)")
            #expect(try result.json()["propagation"]["acknowledged"].integer == 2)
            #expect(try result.json()["propagation"]["instances"].integer == 2)
            for connection in connections {
              #expect(
                try await connection.verify(keys.map(\.secret), token: world.token).codes == ["REVOKED", "VALID"])
            }
            try await world.pool.withConnection {
              try await $0.executeScript(
                """
                begin; set local session_replication_role = replica;
                update api_keys set revoked_at = now() where id = '\(keys[1].id)'; commit;
                update invalidation_head set epoch = gen_random_uuid()
                """)
            }
            for connection in connections {
              let heard = try await world.askUntilRefused([keys[1]], at: connection)
              #expect(heard.problems.isEmpty)
            }
          }
        }
      }
    }
  }

  // MARK: Losing commits

  /// Caches keys on all servers, makes changes that are lost (`goBack` runs its argument to make them), immediately
  /// makes others under the same numbers, and asks all servers.
  private func goBack(
    _ what: String, _ servers: [RunningServer], _ world: RevocationWorld,
    _ goBack: (_ loss: () async throws -> Void) async throws -> Void
  ) async throws {
    let owner = try await world.makeOwner("ada", keyCount: Self.lostCount + Self.revokedCount + 1)
    let lost = Array(owner.keys[..<Self.lostCount])
    let revoked = Array(owner.keys[Self.lostCount..<(Self.lostCount + Self.revokedCount)])
    let staying = owner.keys[Self.lostCount + Self.revokedCount]
    try await TestConnection.with(world.ports) { connections in
      for connection in connections { try await world.warm(lost + revoked + [staying], at: connection) }
      let suspended = servers[2]
      defer { suspended.send(SIGCONT) }
      var made = ""
      try await goBack {
        for key in lost { try await world.revokeByHand([key]) }
        for connection in connections { _ = try await world.askUntilRefused(lost, at: connection) }
        let answer = try await connections[0].send(
          "POST", "/v1/keys", #"{"name":"Lost","scopes":["a"]}"#, token: owner.session)
        made = try #require(try answer.json()["key"].string, "\(answer)")
        for connection in connections {
          #expect(try await connection.verify([made], token: world.token).codes == ["VALID"])
        }
        // The servers may have refused because they asked the database, but their listeners must have the changes.
        let head = Double(try await world.pool.query(HeadSeq())[0])
        for server in servers {
          try await eventually("the server has applied what will be lost") {
            try await metric("latchkey_listener_applied_seq", of: server) >= head
          }
        }
        suspended.send(SIGSTOP)
      }
      // Immediately, before any listener is back.
      for key in revoked { _ = try await world.revoke([key]) { try await world.revokeByHand([key]) } }
      let revokedAt = ContinuousClock.now
      suspended.send(SIGCONT)
      for (number, connection) in connections.enumerated() {
        let heard = try await world.askUntilRefused(revoked, at: connection)
        #expect(heard.problems.isEmpty, "\(what), server \(number): \(heard.problems.prefix(3))")
        let late = heard.accepted.joined().filter { $0 > revokedAt + Self.lease }
        #expect(late.isEmpty, "\(what), server \(number): \(late.count) accepted later than the lease")
        let slowest = heard.refused.compactMap { $0 }.max() ?? revokedAt
        print(
          "\(what) that lost \(Self.lostCount) revocations: \(Self.revokedCount) others refused by server \(number) "
            + "after \((slowest - revokedAt).inMilliseconds), \(heard.unavailableCount) answers of 503")
        // A key whose creation was lost does not exist, and one whose revocation was lost is valid again.
        try await eventually("\(what): server \(number) answers as the database does") {
          try await connection.verify([made] + lost.map(\.secret) + [staying.secret], token: world.token).codes
            == ["NOT_FOUND"] + lost.map { _ in "VALID" } + ["VALID"]
        }
      }
      // A server whose lease has expired asks the database until its listener is back.
      for server in servers {
        try await eventually("\(what): the server has noticed the break") {
          try await metric("latchkey_history_breaks_total", of: server) > 0
        }
      }
      let last = try await world.revoke(staying, of: owner, at: connections[1])
      #expect(last.instances >= 3)
      for connection in connections where last.acknowledged == last.instances {
        #expect(try await connection.verify([staying.secret], token: world.token).codes == ["REVOKED"])
      }
      try await eventually("\(what): receipts are complete again") {
        let receipt = try await world.revoke(staying, of: owner, at: connections[1])
        return receipt.instances == 3 && receipt.acknowledged == 3
      }
    }
  }

  /// Waits until the standby has everything that is committed now.
  private func waitForReplay(of primary: OwnServer, _ standby: OwnServer) async throws {
    try await PostgresPool.with(PostgresConfiguration(url: try await primary.url())) { primary in
      let position = try await primary.query(WrittenPosition())[0]
      try await PostgresPool.with(PostgresConfiguration(url: try await standby.url())) { standby in
        try await eventually("the standby has everything") {
          try await standby.query(HasReplayed(position: position))[0]
        }
      }
    }
  }

  private func cutOff(_ standby: OwnServer, from primary: OwnServer) async throws {
    try await PostgresPool.with(PostgresConfiguration(url: try await standby.url())) { pool in
      for statement in ["alter system set primary_conninfo = ''", "select pg_reload_conf()"] {
        try await pool.withConnection { try await $0.executeScript(statement) }
      }
    }
    try await PostgresPool.with(PostgresConfiguration(url: try await primary.url())) { pool in
      try await eventually("no standby follows the primary") { try await pool.query(CountFollowers())[0] == 0 }
    }
  }

  private func program(_ arguments: String...) async throws {
    let result = try await run("/usr/bin/env", arguments)
    guard result.status == 0 else { throw TestSetupError(description: "\(arguments): \(result.errors)") }
  }

  // MARK: Metrics

  private func misses(_ server: RunningServer) async throws -> Double {
    try await metric("latchkey_cache_misses_total", of: server)
  }

  private func metric(_ name: String, of server: RunningServer) async throws -> Double {
    let text = try await curl([server.url + "/metrics"]).output
    let line = text.split(separator: "\n").first { $0.hasPrefix(name + " ") }
    return line.flatMap { Double($0.dropFirst(name.count + 1)) } ?? 0
  }
}

private struct OwnBackend: PostgresStatement {
  typealias Row = Int32
  static let sql = "select pg_backend_pid()"
}

private struct WrittenPosition: PostgresStatement {
  typealias Row = String
  static let sql = "select pg_current_wal_lsn()::text"
}

private struct HasReplayed: PostgresStatement {
  typealias Row = Bool
  static let sql = "select pg_last_wal_replay_lsn() >= $1::text::pg_lsn"
  let position: String
  func bind(_ bindings: inout PostgresBindings) { bindings.append(position) }
}

private struct HeadSeq: PostgresStatement {
  typealias Row = Int
  static let sql = "select seq from invalidation_head"
}

private struct CountFollowers: PostgresStatement {
  typealias Row = Int
  static let sql = "select count(*) from pg_stat_replication"
}
