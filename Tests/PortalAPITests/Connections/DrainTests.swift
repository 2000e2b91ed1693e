import Foundation
import PortalAPI
import PortalHTTP
import PortalTesting
import Testing

@Suite("A draining server")
struct DrainTests {
  private static let health = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"

  @Test("a draining server is not ready, and says so, but is healthy")
  func readiness() async throws {
    try await withPortal { portal in
      portal.application.drain.begin()
      let answer = try await portal.get("/readyz")
      #expect(answer.status == 503)
      #expect(answer.body["status"].string == "draining")
      #expect(answer.body["reasons"] == .array([.string("the server is about to end")]))
      #expect(try await portal.get("/healthz").status == 200)
    }
  }

  @Test(
    "a draining server ends each connection after its next answer, and says so in that answer",
    arguments: [true, false])
  func connections(hasFastPath: Bool) async throws {
    try await withPortal(.live, configure: { $0.hasFastPath = hasFastPath }) { portal in
      let customer = try await portal.signUp()
      let key = try await customer.createKey().key
      let token = try await portal.makeToken()
      let body = "{\"key\":\"\(key)\"}"
      let question = """
        POST /v1/verify HTTP/1.1\r
        Host: localhost\r
        Authorization: Bearer \(token)\r
        Content-Type: application/json\r
        Content-Length: \(body.utf8.count)\r
        \r
        \(body)
        """
      // From here on, the cache has the key.
      let last = "GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
      let before = try await answers(portal, question, last)
      #expect(before.map(\.status) == [200, 200])
      #expect(before.first?.headers["connection"] == nil)
      portal.application.drain.begin()
      // Reads until the server closes, which the client does not request.
      for request in [question, Self.health] {
        let answers = try await answers(portal, request)
        #expect(answers.map(\.status) == [200])
        #expect(answers.first?.headers["connection"] == "close")
      }
      let verdict = try await answers(portal, question)
      #expect(verdict.first?.body["code"].string == "VALID")
    }
  }

  @Test("a draining server answers all requests that arrive together, and ends the connection with the last one")
  func pipeline() async throws {
    try await withPortal(.live, configure: { $0.hasFastPath = false }) { portal in
      portal.application.drain.begin()
      let answers = try await answers(portal, Self.health + Self.health + Self.health)
      #expect(answers.map(\.status) == [200, 200, 200])
      #expect(answers.map { $0.headers["connection"] } == [nil, nil, "close"])
    }
  }
}
