import Foundation
import JSON
import Portal
import PortalHTTP
import PortalTesting
import Postgres
import PostgresTesting
import Testing

/// The primary's commits wait for a standby that is down: "A synchronous standby" in docs/OPERATIONS.md.
@Suite("A synchronous standby that is down, with the real binary")
struct AbsentStandbyTests {
  private static let poolSize = 2
  private static let timeoutSeconds = 3
  private static let timeout: Duration = .seconds(timeoutSeconds)

  @Test(
    """
    a change ends with 503 outcome_unknown at its deadline; while DATABASE_POOL_SIZE commits wait, the next change is \
    503 unavailable before it begins, and reads and verification continue; then the changes that had begun take effect
    """)
  func away() async throws {
    try await withReplicatedDatabase { primary, standby, database in
      try await primary.administer("alter system set synchronous_standby_names = '*'", "select pg_reload_conf()")
      try await eventually("the standby is synchronous") {
        try await primary.ask(CountSynchronousStandbys()) == 1
      }
      try await postponeJobs(database)
      let environment = [
        "DATABASE_POOL_SIZE": "\(Self.poolSize)", "DATABASE_TIMEOUT_SECONDS": "\(Self.timeoutSeconds)",
      ]
      try await withServers(1, on: database, environment: environment) { servers in
        try await RevocationWorld.with(servers, on: database) { world in
          // A change keeps its account's row locked until its commit has ended.
          var owners: [KeyOwner] = []
          for name in ["ada", "bob", "eve"] { owners.append(try await world.makeOwner(name, keyCount: 2)) }
          try await TestConnection.with(world.ports) { connections in
            try await expectRefusals(owners, at: connections[0], world, standby)
          }
        }
      }
    }
  }

  private func expectRefusals(
    _ owners: [KeyOwner], at connection: TestConnection, _ world: RevocationWorld, _ standby: OwnServer
  ) async throws {
    let (cached, others) = (owners.map { $0.keys[0] }, owners.map { $0.keys[1] })
    try await world.warm(cached, at: connection)
    try await standby.stop()
    for owner in owners[..<Self.poolSize] {
      let start = ContinuousClock.now
      let answer = try await revoke(owner, at: connection)
      #expect(answer.status == 503)
      #expect(try answer.json()["code"].string == "outcome_unknown")
      #expect(answer.retryAfter == nil, "a retry might make a change twice")
      // The client's timer starts a moment after the request.
      #expect(ContinuousClock.now - start >= Self.timeout)
    }
    #expect(try await committingCount(world.servers[0]) == Self.poolSize)
    let start = ContinuousClock.now
    let refused = try await revoke(owners[2], at: connection)
    #expect(ContinuousClock.now - start < Self.timeout)
    #expect(refused.status == 503)
    #expect(try refused.json()["code"].string == "unavailable")
    #expect(refused.retryAfter != nil)
    #expect(try await committingCount(world.servers[0]) == Self.poolSize)

    // The changes are not visible yet, whether the key is in the cache or has to be looked up.
    for keys in [cached, others] {
      let codes = try await connection.verify(keys.map(\.secret), token: world.token).codes
      #expect(codes == keys.map { _ in "VALID" })
    }
    // The use of a session that was last used over a minute ago is recorded as well.
    try await world.pool.withConnection { connection in
      try await connection.executeScript(
        """
        begin;
        set local synchronous_commit = off;
        update sessions set last_seen_at = now() - interval '61 s';
        commit
        """)
    }
    for path in ["/v1/me", "/v1/keys"] {
      let answer = try await connection.send("GET", path, token: owners[2].session)
      #expect(answer.status == 200, "\(path): \(answer)")
    }
    #expect(try await world.servers[0].isReady())

    try await standby.start()
    try await eventually("the commits have ended") { try await committingCount(world.servers[0]) == 0 }
    try await eventually("the changes that had begun take effect, and the other was not made") {
      try await connection.verify(cached.map(\.secret), token: world.token).codes == ["REVOKED", "REVOKED", "VALID"]
    }
    try await eventually("changes are made again") { try await revoke(owners[2], at: connection).status == 200 }
    let codes = try await connection.verify(cached.map(\.secret), token: world.token).codes
    #expect(codes == ["REVOKED", "REVOKED", "REVOKED"])
  }

  /// Revokes the owner's first key.
  private func revoke(_ owner: KeyOwner, at connection: TestConnection) async throws -> TestConnection.Answer {
    try await connection.send("DELETE", "/v1/keys/\(owner.keys[0].id)".lowercased(), token: owner.session)
  }

  /// The number of the portal's connections that wait for a commit outside the pool.
  private func committingCount(_ server: RunningServer) async throws -> Int? {
    let name = #"latchkey_pool_connections{pool="portal",state="committing"} "#
    return try await curl([server.url + "/metrics"]).output.split(separator: "\n").first { $0.hasPrefix(name) }
      .flatMap { Double($0.dropFirst(name.count)) }.map { Int($0) }
  }

  // MARK: Jobs

  private struct PostponeJobs: PostgresStatement {
    static let sql = """
      insert into jobs (name, started_at, instance) select name, now() + interval '1 hour', 'test'
      from unnest($1::text[]) name
      """
    let names: [String]
    func bind(_ bindings: inout PostgresBindings) { bindings.append(names) }
  }

  /// A job is a change as well, and its commit would be one of those that wait.
  private func postponeJobs(_ database: TestDatabase) async throws {
    let names = Job.all(Retention(), Outbox(isOpen: false)).map(\.name)
    try await PostgresPool.with(database.configuration) { _ = try await $0.execute(PostponeJobs(names: names)) }
  }
}
