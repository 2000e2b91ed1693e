import Foundation
import Portal
import PortalAPI
import PortalHTTP
import PortalTesting
import Testing

@Suite("POST /v1/support/login and logout")
struct StaffLogInTests {
  private static func body(_ email: String, _ password: String) -> String {
    "{\"email\":\"\(email)\",\"password\":\"\(password)\"}"
  }

  @Test("the right password opens a session; the response names the member of staff, and sets no cookie")
  func logIn() async throws {
    try await withPortal { portal in
      let first = try await portal.logInStaff()
      let answer = try await portal.post("/v1/support/login", Self.body(" GRACE@example.com", "correct horse battery"))
      #expect(answer.status == 200)
      #expect(answer.body.names == ["staff", "role", "token", "expiresAt"])
      #expect(answer.body["staff"].names == ["id", "email", "name"])
      #expect(answer.body["staff"]["id"].isID)
      #expect(answer.body["staff"]["email"].string == "grace@example.com")
      #expect(answer.body["staff"]["name"].string == "Grace")
      #expect(answer.body["role"].string == "support")
      #expect(answer.body["expiresAt"].isTime)
      #expect(answer.header("Set-Cookie") == nil)
      #expect(answer.header("Cache-Control") == "no-store")
      let second = try #require(answer.body["token"].string)
      #expect(second != first)
      for token in [first, second] {
        #expect(try await portal.get("/v1/support/keys?start=lk", token: token).status == 200)
      }
    }
  }

  @Test("a wrong password, an unknown address and a disabled member get the same response")
  func wrong() async throws {
    try await withPortal { portal in
      let token = try await portal.logInStaff()
      _ = try await portal.logInStaff("eve@example.com")
      try await portal.script("update staff set disabled_at = now() where email = 'grace@example.com'")
      var details: Set<String?> = []
      for (email, password) in [
        ("grace@example.com", "correct horse battery"), ("eve@example.com", "wrong"),
        ("nobody@example.com", "correct horse battery"), ("eve@example.com ", "correct horse batter"), ("x", "x"),
      ] {
        let answer = try await portal.post("/v1/support/login", Self.body(email, password))
        expectProblem(answer, 401, "invalid_credentials", "\(email)")
        #expect(answer.header("WWW-Authenticate")?.hasPrefix("Bearer ") == true)
        details.insert(answer.body["detail"].string)
      }
      #expect(details.count == 1)
      expectProblem(try await portal.get("/v1/support/keys?start=lk", token: token), 401, "unauthenticated")
    }
  }

  @Test("after five failures, it is too_many_requests; a customer with the same address is not affected")
  func throttled() async throws {
    try await withPortal { portal in
      _ = try await portal.signUp("grace@example.com")
      _ = try await portal.logInStaff()
      for _ in 0..<5 {
        expectProblem(
          try await portal.post("/v1/support/login", Self.body("grace@example.com", "wrong")), 401,
          "invalid_credentials")
      }
      try await portal.lengthenDelays()
      let body = Self.body("grace@example.com", "correct horse battery")
      let answer = try await portal.post("/v1/support/login", body)
      expectProblem(answer, 429, "too_many_requests")
      #expect((3_500...3_601).contains(answer.header("Retry-After").flatMap { Int($0) } ?? 0))
      #expect(try await portal.post("/v1/login", body).status == 200)
    }
  }

  @Test("an invalid address or password is refused with its location")
  func badBodies() async throws {
    try await withPortal { portal in
      for (body, locations) in [
        ("{}", ["body.email", "body.password"]), (#"{"email":1,"password":null}"#, ["body.email", "body.password"]),
        (#"{"email":"","password":"x"}"#, ["body.email"]), (#"{"email":"x","password":""}"#, ["body.password"]),
        (Self.body("x", String(repeating: "p", count: 3_073)), ["body.password"]),
        (Self.body(String(repeating: "e", count: 255), "x"), ["body.email"]),
        (#"{"email":"x","password":"x","otp":"1"}"#, ["body.otp"]), ("[]", ["body"]), ("", ["body"]),
      ] {
        let answer = try await portal.post("/v1/support/login", body)
        expectProblem(answer, 400, "invalid_request", "\(body)")
        #expect(answer.locations == locations, "\(body)")
      }
    }
  }

  @Test("a session is refused after log-out or expiry; another session stays")
  func logOut() async throws {
    try await withPortal { portal in
      let first = try await portal.logInStaff()
      let second = try await portal.logInStaff("ada@example.com")
      let answer = try await portal.post("/v1/support/logout", token: first)
      #expect(answer.status == 204)
      #expect(answer.body == .null)
      expectProblem(try await portal.post("/v1/support/logout", token: first), 401, "unauthenticated")
      #expect(try await portal.get("/v1/support/keys?start=lk", token: second).status == 200)
      try await portal.script("update staff_sessions set expires_at = now()")
      expectProblem(try await portal.get("/v1/support/keys?start=lk", token: second), 401, "unauthenticated")
    }
  }
}
