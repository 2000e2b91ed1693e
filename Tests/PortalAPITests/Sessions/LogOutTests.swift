import PortalAPI
import PortalHTTP
import PortalTesting
import Testing

@Suite("POST /v1/logout")
struct LogOutTests {
  @Test("the session ends, its cookie is cleared, and another session of the same person stays")
  func logOut() async throws {
    try await withPortal { portal in
      let customer = try await portal.signUp()
      let other = try await portal.post(
        "/v1/login", #"{"email":"ada@example.com","password":"correct horse battery"}"#)
      let answer = try await customer.post("/v1/logout")
      #expect(answer.status == 204)
      #expect(answer.body == .null)
      #expect(answer.header("X-Request-Id") != nil)
      #expect(answer.header("Set-Cookie")?.hasPrefix("latchkey=; ") == true)
      #expect(answer.header("Set-Cookie")?.contains("Max-Age=0") == true)
      expectProblem(try await customer.get("/v1/me"), 401, "unauthenticated")
      expectProblem(try await customer.post("/v1/logout"), 401, "unauthenticated")
      #expect(try await portal.get("/v1/me", token: other.body["token"].string).status == 200)
    }
  }

  @Test("a session can also be ended by cookie")
  func byCookie() async throws {
    try await withPortal { portal in
      let customer = try await portal.signUp()
      let headers = ["Cookie": "latchkey=" + customer.token, "Origin": "http://127.0.0.1:8080"]
      #expect(try await portal.post("/v1/logout", headers: headers).status == 204)
      expectProblem(try await customer.get("/v1/me"), 401, "unauthenticated")
    }
  }
}
