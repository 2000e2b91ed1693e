import Foundation
import Portal
import PortalApplication
import PortalHTTP
import PortalTesting
import Testing

@Suite("Pages about members")
struct MemberPagesTests {
  @Test("from an invitation to a member who leaves, without mail")
  func journey() async throws {
    try await withPortal { portal in
      let owner = await Browser.signedIn(try await portal.signUp())
      let made = try await owner.post("/invitations", ["email": "bob@example.com", "role": "viewer"])
      let code = try #require(made.secret)
      #expect(made.status == 201 && made.says("This code is shown once."))
      #expect(try await owner.get("/members").says("bob@example.com"))

      let bob = Browser(portal)
      let weak = try await bob.post("/invitations/accept", ["token": code, "password": "short"])
      #expect(weak.status == 422 && !weak.text.contains(code))
      #expect(
        try await bob.post("/invitations/accept", ["token": code, "password": "another horse battery"]).status == 200)
      #expect(
        try await bob.post("/invitations/accept", ["token": code, "password": "another horse battery"]).status == 422)
      _ = try await bob.post("/login", ["email": "bob@example.com", "password": "another horse battery"])
      let members = try await bob.get("/members")
      #expect(members.says("ada@example.com") && !members.says("Invite somebody"))

      let forms = try await owner.get("/members").document?.all("form").compactMap { $0.attributes["action"] }
      let paths = try #require(forms).filter { $0.hasSuffix("/role") }
      #expect(paths.count == 2)
      for path in paths {
        let answer = try await owner.post(path, ["role": "viewer"])
        // The owner is the only one, and stays one.
        #expect([200, 409].contains(answer.status), "\(path)")
      }
      let own = try #require(
        try await bob.get("/members").document?.all("a").compactMap { $0.attributes["href"] }
          .first { $0.hasSuffix("/remove") })
      #expect(try await bob.get(own).says("Leave the account"))
      #expect(try await bob.post(own).location == "/login")
      #expect(try await !owner.get("/members").says("bob@example.com"))
    }
  }

  @Test("an invitation that cannot be made is explained beside the field")
  func refused() async throws {
    try await withPortal { portal in
      let owner = await Browser.signedIn(try await portal.signUp())
      let member = try await owner.post("/invitations", ["email": "ada@example.com", "role": "viewer"])
      #expect(member.status == 422 && member.says("This person is a member already."))
      let wrong = try await owner.post("/invitations", ["email": "nobody", "role": "king"])
      #expect(wrong.status == 422 && wrong.says("Enter an e-mail address") && wrong.says("Choose a role."))
      #expect(wrong.document?.value("email") == "nobody")
    }
  }

  @Test("an invitation is withdrawn, and another account's stays")
  func withdraw() async throws {
    try await withPortal { portal in
      let ada = try await portal.signUp()
      let owner = await Browser.signedIn(ada)
      _ = try await owner.post("/invitations", ["email": "bob@example.com", "role": "viewer"])
      let path = try #require(
        try await owner.get("/members").document?.all("form").compactMap { $0.attributes["action"] }
          .first { $0.hasSuffix("/revoke") })
      let eve = await Browser.signedIn(try await portal.signUp("eve@example.com"))
      #expect(try await eve.post(path).location == "/members")
      #expect(try await ada.get("/v1/invitations").body["invitations"].array.count == 1)
      #expect(try await owner.post(path).location == "/members")
      #expect(try await ada.get("/v1/invitations").body["invitations"].array.isEmpty)
    }
  }

  @Test("nobody reads or changes another account's members")
  func otherAccount() async throws {
    try await withPortal { portal in
      let ada = try await portal.signUp()
      let bob = try await ada.makeMember("bob@example.com", .viewer)
      let eve = await Browser.signedIn(try await portal.signUp("eve@example.com"))
      #expect(try await eve.post("/members/\(bob.userID)/role", ["role": "admin"]).status == 404)
      #expect(try await eve.post("/members/\(bob.userID)/remove").status == 404)
      #expect(try await ada.get("/v1/members").body["members"].array.count == 2)
      #expect(try await !eve.get("/members").says("bob@example.com"))
    }
  }
}

@Suite("Pages about the account")
struct AccountPagesTests {
  @Test("the audit trail filters by action, actor and target, and continues")
  func audit() async throws {
    try await withPortal { portal in
      let ada = try await portal.signUp()
      let browser = await Browser.signedIn(ada)
      try await portal.script("update plans set key_cap = 100")
      var id = ""
      for _ in 0..<51 { id = try await ada.createKey().id }
      let first = try await browser.get("/audit?action=key.created&actor=user")
      let next = try #require(first.document?.all("a").first { $0.attributes["rel"] == "next" }?.attributes["href"])
      #expect(next.contains("action=key.created") && next.contains("actor=user"))
      #expect(try await browser.get(next).says("Key created"))
      let one = try await browser.get("/audit?target=\(id)")
      #expect(one.text.components(separatedBy: "Key created").count == 3, "in the table and in the menu")
      #expect(try await browser.get("/audit?actor=job").says("Nothing has been recorded."))
      #expect(try await browser.get("/audit?target=x&action=y&actor=z&cursor=%25").status == 200)
    }
  }

  @Test("the overview names what expires soon, and usage is of the days that were asked for")
  func overview() async throws {
    try await withPortal { portal in
      let ada = try await portal.signUp()
      let browser = await Browser.signedIn(ada)
      let soon = Date().addingTimeInterval(86_400).ISO8601Format()
      _ = try await ada.createKey(",\"expiresAt\":\"\(soon)\"")
      #expect(try await browser.get("/overview").says("Expires soon"))
      for days in ["7", "30", "90"] {
        let page = try await browser.get("/usage?days=\(days)")
        #expect(page.text.contains("<option value=\"\(days)\" selected>"))
      }
      #expect(try await browser.get("/usage?days=1000000").text.contains("<option value=\"30\" selected>"))
    }
  }

  @Test("a suspended account says so on every page")
  func suspended() async throws {
    try await withPortal { portal in
      let browser = await Browser.signedIn(try await portal.signUp())
      try await portal.script("update accounts set suspended_at = now()")
      for path in ["/overview", "/keys", "/me"] {
        #expect(try await browser.get(path).says("This account is suspended."), "\(path)")
      }
      let once = try #require(try await browser.get("/keys/new").document?.value("once"))
      #expect(try await browser.post("/keys", Browser.newKey(once: once)).status == 403)
    }
  }
}
