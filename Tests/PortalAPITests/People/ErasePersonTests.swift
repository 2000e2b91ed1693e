import Foundation
import JSON
import Portal
import PortalAPI
import PortalApplication
import PortalHTTP
import PortalTesting
import Postgres
import Testing

@Suite("DELETE /v1/me and DELETE /v1/support/people/{id}")
struct ErasePersonTests {
  private static let body = #"{"password":"correct horse battery"}"#

  @Test("ends a person's sessions and memberships, and removes their name from the trails of their accounts")
  func erase() async throws {
    try await withPortal(configure: { $0.secretBox = secretBox }) { portal in
      let ada = try await portal.signUp()
      let (bobID, bob) = try await ada.makeMember("bob@example.com", .admin)
      let key = try await TestCustomer(portal: portal, token: bob, accountID: ada.accountID).createKey()
      #expect(try await ada.patch("/v1/members/" + bobID, #"{"role":"developer"}"#).status == 200)
      let (_, _, token) = try await portal.enrol(bob)
      let answer = try await portal.deleteWithBody("/v1/me", Self.body, token: token)
      #expect(answer.status == 200, "\(answer)")
      #expect(answer.body.names == ["id", "erasedAt", "redactedEvents", "finished"])
      #expect(answer.body["id"].string == bobID && answer.body["erasedAt"].isTime)
      #expect(answer.body["finished"] == .bool(true))
      #expect(answer.header("Set-Cookie")?.contains("Max-Age=0") == true)
      expectProblem(try await portal.get("/v1/me", token: token), 401, "unauthenticated")
      expectProblem(try await portal.logIn("bob@example.com"), 401, "invalid_credentials")
      let members = try await ada.get("/v1/members").body["members"].array
      #expect(members.map { $0["email"].string } == ["ada@example.com"])
      let events = try await ada.get("/v1/audit").body["events"].array
      #expect(events.contains { $0["action"].string == "user.erased" && $0["target"]["id"].string == bobID })
      let theirs = events.filter { $0["actor"]["id"].string == bobID }
      #expect(theirs.count > 3 && theirs.allSatisfy { $0["actor"]["name"].string == "erased person" })
      #expect(theirs.allSatisfy { $0["ip"] == .null })
      let changed = try #require(events.first { $0["action"].string == "member.role_changed" })
      #expect(changed["detail"].string == "erased person: from admin to developer" && changed["reason"] == .null)
      let recording = try #require(events.first { $0["action"].string == "audit.redacted" })
      #expect(recording["detail"].string?.contains(" events, SHA-256 ") == true && recording["reason"] == .null)
      let made = try await ada.get("/v1/keys/" + key.id).body
      #expect(made["status"].string == "active" && made["createdBy"]["name"].string == "erased person")
      #expect(try await AuditChains(pool: portal.pool).verify { _ in }.isIntact)
    }
  }

  @Test("frees the address: a new sign-up with it is another person without history")
  func again() async throws {
    try await withPortal { portal in
      let first = try await portal.signUp("bob@example.com")
      #expect(try await portal.deleteWithBody("/v1/me", Self.body, token: first.token).status == 200)
      let second = try await portal.signUp("bob@example.com")
      #expect(second.accountID != first.accountID)
      #expect(try await second.get("/v1/accounts").body["accounts"].array.count == 1)
      let events = try await second.get("/v1/me/export").body["auditEvents"].array
      #expect(events.map { $0["action"].string } == ["account.created", "session.opened"])
      #expect(try await AuditChains(pool: portal.pool).verify { _ in }.isIntact)
    }
  }

