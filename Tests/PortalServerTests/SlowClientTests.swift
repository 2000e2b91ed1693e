import Foundation
import PortalAPI
import PortalHTTP
import PortalTesting
import PostgresTesting
import Testing

/// Serialized, because memory is measured.
@Suite("Slow clients, with the real binary", .serialized)
struct SlowClientTests {
  /// Bytes by which a server's peak memory may grow.
  private static let growthMax = 48 << 20
  /// The pause between the bytes of a dripping client.
  private static let pause: Duration = .milliseconds(250)

  private static let login =
    "POST /v1/login HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"

  @Test("a dripped head is closed after 10 seconds, and a dripped body after 30, with or without Content-Length")
  func dripping() async throws {
    try await withDatabase { database in
      try await withServers(1, on: database) { servers in
        let port = servers[0].port
        async let head = drip("GET /healthz HTTP/1.1\r\nA: ", to: port)
        async let body = drip(Self.login + "Content-Length: 1000\r\n\r\n{", to: port)
        async let chunks = drip(Self.login + "Transfer-Encoding: chunked\r\n\r\n3e8\r\n{", to: port)
        let times = try await (head: head, body: body, chunks: chunks)
        #expect(times.head >= .seconds(9) && times.head < .seconds(20), "\(times)")
        #expect(times.body >= .seconds(29) && times.body < .seconds(45), "\(times)")
        #expect(times.chunks >= .seconds(29) && times.chunks < .seconds(45), "\(times)")
      }
    }
  }

  @Test("a connection without a request is closed after HTTP_IDLE_SECONDS")
  func idle() async throws {
    try await withDatabase { database in
      try await withServers(1, on: database, environment: ["HTTP_IDLE_SECONDS": "1"]) { servers in
        let start = ContinuousClock.now
        let answer = try await rawExchange(
          port: servers[0].port, [Array("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n".utf8)])
        let time = ContinuousClock.now - start
        #expect(answer.hasPrefix("HTTP/1.1 200 "))
        #expect(time >= .seconds(1) && time < .seconds(20), "\(time)")
      }
    }
  }

  @Test("SIGTERM ends a server in time while bodies drip")
  func shutdown() async throws {
    try await withDatabase { database in
      try await withServers(1, on: database, environment: ["SHUTDOWN_SECONDS": "2"]) { servers in
        let server = servers[0]
        let idle = try tcpConnection(to: server.port)
        defer { close(idle) }
        async let body = drip(Self.login + "Content-Length: 1000\r\n\r\n{", to: server.port)
        async let chunks = drip(Self.login + "Transfer-Encoding: chunked\r\n\r\n3e8\r\n{", to: server.port)
        try await eventually("the connections are counted") {
          let lines = try await curl([server.url + "/metrics"]).output.split(separator: "\n")
          let line = lines.first { $0.hasPrefix("latchkey_http_connections ") }
          // The idle one, the two that drip, and the one of this request.
          return line.flatMap { Double($0.dropFirst("latchkey_http_connections ".count)) } ?? 0 >= 4
        }
        let start = ContinuousClock.now
        let status = try await server.end()
        let time = ContinuousClock.now - start
        #expect(status == 0)
        #expect(time < .seconds(20), "\(time)")
        _ = try await (body, chunks)
      }
    }
  }

  @Test("bodies that no route reads are not kept, however many connections send one")
  func untakenBodies() async throws {
    let (connectionCount, bodyCount) = (100, 1 << 20)
    try await withDatabase { database in
      try await withServers(1, on: database) { servers in
        let server = servers[0]
        let before = try peakMemory(of: server)
        var sockets: [Int32] = []
        defer { for socket in sockets { close(socket) } }
        let head = Array("POST /nowhere HTTP/1.1\r\nHost: localhost\r\nContent-Length: \(bodyCount)\r\n\r\n".utf8)
        let bytes = head + [UInt8](repeating: UInt8(ascii: "a"), count: bodyCount - 1)
        for _ in 0..<connectionCount {
          let socket = try tcpConnection(to: server.port)
          sockets.append(socket)
          try sendAll(bytes, socket)
        }
        // Once the next request is answered, the whole body has been read.
        let rest = Array("aGET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".utf8)
        for socket in sockets {
          try sendAll(rest, socket)
          let answer = readToEnd(socket)
          #expect(answer.hasPrefix("HTTP/1.1 404 ") && answer.contains("HTTP/1.1 200 OK"))
        }
        let growth = try peakMemory(of: server) - before
        print("\(connectionCount) bodies of \(bodyCount) bytes for nobody: \(growth >> 10) KiB of memory more")
        #expect(growth < Self.growthMax)
      }
    }
  }

