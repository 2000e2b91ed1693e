import Foundation
import JSON
import Portal
import PortalAPI
import PortalApplication
import PortalHTTP
import PortalTesting
import Testing

@Suite("GET /v1/me/export and GET /v1/support/people/{id}/export")
struct ExportPersonTests {
  @Test("has all data stored about a person, in every account, and other people's events that concern the person")
  func everything() async throws {
    try await withPortal(configure: { $0.secretBox = secretBox }) { portal in
      let ada = try await portal.signUp()
      let (bobID, bob) = try await ada.makeMember("bob@example.com", .developer)
      let key = try await TestCustomer(portal: portal, token: bob, accountID: ada.accountID).createKey()
      _ = try await ada.createKey()
      #expect(try await ada.patch("/v1/members/" + bobID, #"{"role":"admin"}"#).status == 200)
      let (_, codes, token) = try await portal.enrol(bob)
      #expect(
        try await portal.post("/v1/invitations", #"{"email":"eve@example.com","role":"viewer"}"#, token: token).status
          == 201)
      let answer = try await portal.get("/v1/me/export", token: token)
      #expect(answer.status == 200 && answer.header("Content-Type") == "application/json")
      #expect(answer.header("Cache-Control") == "no-store")
      #expect(answer.header("Content-Disposition")?.hasPrefix("attachment") == true)
      let body = answer.body
      #expect(
        body.names == [
          "person", "memberships", "sessions", "invitations", "mails", "oneTimeTokens", "keys", "auditEvents",
        ])
      #expect(body["person"]["id"].string == bobID && body["person"]["email"].string == "bob@example.com")
      #expect(body["person"]["secondFactor"]["enabledAt"].isTime)
      #expect(body["person"]["secondFactor"]["recoveryCodes"].integer == codes.count)
      #expect(Set(body["memberships"].array.compactMap { $0["role"].string }) == ["owner", "admin"])
      #expect(body["sessions"].array.count == 1)
      #expect(body["invitations"].array.map { $0["email"].string } == ["eve@example.com"])
      #expect(body["keys"].array.map { $0["id"].string } == [key.id])
      let events = body["auditEvents"].array
      #expect(events.contains { $0["action"].string == "user.second_factor_enabled" })
      let changed = try #require(events.first { $0["action"].string == "member.role_changed" })
      #expect(changed["actor"]["name"].string == "ada@example.com" && changed["ip"] == .null)
      #expect(changed.names == ["accountId"] + Contract.auditEvent)
      #expect(changed["reason"] == .null)
      #expect(changed["detail"].string == "bob@example.com: from developer to admin")
      #expect(
        !events.contains { $0["actor"]["name"].string == "ada@example.com" && $0["target"]["id"].string != bobID })
    }
  }

  @Test("streams large exports, with every key and event once")
  func many() async throws {
    try await withPortal { portal in
      let ada = try await portal.signUp()
      try await portal.script(
        """
        insert into audit_events (id, account_id, actor_kind, actor_id, actor_name, action, target_kind)
        select gen_random_uuid(), '\(ada.accountID)', 'user', id, email, 'x', 'x' from users, generate_series(1, 2500);
        insert into api_keys (id, account_id, name, key_start, key_hash, environment, scopes, created_by_kind,
          created_by_id, created_by_name)
        select new, '\(ada.accountID)', 'Key', 'lk_live_0000', sha256(new::text::bytea), 'live', '{a}', 'user', id,
          email
        from users, (select gen_random_uuid() as new from generate_series(1, 2000)) made
        """)
      let body = try await ada.get("/v1/me/export").body
      #expect(Set(body["auditEvents"].array.compactMap { $0["id"].string }).count == 2_502)
      #expect(body["auditEvents"].array.count == 2_502)
      #expect(Set(body["keys"].array.compactMap { $0["id"].string }).count == 2_000)
    }
  }

  @Test("staff with the role admin can export any person; an unknown person is not found")
  func staff() async throws {
    try await withPortal { portal in
      let ada = try await portal.signUp()
      let id = try #require(try await ada.get("/v1/me").body["user"]["id"].string)
      let admin = try await portal.logInStaff(role: .admin)
      let support = try await portal.logInStaff("hedy@example.com")
      let path = "/v1/support/people/\(id)/export"
      #expect(try await portal.get(path, token: admin).body["person"]["email"].string == "ada@example.com")
      expectProblem(try await portal.get(path, token: support), 403, "forbidden")
      expectProblem(try await portal.get(path, token: ada.token), 401, "unauthenticated")
      expectProblem(
        try await portal.get("/v1/support/people/\(UUID().uuidString)/export", token: admin), 404, "not_found")
    }
  }
}
