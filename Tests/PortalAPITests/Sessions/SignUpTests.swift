import Foundation
import JSON
import Portal
import PortalAPI
import PortalHTTP
import PortalTesting
import Testing

@Suite("POST /v1/signup")
struct SignUpTests {
  @Test("a new customer is logged in as the owner of an account, by token and by cookie")
  func signUp() async throws {
    try await withPortal { portal in
      let answer = try await portal.post(
        "/v1/signup", #"{"email":" Ada@Example.COM ","password":"correct horse battery","accountName":"Analytical 🚂"}"#)
      #expect(answer.status == 201)
      #expect(answer.header("Content-Type") == "application/json")
      #expect(answer.header("Cache-Control") == "no-store")
      #expect(answer.body.names == Contract.login)
      #expect(answer.body["user"].names == ["id", "email"])
      #expect(answer.body["user"]["id"].isID)
      #expect(answer.body["user"]["email"].string == "ada@example.com")
      #expect(answer.body["account"].names == ["id", "name"])
      #expect(answer.body["account"]["id"].isID)
      #expect(answer.body["account"]["name"].string == "Analytical 🚂")
      #expect(answer.body["role"].string == "owner")
      #expect(answer.body["expiresAt"].isTime)
      let token = try #require(answer.body["token"].string)
      #expect(answer.header("Set-Cookie")?.hasPrefix("latchkey=\(token); ") == true)
      #expect(try await portal.get("/v1/me", token: token).body["user"] == answer.body["user"])
    }
  }

  @Test("an address in use, in any case, is email_taken, and nothing is created")
  func emailTaken() async throws {
    try await withPortal { portal in
      _ = try await portal.signUp("ada@example.com")
      let before = try await portal.rowCount()
      for email in ["ada@example.com", "ADA@EXAMPLE.com", " ada@example.com "] {
        let answer = try await portal.post(
          "/v1/signup", "{\"email\":\"\(email)\",\"password\":\"another password\",\"accountName\":\"b\"}")
        expectProblem(answer, 409, "email_taken")
        #expect(answer.header("Set-Cookie") == nil)
      }
      #expect(try await portal.rowCount() == before)
    }
  }

  @Test("of ten concurrent sign-ups with one address, one creates an account")
  func concurrent() async throws {
    try await withPortal { portal in
      let answers = try await withThrowingTaskGroup { group in
        for number in 0..<10 {
          group.addTask {
            try await portal.post(
              "/v1/signup",
              "{\"email\":\"ada@example.com\",\"password\":\"correct horse battery\",\"accountName\":\"\(number)\"}")
          }
        }
        return try await group.reduce(into: [TestAnswer]()) { $0.append($1) }
      }
      #expect(answers.count { $0.status == 201 } == 1)
      // Repeated attempts with one address are throttled, too.
      #expect(answers.count { $0.code == "email_taken" || $0.code == "too_many_requests" } == 9)
    }
  }

  @Test("repeated attempts with one address are throttled")
  func throttled() async throws {
    try await withPortal { portal in
      _ = try await portal.signUp()
      let body = #"{"email":"ada@example.com","password":"correct horse battery","accountName":"a"}"#
      for _ in 0..<4 { expectProblem(try await portal.post("/v1/signup", body), 409, "email_taken") }
      expectProblem(try await portal.post("/v1/signup", body), 429, "too_many_requests")
    }
  }

  @Test("a closed sign-up creates nothing")
  func closed() async throws {
    try await withPortal(configure: { $0.isSignupOpen = false }) { portal in
      let before = try await portal.rowCount()
      let answer = try await portal.post(
        "/v1/signup", #"{"email":"ada@example.com","password":"correct horse battery","accountName":"a"}"#)
      expectProblem(answer, 403, "forbidden")
      #expect(try await portal.rowCount() == before)
    }
  }

  @Test("a password must have 12 to 1,024 bytes")
  func passwordLengths() async throws {
    try await withPortal { portal in
      for (length, status) in [(11, 400), (12, 201), (1_024, 201), (1_025, 400)] {
        let answer = try await portal.post(
          "/v1/signup",
          """
          {"email":"p\(length)@example.com","password":"\(String(repeating: "p", count: length))","accountName":"a"}
          """)
        #expect(answer.status == status)
        if status == 400 { expectProblem(answer, 400, "invalid_request", at: "body.password") }
      }
      // Bytes count, not characters.
      let answer = try await portal.post(
        "/v1/signup",
        "{\"email\":\"e@example.com\",\"password\":\"\(String(repeating: "é", count: 513))\",\"accountName\":\"a\"}")
      expectProblem(answer, 400, "invalid_request", at: "body.password")
    }
  }

  @Test("an account name must be visible, with no invisible characters; surrounding white space is not part of it")
  func names() async throws {
    try await withPortal { portal in
      let more = #","email":"ada@example.com","password":"correct horse battery""#
      let before = try await portal.rowCount()
      for name in TypedNames.bad {
        let answer = try await portal.post("/v1/signup", TypedNames.body(name, more, as: "accountName"))
        expectProblem(answer, 400, "invalid_request", at: "body.accountName", "\(name.debugDescription)")
      }
      #expect(try await portal.rowCount() == before)
      let answer = try await portal.post("/v1/signup", TypedNames.body(" Analytical 🚂\n", more, as: "accountName"))
      #expect(answer.body["account"]["name"].string == "Analytical 🚂")
    }
  }

  @Test("all spellings of an address are one account and one log-in, and all spellings of a password are one password")
  func spellings() async throws {
    try await withPortal { portal in
      func body(_ email: String, _ password: String, _ more: String = "") -> String {
        "{\"email\":\"\(email)\",\"password\":\"\(password)\"\(more)}"
      }
      let (composed, decomposed) = ("d\u{E9}j\u{E0} vu encore", "de\u{301}ja\u{300}\u{A0}vu encore")
      for (spellings, kept) in [
        (["jose\u{301}@example.com", "jos\u{E9}@example.com"], "jos\u{E9}@example.com"),
        (
          ["user@b\u{FC}cher.example", "user@xn--bcher-kva.example", "user@BU\u{308}CHER.example"],
          "user@xn--bcher-kva.example"
        ),
      ] {
        let made = try await portal.post("/v1/signup", body(spellings[0], composed, #","accountName":"a""#))
        #expect(made.status == 201 && made.body["user"]["email"].string?.hasSameBytes(as: kept) == true)
        for email in spellings {
          let again = try await portal.post("/v1/signup", body(email, composed, #","accountName":"a""#))
          expectProblem(again, 409, "email_taken", "\(email)")
          let login = try await portal.post("/v1/login", body(email, decomposed))
          #expect(login.status == 200 && login.body["user"] == made.body["user"], "\(email)")
        }
      }
    }
  }

  @Test("an address with invisible characters is refused on every route, with the location of its field")
  func invisible() async throws {
    try await withPortal { portal in
      let owner = try await portal.signUp()
      let staff = try await portal.logInStaff()
      let before = try await portal.rowCount()
      for email in ["a\u{200B}da@example.com", "ada@example.com\u{202E}"] {
        let logIn = "{\"email\":\"\(email)\",\"password\":\"correct horse battery\"}"
        let signUp = logIn.dropLast() + #","accountName":"a"}"#
        for answer in [
          try await portal.post("/v1/signup", String(signUp)), try await portal.post("/v1/login", logIn),
          try await portal.post("/v1/support/login", logIn),
          try await owner.post("/v1/invitations", "{\"email\":\"\(email)\",\"role\":\"viewer\"}"),
          try await owner.post("/v1/me/email", logIn),
        ] {
          expectProblem(answer, 400, "invalid_request", at: "body.email")
          #expect(answer.body["errors"][0]["message"].string?.contains("invisible") == true)
        }
        let escaped = email.addingPercentEncoding(withAllowedCharacters: .alphanumerics) ?? ""
        let found = try await portal.get("/v1/support/accounts?email=\(escaped)", token: staff)
        expectProblem(found, 400, "invalid_request", at: "query.email")
      }
      #expect(try await portal.rowCount() == before)
    }
  }

  @Test("a new password with invisible characters is refused, with the location of its field")
  func invisiblePassword() async throws {
    try await withPortal { portal in
      let answer = try await portal.post(
        "/v1/signup",
        "{\"email\":\"ada@example.com\",\"password\":\"correct\u{200B}horse battery\",\"accountName\":\"a\"}")
      expectProblem(answer, 400, "invalid_request", at: "body.password")
      #expect(answer.body["errors"][0]["message"].string?.contains("invisible") == true)
    }
  }

  @Test("an invalid e-mail address is refused; any script is accepted")
  func addresses() async throws {
    try await withPortal { portal in
      for email in [
        "", " ", "a", "a@", "@b.c", "a@b", "a@@b.c", "a@b@c.d", "a b@c.d", "a@.c", "a@b.", "a\\t@b.c",
        "a@b.c\\u007f", String(repeating: "a", count: 251) + "@b.c", String(repeating: "é", count: 126) + "@b.cc",
      ] {
        let answer = try await portal.post(
          "/v1/signup", "{\"email\":\"\(email)\",\"password\":\"correct horse battery\",\"accountName\":\"a\"}")
        expectProblem(answer, 400, "invalid_request", at: "body.email", "\(email)")
      }
      for email in [
        String(repeating: "a", count: 250) + "@b.c", "ÄÖÜ@example.com", "İ@example.com",
        "ΑΣ@example.com", "ꭰᲐ@example.com", "ǅ@example.com", "日本@例え.jp", "a'--@example.com", "K@example.com",
      ] {
        let answer = try await portal.post(
          "/v1/signup", "{\"email\":\"\(email)\",\"password\":\"correct horse battery\",\"accountName\":\"a\"}")
        #expect(answer.status == 201, "\(email)")
      }
    }
  }
}
