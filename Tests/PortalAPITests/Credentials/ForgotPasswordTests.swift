import PortalAPI
import PortalHTTP
import PortalTesting
import PostgresTesting
import Testing

@Suite("POST /v1/password/forgot")
struct ForgotPasswordTests {
  private func forgot(_ portal: TestPortal, _ email: String) async throws -> TestAnswer {
    try await portal.post("/v1/password/forgot", "{\"email\":\"\(email)\"}")
  }

  @Test("the response is the same with and without an account; only a known address gets a mail")
  func neutral() async throws {
    try await withMailPortal { portal, folder in
      try await portal.makeUser("ada@example.com")
      let (known, unknown) = (
        try await forgot(portal, " ADA@example.com "), try await forgot(portal, "eve@example.com")
      )
      #expect(known.status == 202 && known.body == .object([("status", .string("accepted"))]))
      #expect(unknown.status == known.status && unknown.body == known.body)
      for name in ["Content-Type", "Content-Length", "Cache-Control", "Set-Cookie", "Retry-After"] {
        #expect(unknown.header(name) == known.header(name), "\(name)")
      }
      let mail = try await folder.mails(to: "ada@example.com", count: 1)[0]
      #expect(mail.header("Subject") == "Set a new password")
      let token = try #require(mail.token)
      #expect(mail.text.contains("\nhttp://127.0.0.1:8080/password/reset#\(token)\n"))
      try await portal.waitForMails()
      #expect(try folder.mails().count == 1)
    }
  }

  @Test("repeated requests are throttled, for known and unknown addresses")
  func throttled() async throws {
    try await withMailPortal { portal, _ in
      try await portal.makeUser("ada@example.com")
      for email in ["ada@example.com", "eve@example.com"] {
        for _ in 0..<5 { #expect(try await forgot(portal, email).status == 202) }
        let answer = try await forgot(portal, email)
        expectProblem(answer, 429, "too_many_requests", "\(email)")
        #expect(answer.header("Retry-After") != nil)
      }
    }
  }

  @Test("an invalid e-mail address is refused")
  func badInput() async throws {
    try await withMailPortal { portal, _ in
      for body in [#"{}"#, #"{"email":null}"#, #"{"email":7}"#, #"{"email":""}"#, #"{"email":"ada"}"#] {
        expectProblem(
          try await portal.post("/v1/password/forgot", body), 400, "invalid_request", at: "body.email", "\(body)")
      }
      expectProblem(
        try await portal.post("/v1/password/forgot", #"{"email":"a@b.c","user":"a"}"#), 400, "invalid_request",
        at: "body.user")
      expectProblem(try await portal.post("/v1/password/forgot"), 415, "unsupported_media_type")
      let long = "{\"email\":\"\(String(repeating: "a", count: 17_000))\"}"
      expectProblem(try await portal.post("/v1/password/forgot", long), 413, "body_too_large")
    }
  }

  @Test("without mail, it is mail_not_configured")
  func noMail() async throws {
    try await withPortal { portal in
      _ = try await portal.signUp()
      expectProblem(try await forgot(portal, "ada@example.com"), 403, "mail_not_configured")
    }
  }
}
