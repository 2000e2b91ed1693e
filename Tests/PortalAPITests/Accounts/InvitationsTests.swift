import Foundation
import Portal
import PortalAPI
import PortalHTTP
import PortalTesting
import PostgresTesting
import Testing

@Suite("/v1/invitations")
struct InvitationsTests {
  private static let password = "correct horse battery"

  private func invite(_ customer: TestCustomer, _ email: String, _ role: String = "developer") async throws
    -> TestAnswer
  {
    try await customer.post("/v1/invitations", "{\"email\":\"\(email)\",\"role\":\"\(role)\"}")
  }

  private func accept(_ portal: TestPortal, _ token: String, _ password: String = password) async throws -> TestAnswer {
    try await portal.post("/v1/accept-invitation", "{\"token\":\"\(token)\",\"password\":\"\(password)\"}")
  }

  @Test("a new user becomes a member with the password that they choose")
  func newcomer() async throws {
    try await withPortal { portal in
      let owner = try await portal.signUp()
      let made = try await invite(owner, " Bob@Example.com ")
      #expect(made.status == 201)
      #expect(made.body.names == ["id", "email", "role", "invitedBy", "createdAt", "expiresAt", "token"])
      #expect(made.body["email"].string == "bob@example.com" && made.body["invitedBy"].string == "ada@example.com")
      #expect(made.header("Cache-Control") == "no-store")
      let listed = try await owner.get("/v1/invitations").body["invitations"].array
      #expect(listed.count == 1 && listed[0]["id"] == made.body["id"] && listed[0]["token"] == .null)

      let token = try #require(made.body["token"].string)
      expectProblem(try await accept(portal, token, "short"), 400, "invalid_request", at: "body.password")
      let accepted = try await accept(portal, token)
      #expect(accepted.status == 200)
      #expect(accepted.body["account"]["id"].string == owner.accountID.uuidString.lowercased())
      #expect(accepted.body["role"].string == "developer")
      let login = try await portal.post(
        "/v1/login", "{\"email\":\"bob@example.com\",\"password\":\"\(Self.password)\"}")
      #expect(login.status == 200 && login.body["role"].string == "developer")
      #expect(try await owner.get("/v1/invitations").body["invitations"].array == [])
      let actions = try await owner.get("/v1/audit").body["events"].array.compactMap { $0["action"].string }
      #expect(actions.contains("member.invited") && actions.contains("member.joined"))
    }
  }

  @Test("an existing user accepts with their current password, and belongs to both accounts")
  func known() async throws {
    try await withPortal { portal in
      let owner = try await portal.signUp()
      let bob = try await portal.signUp("bob@example.com")
      let token = try #require(try await invite(owner, "bob@example.com").body["token"].string)
      expectProblem(try await accept(portal, token, "not the right one"), 401, "invalid_credentials")
      #expect(try await accept(portal, token).status == 200)
      #expect(try await bob.get("/v1/accounts").body["accounts"].array.count == 2)
      expectProblem(try await invite(owner, "bob@example.com"), 409, "already_member")
    }
  }

  @Test("a token cannot be used to guess the password of an existing user")
  func guessing() async throws {
    try await withPortal { portal in
      let owner = try await portal.signUp()
      _ = try await portal.signUp("bob@example.com")
      let token = try #require(try await invite(owner, "bob@example.com").body["token"].string)
      var answer = try await accept(portal, token, "not the right one")
      for _ in 1...10 where answer.status == 401 { answer = try await accept(portal, token, "not the right one") }
      expectProblem(answer, 429, "too_many_requests")
      #expect(answer.header("Retry-After") != nil)
      #expect(try await owner.get("/v1/members").body["members"].array.count == 1)
    }
  }