  @Test("requires the password; with a wrong one or none, nothing happens")
  func password() async throws {
    try await withPortal { portal in
      let ada = try await portal.signUp()
      let rows = try await portal.rowCount()
      expectProblem(
        try await portal.deleteWithBody("/v1/me", #"{"password":"wrong"}"#, token: ada.token), 401,
        "invalid_credentials")
      expectProblem(
        try await portal.deleteWithBody("/v1/me", "{}", token: ada.token), 400, "invalid_request", at: "body.password")
      #expect(try await portal.rowCount() == rows)
      #expect(try await ada.get("/v1/me").status == 200)
    }
  }

  @Test("is last_owner for the last owner of an account that has other members or keys")
  func lastOwner() async throws {
    try await withPortal { portal in
      let ada = try await portal.signUp()
      let key = try await ada.createKey()
      expectProblem(try await portal.deleteWithBody("/v1/me", Self.body, token: ada.token), 409, "last_owner")
      #expect(try await ada.delete("/v1/keys/" + key.id).status == 200)
      let (bobID, bob) = try await ada.makeMember("bob@example.com", .viewer)
      expectProblem(try await portal.deleteWithBody("/v1/me", Self.body, token: ada.token), 409, "last_owner")
      #expect(try await ada.get("/v1/me").status == 200)
      #expect(try await ada.patch("/v1/members/" + bobID, #"{"role":"owner"}"#).status == 200)
      #expect(try await portal.deleteWithBody("/v1/me", Self.body, token: ada.token).status == 200)
      #expect(try await portal.get("/v1/members", token: bob).body["members"].array.count == 1)
      // Bob is the last member of an account without keys, which ends with his erasure.
      #expect(try await portal.deleteWithBody("/v1/me", Self.body, token: bob).status == 200)
      expectProblem(try await portal.get("/v1/me", token: bob), 401, "unauthenticated")
      #expect(try await AuditChains(pool: portal.pool).verify { _ in }.isIntact)
    }
  }

  @Test("an admin can erase a person with a reason, which does not name the person afterwards")
  func staff() async throws {
    try await withPortal { portal in
      let ada = try await portal.signUp()
      let (bobID, bob) = try await ada.makeMember("bob@example.com", .viewer)
      let admin = try await portal.logInStaff(role: .admin)
      let path = "/v1/support/people/" + bobID
      expectProblem(
        try await portal.deleteWithBody(path, "{}", token: admin), 400, "invalid_request", at: "body.reason")
      let answer = try await portal.deleteWithBody(
        path, #"{"reason":"Bob@example.com asked for it.","ticket":"T-1"}"#, token: admin)
      #expect(answer.status == 200 && answer.body["finished"] == .bool(true))
      expectProblem(try await portal.get("/v1/me", token: bob), 401, "unauthenticated")
      let event = try #require(
        try await ada.get("/v1/audit?action=user.erased").body["events"].array.first)
      #expect(event["reason"].string == "erased person asked for it." && event["ticket"].string == "T-1")
      #expect(event["actor"]["kind"].string == "staff" && event["actor"]["name"].string == "Grace")
      expectProblem(try await portal.get(path + "/export", token: admin), 404, "not_found")
      expectProblem(
        try await portal.deleteWithBody(
          "/v1/support/people/\(UUID().uuidString)", #"{"reason":"because"}"#, token: admin), 404, "not_found")
      #expect(try await AuditChains(pool: portal.pool).verify { _ in }.isIntact)
    }
  }

  @Test("an erasure concurrent with the person's own requests leaves none of their data behind")
  func concurrent() async throws {
    try await withPortal { portal in
      let ada = try await portal.signUp()
      let (_, bob) = try await ada.makeMember("bob@example.com", .admin)
      let statuses = try await withThrowingTaskGroup(of: Int.self) { group in
        for index in 0..<40 {
          group.addTask {
            switch index % 5 {
            case 0: try await portal.post("/v1/keys", #"{"name":"Key","scopes":["a"]}"#, token: bob).status
            case 1: try await portal.get("/v1/me/sessions", token: bob).status
            case 2:
              try await portal.post(
                "/v1/invitations", "{\"email\":\"guest\(index)@example.com\",\"role\":\"viewer\"}", token: bob
              ).status
            case 3: try await portal.logIn("bob@example.com").status
            default:
              try await portal.deleteWithBody("/v1/me", Self.body, token: index == 24 ? bob : "none").status
            }
          }
        }
        return try await group.reduce(into: []) { $0.append($1) }
      }
      #expect(Set(statuses).isSubset(of: [200, 201, 401, 404, 409, 429, 503]), "\(statuses)")
      // Repeated, in case the first erasure was refused among so many requests.
      _ = try await portal.deleteWithBody("/v1/me", Self.body, token: bob)
      expectProblem(try await portal.get("/v1/me", token: bob), 401, "unauthenticated")
      #expect(try await portal.pool.query(CountNamed()) == [0])
      #expect(try await AuditChains(pool: portal.pool).verify { _ in }.isIntact)
    }
  }
}

/// Counts the rows that contain Bob's address.
private struct CountNamed: PostgresStatement {
  typealias Row = Int
  static let sql = """
    select count(*) from (
      select person::text from users person union all select event::text from audit_events event
      union all select key::text from api_keys key union all select invitation::text from invitations invitation
      union all select mail::text from mails mail union all select open::text from sessions open
      union all select erasure::text from erasures erasure) kept (content)
    where content like '%bob@example.com%'
    """
}
