import Foundation
import PortalTesting
import PostgresTesting
import Testing

/// Serialized, because memory is measured.
@Suite("The budget of connections, with the real binary", .serialized)
struct ConnectionBudgetTests {
  /// The number of connections, of all kinds together.
  private static let count = isSoak ? 2_000 : 400
  /// Bytes of memory that each connection may take besides what the hot routes keep for it.
  private static let shareMax = 64 << 10
  private static let questionCount = isSoak ? 5_000 : 500
  private static let keyCount = 20
  private static let shutdownSeconds = 2
  /// How much longer the end of a server may take; in `make test`, other tests keep the processors busy.
  private static let shutdownMargin: Duration = isSoak ? .seconds(3) : muchTooLong

  @Test(
    """
    bad connections of every kind at the same time take no more than their share of memory, verification is answered \
    meanwhile, and SIGTERM ends the server in time
    """)
  func allAtOnce() async throws {
    try raiseDescriptorLimit(to: 4_096)
    try await withDatabase { database in
      let environment = ["SHUTDOWN_SECONDS": "\(Self.shutdownSeconds)"]
      try await withServers(1, on: database, environment: environment) { servers in
        try await RevocationWorld.with(servers, on: database) { world in
          let owner = try await world.makeOwner("ada", keyCount: Self.keyCount + 1)
          try await TestConnection.with([servers[0].port]) { connections in
            try await world.warm(owner.keys, at: connections[0])
            try await measure(servers[0], world, owner, connections[0])
          }
        }
      }
    }
  }

