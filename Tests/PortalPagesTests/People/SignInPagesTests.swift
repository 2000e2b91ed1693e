import Foundation
import HTTPTypes
import Portal
import PortalApplication
import PortalHTTP
import PortalTesting
import PostgresTesting
import Testing

@Suite("Pages for signing in and up")
struct SignInPagesTests {
  private let ada: Fields = ["email": "ada@example.com", "password": "correct horse battery", "next": ""]

  @Test("a wrong password and an unknown address get the same answer, which shows the address and no password")
  func wrong() async throws {
    try await withPortal { portal in
      _ = try await portal.signUp()
      let browser = Browser(portal)
      for fields in [ada.setting("password", "another horse battery"), ada.setting("email", "eve@example.com")] {
        let answer = try await browser.post("/login", fields)
        #expect(answer.status == 422 && answer.says("The address or the password is wrong."))
        #expect(answer.document?.value("password") == nil && !answer.text.contains("horse"))
        #expect(answer.headers[.setCookie] == nil)
      }
      let empty = try await browser.post("/login", ["email": "", "password": ""])
      #expect(empty.status == 422 && empty.says("Enter your e-mail address.") && empty.says("Enter the password."))
    }
  }

  @Test(
    "after signing in, the reader gets to a page of this portal and nowhere else",
    arguments: [
      ("/keys?q=a", "/keys?q=a"), ("//evil.example", "/overview"), ("https://evil.example", "/overview"),
      ("/login", "/overview"), ("/logout", "/overview"), ("/nothing", "/overview"), ("/v1/keys", "/overview"),
      ("/\\evil.example", "/overview"), ("", "/overview"),
    ])
  func returning(_ next: String, _ location: String) async throws {
    try await withPortal { portal in
      _ = try await portal.signUp()
      #expect(try await Browser(portal).post("/login", ada.setting("next", next)).location == location)
    }
  }

  @Test("a session of the pages is a session of the API, and signing in again in the same browser ends the last one")
  func session() async throws {
    try await withPortal { portal in
      _ = try await portal.signUp()
      let browser = Browser(portal)
      _ = try await browser.post("/login", ada)
      let first = try #require(await browser.token)
      #expect(try await portal.get("/v1/me", token: first).status == 200)
      _ = try await browser.post("/login", ada)
      #expect(try await portal.get("/v1/me", token: first).status == 401)
      let second = try #require(await browser.token)
      #expect(try await browser.post("/logout").location == "/login")
      #expect(await browser.token == nil)
      #expect(try await portal.get("/v1/me", token: second).status == 401)
    }
  }

  @Test("a session that has ended leads to signing in, and its cookie goes")
  func ended() async throws {
    try await withPortal { portal in
      let ada = try await portal.signUp()
      let browser = await Browser.signedIn(ada)
      _ = try await ada.post("/v1/logout")
      let answer = try await browser.post("/keys", ["name": "lost"])
      #expect(answer.status == 303 && answer.location == "/login?next=%2Fkeys")
      #expect(await browser.token == nil)
    }
  }

