import JSON
import Portal
import PortalAPI
import PortalApplication
import PortalHTTP
import PortalTesting
import PostgresTesting
import Testing

@Suite("Routes that require the current password")
struct StepUpTests {
  private static func change(_ password: String, _ new: String) -> String {
    "{\"password\":\"\(password)\",\"newPassword\":\"\(new)\"}"
  }

  @Test("changing the password ends all other sessions, gives this one a new token, and is recorded in the trail")
  func password() async throws {
    try await withPortal { portal in
      let (ada, eve) = (try await portal.signUp(), try await portal.signUp("eve@example.com"))
      let other = try await portal.logIn().body["token"].string
      let answer = try await ada.post(
        "/v1/me/password", Self.change("correct horse battery", "another horse battery"))
      #expect(answer.status == 200 && answer.body.names == ["token", "expiresAt"])
      let token = try #require(answer.body["token"].string)
      #expect(answer.header("Set-Cookie")?.hasPrefix("latchkey=\(token); ") == true)
      for old in [ada.token, other] {
        expectProblem(try await portal.get("/v1/me", token: old), 401, "unauthenticated")
      }
      #expect(try await portal.actions(token).first == "user.password_changed")
      expectProblem(try await portal.logIn(), 401, "invalid_credentials")
      #expect(try await portal.logIn(password: "another horse battery").status == 200)
      #expect(try await eve.get("/v1/me").status == 200)
    }
  }

  @Test("a wrong password or an invalid new one changes nothing; an invalid one is refused with its location")
  func wrongPassword() async throws {
    try await withPortal { portal in
      let ada = try await portal.signUp()
      let rows = try await portal.rowCount()
      expectProblem(
        try await ada.post("/v1/me/password", Self.change("wrong", "another horse battery")), 401, "invalid_credentials"
      )
      for (body, location) in [
        (Self.change("correct horse battery", "short"), "body.newPassword"),
        (Self.change("correct horse battery", "correct horse battery"), "body.newPassword"),
        (#"{"password":"correct horse battery"}"#, "body.newPassword"),
        (#"{"newPassword":"another horse battery"}"#, "body.password"),
      ] {
        expectProblem(try await ada.post("/v1/me/password", body), 400, "invalid_request", at: location)
      }
      #expect(try await portal.rowCount() == rows)
      #expect(try await portal.logIn().status == 200)
    }
  }

  @Test("a session cannot be used to guess the password")
  func throttled() async throws {
    try await withPortal { portal in
      let ada = try await portal.signUp()
      for path in ["/v1/me/password", "/v1/me/email", "/v1/account", "/v1/me/password", "/v1/me/password"] {
        let body =
          switch path {
          case "/v1/me/password": Self.change("wrong", "another horse battery")
          case "/v1/me/email": #"{"password":"wrong","email":"b@example.com"}"#
          default: #"{"password":"wrong"}"#
          }
        let method = path == "/v1/account" ? "DELETE" : "POST"
        let answer = try await portal.request(
          method, path, bytes: Array(body.utf8), token: ada.token, headers: ["Content-Type": "application/json"])
        expectProblem(answer, 401, "invalid_credentials", "\(path)")
      }
      try await portal.lengthenDelays()
      let answer = try await ada.post(
        "/v1/me/password", Self.change("correct horse battery", "another horse battery"))
      expectProblem(answer, 429, "too_many_requests")
      #expect((3_500...3_601).contains(answer.header("Retry-After").flatMap { Int($0) } ?? 0))
      #expect(try await portal.logIn().status == 200)
    }
  }

  @Test("a new address must be unused; after the change, log-in requires it, and the old address is free")
  func email() async throws {
    try await withPortal { portal in
      let ada = try await portal.signUp()
      _ = try await portal.signUp("eve@example.com")
      func body(_ email: String, _ password: String = "correct horse battery") -> String {
        "{\"password\":\"\(password)\",\"email\":\"\(email)\"}"
      }
      expectProblem(try await ada.post("/v1/me/email", body("b@example.com", "wrong")), 401, "invalid_credentials")
      expectProblem(try await ada.post("/v1/me/email", body("b")), 400, "invalid_request", at: "body.email")
      expectProblem(try await ada.post("/v1/me/email", body("EVE@example.com")), 409, "email_taken")
      #expect(try await ada.get("/v1/me").body["user"]["email"].string == "ada@example.com")
      let answer = try await ada.post("/v1/me/email", body(" Lovelace@Example.com"))
      #expect(answer.status == 200 && answer.body.names == ["email", "token", "expiresAt"])
      #expect(answer.body["email"].string == "lovelace@example.com")
      expectProblem(try await ada.get("/v1/me"), 401, "unauthenticated")
      let token = try #require(answer.body["token"].string)
      #expect(try await portal.get("/v1/me", token: token).body["user"]["email"].string == "lovelace@example.com")
      #expect(try await portal.actions(token).first == "user.email_changed")
      expectProblem(try await portal.logIn(), 401, "invalid_credentials")
      #expect(try await portal.logIn("lovelace@example.com").status == 200)
      _ = try await portal.signUp("ada@example.com")
    }
  }
}
