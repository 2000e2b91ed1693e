import Foundation
import Portal
import PortalTesting
import Postgres
import PostgresTesting
import Testing

@Suite("A server that is cut off from PostgreSQL")
struct CutOffTests {
  private static let lease: Duration = .seconds(2)
  private static let watchTime: Duration = .milliseconds(4_500)

  @Test(
    "answers 503 after the lease while the others continue, is left out of receipts, and recovers by itself",
    arguments: [SocketProxy.Mode.silent, .deaf, .closed])
  func cutOff(_ mode: SocketProxy.Mode) async throws {
    try await withThreeServers { proxy, world in
      let owner = try await world.makeOwner("ada", keyCount: 3)
      let (staying, first, second) = (owner.keys[0], owner.keys[1], owner.keys[2])
      let ports = world.ports
      let tokens = ServiceTokens(pool: world.pool, propagations: Propagations(pool: world.pool))
      let caller = Caller(actor: .command(name: "test"))
      let leaked = try await tokens.create(name: "leaked", permissions: [.verifyKeys], by: caller)
      try await TestConnection.with(ports) { connections in
        for connection in connections {
          try await world.warm(owner.keys, at: connection)
          #expect(try await connection.verify([staying.secret], token: leaked.secret.reveal()).status == 200)
        }
        proxy.cut(mode)
        let cutAt = ContinuousClock.now

        // On several connections, because each answer may take as long as the lease.
        let lateFrom = cutAt + Self.lease
        async let cutAnswers = watch([staying, first], at: Array(repeating: ports[0], count: 8), world, past: lateFrom)
        async let otherAnswers = watch([staying], at: Array(ports[1...]), world, past: lateFrom)
        let receipt = try await world.revoke(first, of: owner, at: connections[1])
        // On a busy machine the others may take longer than the revocation waits; the test waits for them below.
        #expect(receipt.acknowledged <= 2, "\(mode)")
        // The lease of its last heartbeat cannot have expired earlier.
        if ContinuousClock.now < cutAt + .milliseconds(1_500) {
          #expect(receipt.instances == 3, "\(mode)")
          #expect((1_000..<2_000).contains(receipt.milliseconds), "\(mode)")
        }
        _ = try await tokens.revoke(leaked.id, by: caller)
        try await eventually("the server that was cut off is no longer counted") {
          let again = try await world.revoke(first, of: owner, at: connections[2])
          return again.instances == 2 && again.acknowledged == 2
        }
        let countedOut = ContinuousClock.now - cutAt
        _ = try await world.revoke(second, of: owner, at: connections[1])
        try await eventually("the lease has expired") { ContinuousClock.now > lateFrom }
        for (index, connection) in connections.enumerated() {
          let answer = try await connection.verify([staying.secret], token: leaked.secret.reveal())
          #expect(answer.status == 401 || index == 0 && answer.status == 503, "\(mode): \(answer)")
        }

        let (answers, others) = try await (cutAnswers, otherAnswers)
        #expect(others.allSatisfy { $0.codes == ["VALID"] }, "\(mode)")
        #expect(answers.allSatisfy { $0.codes == ["VALID", "VALID"] || $0.isUnavailable }, "\(mode)")
        let late = answers.filter { $0.askedAt > lateFrom }
        #expect(!late.isEmpty && late.allSatisfy(\.isUnavailable), "\(mode)")
        let refusals = answers.filter(\.isUnavailable)
        let slowest = refusals.map { $0.answeredAt - $0.askedAt }.max() ?? .zero
        #expect(slowest < Self.lease + .seconds(3), "\(mode)")
        let lastYes = answers.filter { !$0.isUnavailable }.map { $0.askedAt - cutAt }.max() ?? .zero

        proxy.open()
        let recovery = try await recover(world, staying, [first, second], at: connections[0])
        #expect(try await connections[0].verify([staying.secret], token: leaked.secret.reveal()).status == 401)
        print(
          "cut off (\(mode)): the last acceptance was for a request sent \(lastYes.inMilliseconds) after the cut, "
            + "\(refusals.count) answers of 503, the slowest after \(slowest.inMilliseconds); "
            + "receipt \(receipt.acknowledged) of \(receipt.instances) in \(receipt.milliseconds) ms, "
            + "removed from receipts after \(countedOut.inMilliseconds); back after \(recovery.inMilliseconds)")
      }
    }
  }

  /// Runs `body` with three servers, the first of which reaches the database through the proxy.
  private func withThreeServers(_ body: (SocketProxy, RevocationWorld) async throws -> Void) async throws {
    try await withDatabase { database in
      let folders = try await PostgresPool.with(database.configuration) { try await $0.query(SocketFolders()) }
      try await SocketProxy.with(to: try #require(folders.first)) { proxy in
        try await withServers(1, on: database.through(proxy.folder)) { cut in
          try await withServers(2, on: database) { others in
            try await RevocationWorld.with(cut + others, on: database) { try await body(proxy, $0) }
          }
        }
      }
    }
  }

  private struct Answer: Sendable {
    var askedAt: ContinuousClock.Instant
    var answeredAt: ContinuousClock.Instant
    var isUnavailable: Bool
    var codes: [String]
  }

  /// Asks repeatedly at all ports at the same time, and at each at least once after `moment`.
  private func watch(
    _ keys: [OwnedKey], at ports: [Int], _ world: RevocationWorld, past moment: ContinuousClock.Instant
  ) async throws -> [Answer] {
    let end = ContinuousClock.now + Self.watchTime
    return try await TestConnection.with(ports) { connections in
      try await withThrowingTaskGroup(of: [Answer].self) { group in
        for connection in connections {
          group.addTask {
            var answers: [Answer] = []
            while .now < end || answers.last.map({ $0.askedAt <= moment }) ?? true {
              let askedAt = ContinuousClock.now
              let answer = try await connection.verify(keys.map(\.secret), token: world.token)
              let isUnavailable = answer.status == 503 && answer.retryAfter != nil
              answers.append(
                Answer(
                  askedAt: askedAt, answeredAt: .now, isUnavailable: isUnavailable,
                  codes: isUnavailable ? [] : answer.codes))
              try await Task.sleep(for: .milliseconds(20))
            }
            return answers
          }
        }
        return try await group.reduce(into: []) { $0 += $1 }
      }
    }
  }

  /// Returns how long it takes until a key that stayed valid is accepted again. The revoked ones must not be accepted
  /// before or after that.
  private func recover(
    _ world: RevocationWorld, _ staying: OwnedKey, _ revoked: [OwnedKey], at connection: TestConnection
  ) async throws -> Duration {
    let start = ContinuousClock.now
    let secrets = ([staying] + revoked).map(\.secret)
    try await eventually("it answers again") {
      let answer = try await connection.verify(secrets, token: world.token)
      #expect(answer.status == 503 || answer.codes == ["VALID", "REVOKED", "REVOKED"], "\(answer)")
      return answer.status == 200
    }
    let recovery = ContinuousClock.now - start
    try await eventually("it is ready again") { try await connection.send("GET", "/readyz").status == 200 }
    #expect(
      try await connection.verify(secrets, token: world.token).codes == ["VALID", "REVOKED", "REVOKED"])
    return recovery
  }
}

private struct SocketFolders: PostgresStatement {
  typealias Row = String
  static let sql = "select current_setting('unix_socket_directories')"
}