  @Test("a second factor is asked for after the right password, which has to be typed again")
  func secondFactor() async throws {
    try await withPortal(configure: {
      $0.secretBox = SecretBox(base64: Data(repeating: 7, count: 32).base64EncodedString())
    }) { portal in
      let customer = try await portal.signUp()
      _ = try await customer.post("/v1/me/second-factor", #"{"password":"correct horse battery"}"#)
      try await portal.script("update second_factors set confirmed_at = now()")
      let browser = Browser(portal)
      let asked = try await browser.post("/login", ada)
      #expect(asked.status == 422 && asked.says("One more step."))
      #expect(asked.document?.all("input").first { $0.attributes["name"] == "code" }?.attributes["required"] != nil)
      #expect(!asked.text.contains("horse") && asked.headers[.setCookie] == nil)
      var fields = ada
      fields.pairs.append(("code", "000000"))
      let wrong = try await browser.post("/login", fields)
      #expect(wrong.status == 422 && wrong.says("The code is wrong") && wrong.headers[.setCookie] == nil)
    }
  }

  @Test("without mail, signing up opens a session; a taken address is said beside its field")
  func signUp() async throws {
    try await withPortal { portal in
      let browser = Browser(portal)
      let fields: Fields = [
        "accountName": "Acme <b>", "email": "ada@example.com", "password": "correct horse battery",
      ]
      #expect(try await browser.post("/signup", fields).location == "/overview")
      let overview = try await browser.get("/overview")
      #expect(overview.status == 200 && overview.text.contains("Acme &lt;b&gt;"))
      let taken = try await Browser(portal).post("/signup", fields)
      #expect(taken.status == 422 && taken.says("has an account already"))
      let weak = try await Browser(portal).post("/signup", fields.setting("password", "short"))
      #expect(weak.status == 422 && weak.says("at least 12 characters"))
    }
  }

  @Test("where sign-up is closed, the page says whom to ask, and no form makes an account")
  func closed() async throws {
    try await withPortal(configure: { $0.isSignupOpen = false }) { portal in
      #expect(try await Browser(portal).get("/signup").says("Sign-up is closed"))
      #expect(try await !Browser(portal).get("/login").text.contains("/signup"))
      let answer = try await Browser(portal).post(
        "/signup", ["accountName": "Acme", "email": "ada@example.com", "password": "correct horse battery"])
      #expect(answer.status == 403 && answer.headers[.setCookie] == nil)
    }
  }
}

@Suite("Pages that mails lead to")
struct MailedCodePagesTests {
  private func withMail(_ body: @escaping @Sendable (TestPortal, TestMailFolder) async throws -> Void) async throws {
    try await TestMailFolder.with { folder in
      let settings = try MailSettings.test(.folder(folder.path))
      try await withPortal(configure: { $0.mail = settings }) { portal in try await body(portal, folder) }
    }
  }

  @Test("from signing up to a forgotten password; asking for a page uses no code up")
  func journey() async throws {
    try await withMail { portal, folder in
      let browser = Browser(portal)
      let signUp = try await browser.post(
        "/signup", ["accountName": "Acme", "email": "ada@example.com", "password": "correct horse battery"])
      #expect(signUp.status == 202 && signUp.says("A mail is on its way") && signUp.headers[.setCookie] == nil)
      let code = try #require(try await folder.mails(to: "ada@example.com", count: 1).last?.token)
      for _ in 0..<2 { #expect(try await browser.get("/email/verify").status == 200) }
      #expect(try await browser.post("/email/verify", ["token": "lk_verify_x"]).says("This code is mistyped"))
      #expect(try await browser.post("/email/verify", ["token": " \(code)\n"]).says("Your address is confirmed"))
      #expect(try await browser.post("/email/verify", ["token": code]).status == 422)

      for address in ["ada@example.com", "nobody@example.com"] {
        let answer = try await browser.post("/password/forgot", ["email": address])
        #expect(answer.status == 202 && answer.says("If this address can be used here"))
      }
      let reset = try #require(try await folder.mails(to: "ada@example.com", count: 2).last?.token)
      let weak = try await browser.post("/password/reset", ["token": reset, "password": "short"])
      #expect(weak.status == 422 && !weak.text.contains(reset))
      let done = try await browser.post("/password/reset", ["token": reset, "password": "another horse battery"])
      #expect(done.status == 200 && done.says("Your password is changed"))
      let signedIn = try await browser.post(
        "/login", ["email": "ada@example.com", "password": "another horse battery"])
      #expect(signedIn.location == "/overview")
    }
  }

  @Test("without mail, the page says whom to ask")
  func noMail() async throws {
    try await withPortal { portal in
      let answer = try await Browser(portal).post("/password/forgot", ["email": "ada@example.com"])
      #expect(answer.status == 422 && answer.says("This portal sends no mail."))
    }
  }
}