  @Test("with mail, the token goes only to the address, and accepting confirms the address")
  func byMail() async throws {
    try await withMailPortal { portal, folder in
      try await portal.makeUser("ada@example.com")
      let login = try await portal.logIn("ada@example.com", password: Self.password)
      let token = try #require(login.body["token"].string)
      let answer = try await portal.post(
        "/v1/invitations", #"{"email":"bob@example.com","role":"viewer"}"#, token: token)
      #expect(answer.status == 201 && answer.body["token"] == .null)
      let mail = try #require(try await folder.mails(to: "bob@example.com", count: 1).last)
      #expect(mail.text.contains("ada@example.com") && mail.text.contains("viewer"))
      #expect(try await accept(portal, try #require(mail.token)).status == 200)
      let bob = try #require(try await portal.logIn("bob@example.com", password: Self.password).body["token"].string)
      expectProblem(try await portal.post("/v1/email/verification", token: bob), 409, "email_verified")
    }
  }

  @Test("fifty concurrent acceptances create one member", arguments: 0..<3)
  func once(round: Int) async throws {
    try await withPortal { portal in
      let owner = try await portal.signUp()
      let token = try #require(try await invite(owner, "bob@example.com").body["token"].string)
      let statuses = try await withThrowingTaskGroup { group in
        for _ in 0..<50 { group.addTask { try await accept(portal, token).status } }
        return try await group.reduce(into: [Int: Int]()) { $0[$1, default: 0] += 1 }
      }
      #expect(statuses[200] == 1, "\(statuses)")
      #expect(statuses.keys.allSatisfy { [200, 400, 401, 409, 429].contains($0) }, "\(statuses)")
      #expect(try await owner.get("/v1/members").body["members"].array.count == 2)
      expectProblem(try await accept(portal, token), 400, "invalid_token")
    }
  }

  @Test("a revoked, replaced, expired or invalid token is not accepted")
  func over() async throws {
    try await withPortal { portal in
      let owner = try await portal.signUp()
      let first = try await invite(owner, "bob@example.com")
      let second = try await invite(owner, "bob@example.com", "viewer")
      expectProblem(try await accept(portal, first.body["token"].string ?? ""), 400, "invalid_token")
      let id = try #require(second.body["id"].string)
      #expect(try await owner.delete("/v1/invitations/" + id).status == 204)
      expectProblem(try await owner.delete("/v1/invitations/" + id), 404, "not_found")
      expectProblem(try await accept(portal, second.body["token"].string ?? ""), 400, "invalid_token")
      let third = try #require(try await invite(owner, "bob@example.com").body["token"].string)
      try await portal.script("update one_time_tokens set expires_at = now()")
      expectProblem(try await accept(portal, third), 400, "invalid_token")
      for token in ["x", "lk_invite_x", "lk_reset" + third.dropFirst(9)] {
        expectProblem(try await accept(portal, token), 400, "invalid_token", "\(token)")
      }
      #expect(try await owner.get("/v1/members").body["members"].array.count == 1)
    }
  }

  @Test(
    "the open invitations of a member end when the member may no longer invite",
    arguments: ["removed", "demoted", "left"])
  func outlived(_ how: String) async throws {
    try await withPortal { portal in
      let owner = try await portal.signUp()
      let admin = try await owner.makeMember("bob@example.com", .admin)
      let asAdmin = TestCustomer(portal: portal, token: admin.token, accountID: owner.accountID)
      let token = try #require(try await invite(asAdmin, "back@example.com", "admin").body["token"].string)
      let kept = try #require(try await invite(owner, "eve@example.com").body["token"].string)
      switch how {
      case "removed": #expect(try await owner.delete("/v1/members/" + admin.userID).status == 204)
      case "left": #expect(try await asAdmin.post("/v1/leave").status == 204)
      default: #expect(try await owner.patch("/v1/members/" + admin.userID, #"{"role":"developer"}"#).status == 200)
      }
      expectProblem(try await accept(portal, token), 400, "invalid_token")
      #expect(try await accept(portal, kept).status == 200)
      #expect(
        try await portal.actions(owner.token).contains("invitation.revoked"))
    }
  }

  @Test("only an owner can invite an owner, and a suspended account can invite nobody")
  func limits() async throws {
    try await withPortal { portal in
      let owner = try await portal.signUp()
      let admin = try await owner.makeMember("bob@example.com", .admin)
      let asAdmin = TestCustomer(portal: portal, token: admin.token, accountID: owner.accountID)
      expectProblem(try await invite(asAdmin, "eve@example.com", "owner"), 403, "forbidden")
      #expect(try await invite(asAdmin, "eve@example.com", "admin").status == 201)
      #expect(try await invite(owner, "eve@example.com", "owner").status == 201)
      let open = try #require(try await invite(owner, "tom@example.com").body["token"].string)
      try await portal.script("update accounts set suspended_at = now()")
      expectProblem(try await invite(owner, "kim@example.com"), 403, "forbidden")
      expectProblem(try await accept(portal, open), 403, "forbidden")
    }
  }

  @Test("the number of open invitations per account is limited")
  func count() async throws {
    try await withPortal { portal in
      let owner = try await portal.signUp()
      try await portal.script(
        """
        insert into invitations (id, account_id, email, role, inviter_name, is_mailed, expires_at)
        select gen_random_uuid(), '\(owner.accountID)', 'guest' || n || '@example.com', 'viewer', 'x', false,
          now() + interval '1 day'
        from generate_series(1, \(Invitation.openCountMax)) n
        """)
      expectProblem(try await invite(owner, "one-more@example.com"), 403, "limit_not_allowed")
    }
  }

  @Test(
    "invalid input is refused with its location",
    arguments: [
      ("{}", "body.email"), (#"{"email":"bob@example.com"}"#, "body.role"),
      (#"{"email":"bob","role":"admin"}"#, "body.email"),
      (#"{"email":"bob@example.com","role":"king"}"#, "body.role"),
      (#"{"email":"bob@example.com","role":"admin","x":1}"#, "body.x"),
    ])
  func badInput(_ body: String, _ location: String) async throws {
    try await withPortal { portal in
      let owner = try await portal.signUp()
      let rows = try await portal.rowCount()
      expectProblem(try await owner.post("/v1/invitations", body), 400, "invalid_request", at: location)
      #expect(try await portal.rowCount() == rows)
      expectProblem(try await owner.delete("/v1/invitations/nobody"), 404, "not_found")
    }
  }
}
