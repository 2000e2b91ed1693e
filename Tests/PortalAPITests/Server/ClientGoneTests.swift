import Foundation
import Glibc
import Portal
import PortalAPI
import PortalHTTP
import PortalTesting
import PostgresTesting
import Testing

@Suite("A client that disconnects")
struct ClientGoneTests {
  private static let signup = #"{"email":"eve@example.com","password":"correct horse battery","accountName":"a"}"#

  /// Sends a head, waits until the server asks for the body, sends its beginning, and resets the connection.
  private func reset(_ portal: TestPortal, _ head: String, _ body: String) throws {
    let socket = try tcpConnection(to: try #require(portal.port))
    try send(head + "Expect: 100-continue\r\n\r\n", socket)
    var received: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 256)
    while !String(decoding: received, as: UTF8.self).hasSuffix("\r\n\r\n") {
      let count = recv(socket, &buffer, buffer.count, 0)
      guard count > 0 else { throw TestSetupError(description: "the server does not ask for the body") }
      received += buffer[..<count]
    }
    #expect(String(decoding: received, as: UTF8.self).hasPrefix("HTTP/1.1 100 "))
    try send(body, socket)
    // Closes with a reset, even if data is still on its way.
    var lingering = linger(l_onoff: 1, l_linger: 0)
    setsockopt(socket, SOL_SOCKET, SO_LINGER, &lingering, socklen_t(MemoryLayout<linger>.size))
    close(socket)
  }

  private func send(_ text: String, _ socket: Int32) throws {
    let bytes = Array(text.utf8)
    guard Glibc.send(socket, bytes, bytes.count, Int32(MSG_NOSIGNAL)) == bytes.count else {
      throw TestSetupError(description: "the server accepts no data")
    }
  }

  private func expectGone(_ portal: TestPortal, _ route: String, count: Int) async throws {
    try await eventually("\(route) was counted as abandoned") {
      portal.observations.count {
        if case .answered(route, "POST", 499, _) = $0 { true } else { false }
      } == count
    }
    let alarms = portal.observations.count {
      if case .answered(_, _, let status, _) = $0 { status >= 500 } else { false }
    }
    #expect(alarms == 0)
    let lines = portal.log.filter { $0.contains("client_gone") }
    #expect(lines.count == count && lines.allSatisfy { $0.hasPrefix("debug ") })
    #expect(!portal.log.contains { $0.hasPrefix("error ") })
  }

  @Test("a reset in the middle of a body is not a server error: it has status 499 and raises no alarm")
  func reset() async throws {
    try await withPortal(.live) { portal in
      let token = try await portal.makeToken()
      let head = "Host: localhost\r\nContent-Type: application/json\r\n"
      for length in ["Content-Length: 1000\r\n", "Transfer-Encoding: chunked\r\n"] {
        try reset(portal, "POST /v1/login HTTP/1.1\r\n\(head)\(length)", length.hasPrefix("C") ? "{" : "5\r\n{")
      }
      try await expectGone(portal, "/v1/login", count: 2)
      try reset(
        portal, "POST /v1/usage HTTP/1.1\r\n\(head)Authorization: Bearer \(token)\r\nContent-Length: 1000\r\n", "{")
      try await eventually("the report was counted as abandoned") {
        portal.observations.count {
          if case .answered("/v1/usage", "POST", 499, _) = $0 { true } else { false }
        } == 1
      }
    }
  }

  @Test("when the server closes a slow connection, a partial body is not taken for the whole, even if it is valid")
  func cutOff() async throws {
    try await withPortal(
      .live,
      configure: {
        $0.connectionTimeouts.body = .milliseconds(500)
      }
    ) { portal in
      let rows = try await portal.rowCount()
      let answer = try await exchange(
        portal,
        "POST /v1/signup HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n"
          + Self.signup)
      #expect(answer.isEmpty)
      try await expectGone(portal, "/v1/signup", count: 1)
      #expect(try await portal.rowCount() == rows)
    }
  }
}
