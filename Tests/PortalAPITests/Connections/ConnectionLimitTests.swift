import Foundation
import Portal
import PortalTesting
import PostgresTesting
import Testing

@testable import PortalAPI
@testable import PortalHTTP

@Suite("ConnectionLimit")
struct ConnectionLimitTests {
  private func metric(_ name: String, _ portal: TestPortal) async throws -> Int? {
    let line = try await portal.text("/metrics").text.split(separator: "\n").first { $0.hasPrefix(name + " ") }
    return line.flatMap { Double($0.dropFirst(name.count + 1)) }.map { Int($0) }
  }

  @Test("an activity is read as it was noted")
  func activity() {
    let noted = NotedActivity()
    for since in [0, 1, UInt64(Int64.max)] {
      for isAnswering in [true, false] {
        let activity = ConnectionActivity(since: since, isAnswering: isAnswering)
        noted.note(activity)
        #expect(noted.activity == activity)
      }
    }
  }

  @Test("beyond the limit, the most idle connections are closed and counted, and requests are answered")
  func live() async throws {
    let countMax = 8
    try await withPortal(.live, configure: { $0.connectionCountMax = countMax }) { portal in
      let port = try #require(portal.port)
      var sockets: [Int32] = []
      defer { for socket in sockets { close(socket) } }
      for _ in 0..<20 {
        sockets.append(try tcpConnection(to: port))
        // The metrics are read over the connection that the test's client keeps. Only once the new connection is
        // counted is it older than the next one.
        try await eventually("it is counted") {
          let open = try await metric("latchkey_http_connections", portal) ?? 0
          let closed = try await metric("latchkey_http_connections_closed_total", portal) ?? 0
          return open + closed == sockets.count + 1
        }
      }
      let closedCount = sockets.count + 1 - countMax
      #expect(try await metric("latchkey_http_connections_max", portal) == countMax)
      #expect(try await metric("latchkey_http_connections", portal) == countMax)
      #expect(try await metric("latchkey_http_connections_closed_total", portal) == closedCount)
      var byte: UInt8 = 0
      for socket in sockets.prefix(closedCount) {
        let count = recv(socket, &byte, 1, 0)
        #expect(count == 0)
      }
      let loggedCount = portal.observations.count {
        if case .connectionsClosed(_, isLogged: true) = $0 { true } else { false }
      }
      #expect(loggedCount >= 1)
    }
  }
}