  private func measure(
    _ server: RunningServer, _ world: RevocationWorld, _ owner: KeyOwner, _ kept: TestConnection
  ) async throws {
    let client = BadClient(port: server.port, token: world.token, key: owner.keys[Self.keyCount].secret)
    // One of each kind first, so that no code runs for the first time and only the cost of connections is measured.
    let first = try await client.connect(BadClient.Kind.allCases.count)
    for socket in first.sockets { close(socket) }
    let quiet = try await ask(kept, world, owner) { _ in }
    let before = try residentMemory(of: server)

    let crowd = try await client.connect(Self.count)
    defer { for socket in crowd.sockets { close(socket) } }
    // A head has ten seconds, which may have passed on a busy machine; all other kinds have thirty or more.
    let countMin = Self.count - crowd.count(of: .halfHead)
    try await eventually("the connections are counted") { try await connectionCount(of: server) >= countMin }
    let atFirst = try residentMemory(of: server)
    let crowded = try await ask(kept, world, owner) { client.drip(crowd, $0) }
    let growth = max(atFirst, try residentMemory(of: server)) - before
    let growthMax = BadClient.Kind.allCases.reduce(0) { $0 + crowd.count(of: $1) * (Self.shareMax + $1.hotPathMax) }
    print(
      """
      \(Self.count) bad connections: \(growth >> 10) KiB of memory more, \(growth / Self.count) bytes each, \
      \(growthMax >> 10) KiB allowed; verification p50 \(quiet.p50) and p99 \(quiet.p99) before, \
      p50 \(crowded.p50) and p99 \(crowded.p99) during them
      """)
    #expect(growth <= growthMax)
    if isSoak, latchkeyBinary.contains("/release/") { #expect(crowded.p99 <= quiet.p99 * 2) }

    let start = ContinuousClock.now
    let status = try await server.end()
    let time = ContinuousClock.now - start
    print("SIGTERM with \(Self.count) bad connections: ended after \(time)")
    #expect(status == 0)
    #expect(time < .seconds(Self.shutdownSeconds) + Self.shutdownMargin, "\(time)")
  }

  /// Verifies valid keys, one after the other. Returns how long the answers took.
  private func ask(
    _ connection: TestConnection, _ world: RevocationWorld, _ owner: KeyOwner, meanwhile body: (_ number: Int) -> Void
  ) async throws -> (p50: Duration, p99: Duration) {
    var times: [Duration] = []
    for number in 0..<Self.questionCount {
      body(number)
      let start = ContinuousClock.now
      let answer = try await connection.verify([owner.keys[number % Self.keyCount].secret], token: world.token)
      times.append(ContinuousClock.now - start)
      try #require(answer.codes == ["VALID"], "\(answer)")
    }
    times.sort()
    return (times[times.count / 2], times[times.count * 99 / 100])
  }

  private func connectionCount(of server: RunningServer) async throws -> Int {
    let name = "latchkey_http_connections "
    let lines = try await curl([server.url + "/metrics"]).output.split(separator: "\n")
    let value = lines.first { $0.hasPrefix(name) }.flatMap { Double($0.dropFirst(name.count)) }
    return try Int(#require(value))
  }

  /// In bytes.
  private func residentMemory(of server: RunningServer) throws -> Int {
    let status = try String(contentsOfFile: "/proc/\(server.processID)/status", encoding: .utf8)
    let line = try #require(status.split(separator: "\n").first { $0.hasPrefix("VmRSS:") })
    let number = try #require(line.split(whereSeparator: \.isWhitespace).dropFirst().first.flatMap { Int($0) })
    return number << 10
  }
}

/// A client that opens connections and uses them badly.
private struct BadClient {
  enum Kind: CaseIterable {
    // From the kinds that take long to set up and have the longest limits to those that have the shortest.
    case untakenAnswers, halfHotBody, halfBody, halfChunks, drippedBody, idle, halfHead

    /// Bytes that the hot routes keep for such a connection: an incomplete body; or answers that are not read, those of
    /// one write in addition to what the channel holds, and the requests behind them.
    var hotPathMax: Int {
      switch self {
      case .halfHotBody: 64 << 10
      case .untakenAnswers: (64 + 64 + 64) << 10
      case .halfBody, .halfChunks, .drippedBody, .idle, .halfHead: 0
      }
    }
  }

  struct Crowd {
    var connections: [(kind: Kind, socket: Int32)] = []

    var sockets: [Int32] { connections.map(\.socket) }
    func count(of kind: Kind) -> Int { connections.count { $0.kind == kind } }
  }

  /// The most bytes of requests that a connection sends without reading the answers.
  private static let pipelinedCountMax = 1 << 20
  private static let dripTurns = 50
  private static let host = "Host: localhost\r\n"
  private static let json = "Content-Type: application/json\r\n"

  let port: Int
  /// A valid service token; `key` is valid, too.
  let token: String
  let key: String

  /// Opens `count` connections, equally many of each kind, and uses them.
  func connect(_ count: Int) async throws -> Crowd {
    var crowd = Crowd()
    do {
      for (place, kind) in Kind.allCases.enumerated() {
        let share = (count + Kind.allCases.count - 1 - place) / Kind.allCases.count
        let sent = bytes(of: kind)
        for _ in 0..<share {
          let socket = try tcpConnection(to: port, isNarrow: kind == .untakenAnswers)
          crowd.connections.append((kind, socket))
          if kind != .untakenAnswers { try sendAll(sent, socket) }
        }
        if kind == .untakenAnswers { try await sendUntilStuck(sent, crowd.sockets) }
      }
    } catch {
      for socket in crowd.sockets { close(socket) }
      throw error
    }
    return crowd
  }

  /// Sends another byte of some dripped bodies, so that each gets one in ``dripTurns`` calls. Connections that have
  /// reached their limit are already closed.
  func drip(_ crowd: Crowd, _ turn: Int) {
    for (place, connection) in crowd.connections.filter({ $0.kind == .drippedBody }).enumerated()
    where place % Self.dripTurns == turn % Self.dripTurns {
      var byte = UInt8(ascii: " ")
      _ = send(connection.socket, &byte, 1, Int32(MSG_NOSIGNAL) | Int32(MSG_DONTWAIT))
    }
  }

  private func bytes(of kind: Kind) -> [UInt8] {
    let login = "POST /v1/login HTTP/1.1\r\n\(Self.host)\(Self.json)"
    let bodyCount = 64 << 10
    let body = String(repeating: " ", count: bodyCount - 1)
    let text =
      switch kind {
      case .untakenAnswers:
        "GET /v1/authorize HTTP/1.1\r\n\(Self.host)X-Latchkey-Token: \(token)\r\nX-API-Key: \(key)\r\n\r\n"
      case .halfHotBody:
        "POST /v1/verify HTTP/1.1\r\n\(Self.host)\(Self.json)Authorization: Bearer \(token)\r\n"
          + "Content-Length: \(bodyCount)\r\n\r\n\(body)"
      case .halfBody: "POST /nowhere HTTP/1.1\r\n\(Self.host)Content-Length: \(bodyCount)\r\n\r\n\(body)"
      case .halfChunks: "\(login)Transfer-Encoding: chunked\r\n\r\n1000\r\n\(body.prefix(2_048))"
      case .drippedBody: "\(login)Content-Length: 1000\r\n\r\n{"
      case .idle: ""
      case .halfHead: "GET /healthz HTTP/1.1\r\n\(Self.host)X-Other: \(String(repeating: "a", count: 1_000))"
      }
    return Array(text.utf8)
  }

  /// Sends a request repeatedly over each connection, until none of them has accepted anything for three seconds.
  private func sendUntilStuck(_ request: [UInt8], _ sockets: [Int32]) async throws {
    let requests = Array(repeatElement(request, count: max(1, 16_384 / request.count)).joined())
    var sentCounts = sockets.map { _ in 0 }
    var takenAt = ContinuousClock.now
    while ContinuousClock.now < takenAt + .seconds(3) {
      for (place, socket) in sockets.enumerated() where sentCounts[place] < Self.pipelinedCountMax {
        let rest = requests[(sentCounts[place] % requests.count)...]
        let count = rest.withUnsafeBytes {
          send(socket, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL) | Int32(MSG_DONTWAIT))
        }
        if count > 0 {
          sentCounts[place] += count
          takenAt = .now
        } else {
          guard errno == EAGAIN else { throw TestSetupError(description: "the server has closed") }
        }
      }
      if sentCounts.allSatisfy({ $0 >= Self.pipelinedCountMax }) { return }
      try await Task.sleep(for: .milliseconds(10))
    }
  }

  private func sendAll(_ bytes: [UInt8], _ socket: Int32) throws {
    var sentCount = 0
    while sentCount < bytes.count {
      let count = bytes[sentCount...].withUnsafeBytes { send(socket, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL)) }
      guard count > 0 else { throw TestSetupError(description: "the server has closed") }
      sentCount += count
    }
  }
}