  @Test(
    "data after a request to upgrade to another protocol is not kept", arguments: ["GET /healthz", "CONNECT a:443"])
  func otherProtocol(_ line: String) async throws {
    let sendMax = 64 << 20
    let chunk = [UInt8](repeating: UInt8(ascii: "a"), count: 64 << 10)
    try await withDatabase { database in
      try await withServers(1, on: database) { servers in
        let before = try peakMemory(of: servers[0])
        let head = "\(line) HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
        var sentCount = 0
        for _ in 0..<100 where sentCount < sendMax {
          let socket = try tcpConnection(to: servers[0].port)
          defer { close(socket) }
          try sendAll(Array(head.utf8), socket)
          // Until the server closes after its answer.
          while sentCount < sendMax, (try? sendAll(chunk, socket)) != nil { sentCount += chunk.count }
        }
        let growth = try peakMemory(of: servers[0]) - before
        print("\(sentCount >> 10) KiB behind requests for another protocol: \(growth >> 10) KiB of memory more")
        #expect(growth < Self.growthMax)
      }
    }
  }

  @Test("a gateway that sends batches and reads no answers does not fill the memory, and others are answered meanwhile")
  func untakenAnswers() async throws {
    // Without a bound, the server would accept all of it.
    let sendMax = 64 << 20
    try await withDatabase { database in
      try await withServers(1, on: database) { servers in
        let server = servers[0]
        try await RevocationWorld.with(servers, on: database) { world in
          let owner = try await world.makeOwner("ada", keyCount: 2)
          try await TestConnection.with([server.port]) { connections in
            try await world.warm(owner.keys, at: connections[0])
            let before = try peakMemory(of: server)
            let socket = try tcpConnection(to: server.port)
            defer { close(socket) }
            let sentCount = try await sendUntilStuck(
              batch(owner.keys[0], token: world.token), countMax: sendMax, socket)
            #expect(sentCount < sendMax)
            let answer = try await connections[0].verify([owner.keys[1].secret], token: world.token)
            #expect(answer.codes == ["VALID"])
            let growth = try peakMemory(of: server) - before
            print("\(sentCount >> 10) KiB of batches sent, no answer taken: \(growth >> 10) KiB of memory more")
            #expect(growth < Self.growthMax)
          }
        }
      }
    }
  }

  // MARK: Clients

  private func batch(_ key: OwnedKey, token: String) -> [UInt8] {
    let questions = repeatElement("{\"key\":\"\(key.secret)\"}", count: 1_000).joined(separator: ",")
    let body = "{\"requests\":[\(questions)]}"
    return Array(
      ("POST /v1/verify/batch HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer \(token)\r\n"
        + "Content-Type: application/json\r\nContent-Length: \(body.utf8.count)\r\n\r\n\(body)").utf8)
  }

  /// Sends a request repeatedly, at most `countMax` bytes, until the server has accepted nothing for three seconds.
  /// Returns the number of bytes sent.
  private func sendUntilStuck(_ request: [UInt8], countMax: Int, _ socket: Int32) async throws -> Int {
    var sentCount = 0
    var takenAt = ContinuousClock.now
    while sentCount < countMax, ContinuousClock.now < takenAt + .seconds(3) {
      let rest = request[(sentCount % request.count)...]
      let count = rest.withUnsafeBytes {
        send(socket, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL) | Int32(MSG_DONTWAIT))
      }
      if count > 0 {
        sentCount += count
        takenAt = .now
      } else {
        guard errno == EAGAIN else { throw TestSetupError(description: "the server has closed") }
        try await Task.sleep(for: .milliseconds(10))
      }
    }
    return sentCount
  }

  /// Sends the beginning, and then one byte at a time until the server closes. Returns how long that took.
  private func drip(_ beginning: String, to port: Int) async throws -> Duration {
    let socket = try tcpConnection(to: port)
    defer { close(socket) }
    let start = ContinuousClock.now
    try sendAll(Array(beginning.utf8), socket)
    while ContinuousClock.now < start + .seconds(120) {
      try await Task.sleep(for: Self.pause)
      if isClosed(socket) { return ContinuousClock.now - start }
      var byte = UInt8(ascii: "a")
      _ = send(socket, &byte, 1, Int32(MSG_NOSIGNAL))
    }
    throw TestSetupError(description: "the server does not close")
  }

  /// Reads what has arrived, without waiting for more.
  private func isClosed(_ socket: Int32) -> Bool {
    var buffer = [UInt8](repeating: 0, count: 4_096)
    while true {
      let count = recv(socket, &buffer, buffer.count, Int32(MSG_DONTWAIT))
      if count > 0 { continue }
      return count == 0 || errno != EAGAIN
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

  private func readToEnd(_ socket: Int32) -> String {
    var bytes: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 4_096)
    while true {
      let count = recv(socket, &buffer, buffer.count, 0)
      guard count > 0 else { return String(decoding: bytes, as: UTF8.self) }
      bytes += buffer[..<count]
    }
  }

  /// A server's peak memory, in bytes.
  private func peakMemory(of server: RunningServer) throws -> Int {
    let status = try String(contentsOfFile: "/proc/\(server.processID)/status", encoding: .utf8)
    let line = try #require(status.split(separator: "\n").first { $0.hasPrefix("VmHWM:") })
    let number = try #require(line.split(whereSeparator: \.isWhitespace).dropFirst().first.flatMap { Int($0) })
    return number << 10
  }
}
