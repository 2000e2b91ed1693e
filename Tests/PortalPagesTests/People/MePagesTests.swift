import Foundation
import Portal
import PortalApplication
import PortalHTTP
import PortalTesting
import Testing

@Suite("The page about oneself")
struct MePagesTests {
  private static let password = "correct horse battery"
  private static let other = "another horse battery"

  @Test("a new password ends the other sessions and keeps this one, with a new token")
  func password() async throws {
    try await withPortal { portal in
      let ada = try await portal.signUp()
      let browser = Browser(portal)
      _ = try await browser.post("/login", ["email": "ada@example.com", "password": Self.password])
      let before = await browser.token
      let wrong = try await browser.post("/me/password", ["password": Self.other, "newPassword": Self.other + "s"])
      #expect(wrong.status == 422 && wrong.says("This is not your current password."))
      let same = try await browser.post("/me/password", ["password": Self.password, "newPassword": Self.password])
      #expect(same.status == 422 && same.says("Choose another password"))
      let done = try await browser.post("/me/password", ["password": Self.password, "newPassword": Self.other])
      #expect(done.status == 200 && done.says("Your password is changed."))
      let after = await browser.token
      #expect(after != nil && after != before)
      #expect(try await browser.get("/me").status == 200)
      #expect(try await portal.get("/v1/me", token: ada.token).status == 401)
    }
  }

  @Test("sessions are listed and ended; nobody ends another person's")
  func sessions() async throws {
    try await withPortal { portal in
      let ada = try await portal.signUp()
      let browser = Browser(portal)
      _ = try await browser.post("/login", ["email": "ada@example.com", "password": Self.password])
      let page = try await browser.get("/me")
      #expect(page.says("Browser") && page.says("this one"))
      let end = try #require(
        page.document?.all("form").compactMap { $0.attributes["action"] }.first { $0.hasSuffix("/end") })
      let eve = await Browser.signedIn(try await portal.signUp("eve@example.com"))
      #expect(try await eve.post(end).location == "/me")
      #expect(try await portal.get("/v1/me", token: ada.token).status == 200)
      #expect(try await browser.post(end).location == "/me")
      #expect(try await portal.get("/v1/me", token: ada.token).status == 401)
      #expect(try await browser.post("/me/sessions/end-others").says("All your other sessions have ended."))
      #expect(try await browser.get("/me").status == 200)
    }
  }

  @Test("a person of two accounts goes from one to the other, and to no third")
  func accounts() async throws {
    try await withPortal { portal in
      let ada = try await portal.signUp()
      let bob = try await ada.makeMember("bob@example.com", .developer)
      let browser = await Browser.signedIn(portal, token: bob.token)
      #expect(try await browser.get("/me").says("Go to this account"))
      let third = try await portal.signUp("eve@example.com")
      #expect(try await browser.post("/accounts/\(third.accountID.uuidString)/switch").status == 404)
      let own = try await portal.get("/v1/accounts", token: bob.token).body["accounts"].array
      let id = try #require(own.compactMap { $0["id"].string }.first { $0 != ada.accountID.uuidString.lowercased() })
      #expect(try await browser.post("/accounts/\(id)/switch").location == "/overview")
      #expect(try await browser.get("/overview").text.contains("Account of bob@example.com"))
    }
  }
}
