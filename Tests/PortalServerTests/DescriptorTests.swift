import Foundation
import PortalAPI
import PortalHTTP
import PortalTesting
import Postgres
import PostgresTesting
import Synchronization
import Testing

/// Serialized, because the tests themselves need many descriptors.
@Suite("Descriptors, with the real binary", .serialized)
struct DescriptorTests {
  /// The soft and the hard limit of the server.
  private static let limit = 1_024
  /// The number of idle connections that the hostile client keeps, the latest ones.
  private static let idleCount = 1_200
  /// Connections that are opened before the next wait for answers to everybody else.
  private static let batchSize = 50
  /// A server without the limit ended after less than this.
  private static let floodTime: Duration = .seconds(6)
  private static let keyCount = 2_000

  @Test(
    """
    with 1,024 descriptors and 1,200 idle connections of one client, the server stays up, warns, answers everybody \
    else correctly, and can reconnect to PostgreSQL
    """)
  func idleConnections() async throws {
    try raiseDescriptorLimit(to: 4_096)
    try await withDatabase { database in
      let limits = "ulimit -S -n \(Self.limit) && ulimit -H -n \(Self.limit)"
      try await withServers(1, on: database, environment: ["HTTP_CONNECTIONS_MAX": "5000"], shell: limits) { servers in
        try await RevocationWorld.with(servers, on: database) { world in
          let owner = try await world.makeOwner("ada", keyCount: Self.keyCount)
          try await Traffic.run(world, owner) { traffic in
            try await flood(world, traffic, Array(owner.keys[Traffic.keyCount...]))
          }
          try await expectBounded(servers[0])
        }
      }
    }
  }

  /// Opens idle connections, and terminates the connections to PostgreSQL from time to time.
  private func flood(_ world: RevocationWorld, _ traffic: Traffic, _ unknownKeys: [OwnedKey]) async throws {
    let server = world.servers[0]
    var sockets: [Int32] = []
    defer { for socket in sockets { close(socket) } }
    var (openedCount, roundCount, descriptorCountMax) = (0, 0, 0)
    let start = ContinuousClock.now
    while openedCount < 2 * Self.idleCount || ContinuousClock.now < start + Self.floodTime {
      for _ in 0..<Self.batchSize { sockets.append(try tcpConnection(to: server.port)) }
      openedCount += Self.batchSize
      while sockets.count > Self.idleCount { close(sockets.removeFirst()) }
      try await traffic.waitForProgress()
      let descriptors = try FileManager.default.contentsOfDirectory(atPath: "/proc/\(server.processID)/fd")
      descriptorCountMax = max(descriptorCountMax, descriptors.count)
      guard openedCount % (8 * Self.batchSize) == 0 else { continue }
      let unknown = try #require(unknownKeys.dropFirst(roundCount).first)
      roundCount += 1
      // All of the server's connections, and those of this test, which are opened again as well.
      try await world.pool.withConnection {
        try await $0.executeScript(
          """
          select pg_terminate_backend(pid) from pg_stat_activity
          where datname = current_database() and pid <> pg_backend_pid()
          """)
      }
      try await TestConnection.with([server.port]) { connections in
        try await eventually("PostgreSQL is asked again") {
          try await connections[0].verify([unknown.secret], token: world.token).codes == ["VALID"]
        }
      }
    }
    #expect(descriptorCountMax < Self.limit)
    print(
      "\(openedCount) idle connections in \((ContinuousClock.now - start).inMilliseconds): \(descriptorCountMax) "
        + "descriptors at most, \(traffic.counts) answers, PostgreSQL's connections ended \(roundCount) times")
  }

  private func expectBounded(_ server: RunningServer) async throws {
    // The listener may just have been terminated.
    try await eventually("it is ready") { try await curl([server.url + "/readyz"]).json()["status"].string == "ready" }
    let readiness = try await curl([server.url + "/readyz"]).json()
    let warning = readiness["warnings"].array.compactMap(\.string).first { $0.contains("descriptors") } ?? ""
    #expect(warning.contains("\(Self.limit) descriptors") && warning.contains("LimitNOFILE="))
    let metrics = try await curl([server.url + "/metrics"]).output.split(separator: "\n")
    func metric(_ name: String) throws -> Double {
      let line = try #require(metrics.first { $0.hasPrefix(name + " ") })
      return try #require(Double(line.dropFirst(name.count + 1)))
    }
    let countMax = try metric("latchkey_http_connections_max")
    #expect((500..<1_000).contains(countMax))
    #expect(try metric("latchkey_http_connections") <= countMax)
    #expect(try metric("latchkey_http_connections_closed_total") >= Double(Self.idleCount) - countMax)
    let log = server.readLog()
    #expect(log.contains("HTTP_CONNECTIONS_MAX is more than the descriptors allow"))
    #expect(log.contains("the maximum number of HTTP connections is reached"))
  }

  @Test("a server raises its soft limit to the hard limit, and does not warn if that is high")
  func softLimit() async throws {
    try await withDatabase { database in
      try await withServers(1, on: database, shell: "ulimit -S -n 1024") { servers in
        let limits = try String(contentsOfFile: "/proc/\(servers[0].processID)/limits", encoding: .utf8)
        let line = try #require(limits.split(separator: "\n").first { $0.hasPrefix("Max open files") })
        let numbers = line.split(separator: " ").compactMap { Int($0) }
        try #require(numbers.count == 2)
        #expect(numbers[0] == min(numbers[1], 1_048_576))
        let warnings = try await curl([servers[0].url + "/readyz"]).json()["warnings"].array.compactMap(\.string)
        #expect(warnings.contains { $0.contains("descriptors") } == (numbers[1] < 1_200))
      }
    }
  }

