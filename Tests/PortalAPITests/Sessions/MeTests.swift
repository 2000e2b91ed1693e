import JSON
import PortalAPI
import PortalHTTP
import PortalTesting
import Testing

@Suite("GET /v1/me")
struct MeTests {
  @Test("returns the person who is logged in, and the plan")
  func me() async throws {
    try await withPortal { portal in
      let customer = try await portal.signUp()
      let answer = try await customer.get("/v1/me")
      #expect(answer.status == 200)
      #expect(answer.body.names == ["user", "account", "role"])
      #expect(answer.body["user"].names == ["id", "email"])
      #expect(answer.body["account"].names == ["id", "name", "plan"])
      #expect(
        answer.body["account"]["plan"]
          == .object([
            ("name", .string("default")), ("keyCap", .number("25")), ("scopes", .array([.string("*")])),
            ("rateLimitPerMinuteMax", .number("10000")), ("maxKeyLifetimeDays", .null),
            ("apiIds", .null), ("roleIds", .array([])),
          ]))
      #expect(answer.body["role"].string == "owner")
      try await customer.becomeViewer()
      #expect(try await customer.get("/v1/me").body["role"].string == "viewer")
    }
  }

  @Test("a session is unauthenticated if it is unknown or expired, or if its membership was removed")
  func unauthenticated() async throws {
    try await withPortal { portal in
      let customer = try await portal.signUp()
      let other = try await portal.signUp("eve@example.com")
      for headers in [
        [:], ["Authorization": ""], ["Authorization": "Bearer"], ["Authorization": "Bearer "],
        ["Authorization": "Bearer x"], ["Authorization": "Basic " + customer.token],
        ["Authorization": customer.token], ["Authorization": "Bearer " + String(customer.token.dropLast())],
        ["Authorization": "Bearer " + customer.token + "x"],
        ["Authorization": "Bearer " + String(repeating: "x", count: 10_000)], ["Cookie": "latchkey="],
        ["Cookie": "latchkey=x"], ["Cookie": "other=" + customer.token], ["X-API-Key": customer.token],
      ] {
        let answer = try await portal.get("/v1/me", headers: headers)
        expectProblem(answer, 401, "unauthenticated", "\(headers)")
        #expect(answer.header("WWW-Authenticate") == "Bearer realm=\"latchkey\"")
      }
      #expect(try await portal.get("/v1/me", headers: ["Authorization": "bearer " + customer.token]).status == 200)
      try await portal.script("update sessions set expires_at = now() where account_id = '\(customer.accountID)'")
      expectProblem(try await customer.get("/v1/me"), 401, "unauthenticated")
      try await portal.script("delete from memberships where account_id = '\(other.accountID)'")
      expectProblem(try await other.get("/v1/me"), 401, "unauthenticated")
    }
  }
}
