import PortalAPI
import PortalHTTP
import PortalTesting
import PostgresTesting
import Testing

@Suite("POST /v1/email/verification and /v1/email/verify")
struct VerifyEmailTests {
  private func verify(_ portal: TestPortal, _ token: String) async throws -> TestAnswer {
    try await portal.post("/v1/email/verify", "{\"token\":\"\(token)\"}")
  }

  @Test("a person who is logged in can request a mail, and confirm the address once with the token in it")
  func confirm() async throws {
    try await withMailPortal { portal, folder in
      try await portal.makeUser("ada@example.com")
      let session = try #require(
        try await portal.logIn("ada@example.com", password: "correct horse battery").body["token"].string)
      for body in [nil, "{}"] {
        let answer = try await portal.post("/v1/email/verification", body, token: session)
        #expect(answer.status == 202 && answer.body == .object([("status", .string("accepted"))]))
      }
      let tokens = try await folder.mails(to: "ada@example.com", count: 2).compactMap(\.token)
      #expect(try await verify(portal, tokens[0]).status == 204)
      for token in tokens { expectProblem(try await verify(portal, token), 400, "invalid_token") }
      expectProblem(try await portal.post("/v1/email/verification", token: session), 409, "email_verified")
      let event = try await portal.get("/v1/audit?limit=1", token: session).body["events"][0]
      #expect(event["action"].string == "user.email_verified")
    }
  }

  @Test("an invalid token is refused, and so is a body with other members")
  func badInput() async throws {
    try await withMailPortal { portal, _ in
      try await portal.makeUser("ada@example.com")
      for (body, location) in TokenBodies.bad() {
        expectProblem(try await portal.post("/v1/email/verify", body), 400, "invalid_request", at: location, "\(body)")
      }
      for token in ["x", "lk_verify_x", "lk_signup_x", "lk_reset_x"] {
        expectProblem(try await verify(portal, token), 400, "invalid_token", "\(token)")
      }
      let session = try #require(
        try await portal.logIn("ada@example.com", password: "correct horse battery").body["token"].string)
      expectProblem(
        try await portal.post("/v1/email/verification", #"{"email":"eve@example.com"}"#, token: session), 400,
        "invalid_request", at: "body.email")
      expectProblem(try await portal.post("/v1/email/verification"), 401, "unauthenticated")
    }
  }

  @Test("without mail, it is mail_not_configured")
  func noMail() async throws {
    try await withPortal { portal in
      let customer = try await portal.signUp()
      expectProblem(try await customer.post("/v1/email/verification"), 403, "mail_not_configured")
    }
  }
}