  @Test("with fewer descriptors than its pools may need, a server does not start and says what to do")
  func tooFew() async throws {
    let result = try await run(
      "/bin/sh", ["-c", "ulimit -n 128 && exec \"$0\" serve", latchkeyBinary],
      environment: baseEnvironment.merging(["DATABASE_URL": "host=/nowhere"]) { $1 })
    #expect(result.status == 1)
    #expect(result.errors.contains("latchkey: the limit of 128 descriptors is too low"))
    #expect(result.errors.contains("LimitNOFILE="))
  }
}

/// The other clients: a gateway that keeps its connection, one that opens a new one each time, and a customer who
/// revokes keys.
private final class Traffic: Sendable {
  /// The number of keys in use: one that stays valid, and those that are revoked.
  static let keyCount = 1_000
  private static let lease: Duration = .seconds(2)
  /// The pause between requests, so that no key reaches its limit.
  private static let pause: Duration = .milliseconds(20)

  private enum Kind: String, CaseIterable {
    case kept, fresh, revoked
  }

  private struct State {
    var counts: [Kind: Int] = [:]
    var problems: [String] = []
  }

  private let world: RevocationWorld
  private let owner: KeyOwner
  private let state = Mutex(State())
  private let isOver = Atomic(false)

  /// Runs `body` under this traffic. Expects that every request was answered correctly.
  static func run(
    _ world: RevocationWorld, _ owner: KeyOwner, _ body: (Traffic) async throws -> Void
  ) async throws {
    let traffic = Traffic(world, owner)
    try await withThrowingTaskGroup(of: Void.self) { group in
      group.addTask { await traffic.noting(.kept) { try await traffic.keepAsking() } }
      group.addTask { await traffic.noting(.fresh) { try await traffic.askAnew() } }
      group.addTask { await traffic.noting(.revoked) { try await traffic.revoke() } }
      defer { traffic.isOver.store(true, ordering: .relaxed) }
      try await body(traffic)
    }
    let problems = traffic.state.withLock { $0.problems }
    #expect(problems.isEmpty, "\(problems.count): \(problems.prefix(5))")
  }

  private init(_ world: RevocationWorld, _ owner: KeyOwner) {
    self.world = world
    self.owner = owner
  }

  /// Answers of each kind.
  var counts: String {
    state.withLock { state in
      Kind.allCases.map { "\(state.counts[$0] ?? 0) \($0.rawValue)" }.joined(separator: ", ")
    }
  }

  /// Returns after another answer of each kind.
  func waitForProgress() async throws {
    let before = state.withLock { $0.counts }
    try await eventually("everybody is answered", within: .seconds(60)) {
      let (now, problem) = state.withLock { ($0.counts, $0.problems.first) }
      if let problem { throw TestSetupError(description: problem) }
      return Kind.allCases.allSatisfy { now[$0] ?? 0 > before[$0] ?? 0 }
    }
  }

  private func note(_ kind: Kind, _ problem: String? = nil) {
    state.withLock { state in
      state.counts[kind, default: 0] += 1
      if let problem { state.problems.append("\(kind): \(problem)") }
    }
  }

  private func noting(_ kind: Kind, _ body: () async throws -> Void) async {
    do { try await body() } catch { note(kind, "\(error)") }
  }

  private func keepAsking() async throws {
    try await TestConnection.with([world.servers[0].port]) { connections in
      try await world.warm([owner.keys[0]], at: connections[0])
      while !isOver.load(ordering: .relaxed) {
        let answer = try await connections[0].verify([owner.keys[0].secret], token: world.token)
        note(.kept, answer.codes == ["VALID"] ? nil : "\(answer)")
        try await Task.sleep(for: Self.pause)
      }
    }
  }

  private func askAnew() async throws {
    let body = "{\"key\":\"\(owner.keys[0].secret)\"}"
    let request = """
      POST /v1/verify HTTP/1.1\r
      Host: localhost\r
      Connection: close\r
      Authorization: Bearer \(world.token)\r
      Content-Type: application/json\r
      Content-Length: \(body.utf8.count)\r
      \r
      \(body)
      """
    while !isOver.load(ordering: .relaxed) {
      let answer = try await rawExchange(port: world.servers[0].port, [Array(request.utf8)])
      note(.fresh, answer.contains("\"code\":\"VALID\"") ? nil : answer)
      try await Task.sleep(for: Self.pause)
    }
  }

  /// Expects that each key is refused after its revocation, or within the lease if the listener was just terminated.
  private func revoke() async throws {
    try await TestConnection.with([world.servers[0].port]) { connections in
      for key in owner.keys[1..<Self.keyCount] {
        if isOver.load(ordering: .relaxed) { return }
        try await world.warm([key], at: connections[0])
        let revocation = try await world.revoke([key]) {
          _ = try await world.revoke(key, of: owner, at: connections[0])
        }
        let heard = try await world.askUntilRefused([key], at: connections[0])
        let lateCount = heard.accepted.joined().count { $0 > revocation.knownAt + Self.lease }
        note(.revoked, heard.problems.first ?? (lateCount > 0 ? "accepted after the lease" : nil))
      }
      note(.revoked, "no keys are left")
    }
  }
}

/// Raises the soft limit of this process to at least `count`: it opens as many connections as the server has to
/// withstand.
func raiseDescriptorLimit(to count: rlim_t) throws {
  let resource = __rlimit_resource_t(RLIMIT_NOFILE.rawValue)
  var limit = rlimit()
  getrlimit(resource, &limit)
  guard limit.rlim_cur < count else { return }
  limit.rlim_cur = count
  guard setrlimit(resource, &limit) == 0 else {
    throw TestSetupError(description: "\(count) descriptors are needed: ulimit -n")
  }
}
