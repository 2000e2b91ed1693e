import PortalAPI
import PortalHTTP
import PortalTesting
import PostgresTesting
import Testing

@Suite("POST /v1/password/reset")
struct ResetPasswordTests {
  private static let password = "another horse battery"

  private func reset(_ portal: TestPortal, _ token: String) async throws -> TestAnswer {
    try await portal.post("/v1/password/reset", "{\"token\":\"\(token)\",\"password\":\"\(Self.password)\"}")
  }

  private func requestToken(_ portal: TestPortal, _ folder: TestMailFolder) async throws -> String {
    let count = try folder.mails(to: "ada@example.com").count
    #expect(try await portal.post("/v1/password/forgot", #"{"email":"ada@example.com"}"#).status == 202)
    return try #require(try await folder.mails(to: "ada@example.com", count: count + 1).last?.token)
  }

  @Test("a reset replaces the password, ends all sessions, is recorded in the trail, and is reported to the owner")
  func reset() async throws {
    try await withMailPortal { portal, folder in
      try await portal.makeUser("ada@example.com")
      var sessions: [String] = []
      for _ in 0..<3 {
        sessions.append(
          try #require(
            try await portal.logIn("ada@example.com", password: "correct horse battery").body["token"].string))
      }
      let answer = try await reset(portal, try await requestToken(portal, folder))
      #expect(answer.status == 204 && answer.body == .null)
      for token in sessions { expectProblem(try await portal.get("/v1/me", token: token), 401, "unauthenticated") }
      expectProblem(
        try await portal.logIn("ada@example.com", password: "correct horse battery"), 401, "invalid_credentials")
      let token = try #require(try await portal.logIn("ada@example.com", password: Self.password).body["token"].string)
      let event = try #require(
        try await portal.get("/v1/audit?action=user.password_reset", token: token).body["events"].array.last)
      #expect(event["target"]["kind"].string == "user")
      #expect(event["actor"]["name"].string == "ada@example.com")
      try await eventually("the owner is notified") {
        try folder.mails(to: "ada@example.com").contains { $0.header("Subject") == "Your password was changed" }
      }
    }
  }

  @Test("a token works once, and its use invalidates the tokens sent before")
  func once() async throws {
    try await withMailPortal { portal, folder in
      try await portal.makeUser("ada@example.com")
      let tokens = [try await requestToken(portal, folder), try await requestToken(portal, folder)]
      #expect(try await reset(portal, tokens[1]).status == 204)
      for token in tokens { expectProblem(try await reset(portal, token), 400, "invalid_token") }
    }
  }

  @Test("an invalid token is refused, and so is a password that is too short or too long")
  func badInput() async throws {
    try await withMailPortal { portal, folder in
      try await portal.makeUser("ada@example.com")
      let password = "\"password\":\"\(Self.password)\""
      for (body, location) in TokenBodies.bad(password) {
        expectProblem(
          try await portal.post("/v1/password/reset", body), 400, "invalid_request", at: location, "\(body)")
      }
      let token = try await requestToken(portal, folder)
      for password in ["\"short\"", "null", "7", "\"\(String(repeating: "p", count: 1_025))\""] {
        expectProblem(
          try await portal.post("/v1/password/reset", "{\"token\":\"\(token)\",\"password\":\(password)}"), 400,
          "invalid_request", at: "body.password", "\(password)")
      }
      for token in ["x", "lk_reset_x", token.dropLast() + "!", "lk_verify" + token.dropFirst(8)] {
        expectProblem(try await reset(portal, String(token)), 400, "invalid_token", "\(token)")
      }
      // None of these requests has used the token.
      #expect(try await reset(portal, token).status == 204)
    }
  }
}
