import Portal
import PortalAPI
import PortalHTTP
import PortalTesting
import PostgresTesting
import Testing

@Suite("POST /v1/signup, with mail configured")
struct SignUpByMailTests {
  private func signUp(_ portal: TestPortal, _ email: String, _ password: String) async throws -> TestAnswer {
    try await portal.post(
      "/v1/signup", "{\"email\":\"\(email)\",\"password\":\"\(password)\",\"accountName\":\"Acme\"}")
  }

  @Test("the account is created once its address is confirmed, and nobody can log in before")
  func confirmed() async throws {
    try await withMailPortal { portal, folder in
      let rows = try await portal.rowCount()
      let answer = try await signUp(portal, " Ada@Example.com ", "correct horse battery")
      #expect(answer.status == 202 && answer.body == .object([("status", .string("accepted"))]))
      #expect(answer.header("Set-Cookie") == nil)
      let token = try #require(try await folder.mails(to: "ada@example.com", count: 1)[0].token)
      expectProblem(
        try await portal.logIn("ada@example.com", password: "correct horse battery"), 401, "invalid_credentials")
      #expect(try await portal.rowCount() == rows)
      #expect(try await portal.post("/v1/email/verify", "{\"token\":\"\(token)\"}").status == 204)
      let login = try await portal.logIn("ada@example.com", password: "correct horse battery")
      #expect(login.status == 200 && login.body["account"]["name"].string == "Acme")
      #expect(login.body["role"].string == "owner")
      expectProblem(try await portal.post("/v1/email/verify", "{\"token\":\"\(token)\"}"), 400, "invalid_token")
    }
  }

  @Test("an address in use gets the same response; its owner is notified, and nothing else happens")
  func known() async throws {
    try await withMailPortal { portal, folder in
      try await portal.makeUser("ada@example.com")
      let rows = try await portal.rowCount()
      let (known, unknown) = (
        try await signUp(portal, "ada@example.com", "another horse battery"),
        try await signUp(portal, "eve@example.com", "another horse battery")
      )
      #expect(known.status == 202 && unknown.status == 202 && known.body == unknown.body)
      for name in ["Content-Type", "Content-Length", "Cache-Control", "Set-Cookie", "Retry-After"] {
        #expect(unknown.header(name) == known.header(name), "\(name)")
      }
      let mail = try await folder.mails(to: "ada@example.com", count: 1)[0]
      #expect(mail.header("Subject") == "You have an account already" && mail.token == nil)
      #expect(!mail.text.contains("Acme"))
      _ = try await folder.mails(to: "eve@example.com", count: 1)
      // A log-in does not reveal the difference either.
      for email in ["ada@example.com", "eve@example.com"] {
        expectProblem(
          try await portal.logIn(email, password: "another horse battery"), 401, "invalid_credentials", "\(email)")
      }
      #expect(try await portal.rowCount() == rows)
    }
  }

  @Test("invalid input is refused as without mail")
  func badInput() async throws {
    try await withMailPortal { portal, folder in
      expectProblem(try await signUp(portal, "ada", "correct horse battery"), 400, "invalid_request", at: "body.email")
      expectProblem(try await signUp(portal, "ada@example.com", "short"), 400, "invalid_request", at: "body.password")
      #expect(try folder.mails().isEmpty)
    }
  }

  @Test("the whole path from sign-up to a revocation by support works with a real mail server")
  func wholeWay() async throws {
    try await TestMailServer.with { mailbox in
      let settings = try MailSettings.test(.smtp(try mailbox.server()))
      try await withPortal(configure: { $0.mail = settings }) { portal in
        func mail(_ subject: String) async throws -> TestMail {
          try await eventually("\(subject) arrives") {
            try mailbox.mails().contains { $0.header("Subject") == subject }
          }
          return try #require(try mailbox.mails().first { $0.header("Subject") == subject })
        }
        #expect(try await signUp(portal, "ada@example.com", "correct horse battery").status == 202)
        let token = try #require(try await mail("Confirm your e-mail address").token)
        #expect(try await portal.post("/v1/email/verify", "{\"token\":\"\(token)\"}").status == 204)
        let session = try #require(
          try await portal.logIn("ada@example.com", password: "correct horse battery").body["token"].string)
        let made = try await portal.post("/v1/keys", #"{"name":"Orders","scopes":["orders:read"]}"#, token: session)
        let (id, key) = (try #require(made.body["id"].string), try #require(made.body["key"].string))
        #expect(try await mail("New API key in Acme").text.contains(try #require(made.body["start"].string)))
        let staff = try await portal.logInStaff()
        #expect(
          try await portal.post("/v1/support/keys/\(id)/revoke", #"{"reason":"leaked"}"#, token: staff).status == 200)
        let notice = try await mail("API key revoked in Acme")
        #expect(notice.text.contains("Grace") && notice.text.contains("leaked"))
        #expect(try mailbox.mails().allSatisfy { !$0.text.contains(key) })
        #expect(try mailbox.envelopes().allSatisfy { $0.encrypted && $0.to == ["ada@example.com"] })
        try await eventually("the mail is counted") {
          try await portal.text("/metrics").text.contains(#"latchkey_mails_sent_total{kind="key_revoked"} 1"#)
        }
        #expect(try await portal.get("/readyz").body["warnings"] == .array([]))
      }
    }
  }
}
