import Foundation
import JSON
import Portal
import PortalAPI
import PortalHTTP
import PortalTesting
import Testing

@Suite("/v1/members")
struct MembersTests {
  @Test("lists the members of the account and their roles, page by page")
  func list() async throws {
    try await withPortal { portal in
      let owner = try await portal.signUp()
      for role in [MemberRole.admin, .developer, .viewer] {
        _ = try await owner.makeMember("\(role)@example.com", role)
      }
      _ = try await portal.signUp("bob@example.com")
      let all = try await owner.get("/v1/members")
      #expect(all.body["members"].array.count == 4)
      #expect(
        Set(all.body["members"].array.map { "\($0["email"].string ?? "") \($0["role"].string ?? "")" })
          == [
            "ada@example.com owner", "admin@example.com admin", "developer@example.com developer",
            "viewer@example.com viewer",
          ])
      #expect(all.body["members"][0].names == ["userId", "email", "role", "joinedAt"])
      #expect(all.body["members"][0]["joinedAt"].isTime)
      let first = try await owner.get("/v1/members?limit=3")
      let cursor = try #require(first.body["nextCursor"].string)
      let second = try await owner.get("/v1/members?limit=3&cursor=" + cursor)
      #expect(first.body["members"].array + second.body["members"].array == all.body["members"].array)
    }
  }

  @Test("a new role applies from the next request, and the trail records the change")
  func setRole() async throws {
    try await withPortal { portal in
      let owner = try await portal.signUp()
      let member = try await owner.makeMember("bob@example.com", .viewer)
      let create = #"{"name":"Key","scopes":["a"]}"#
      expectProblem(try await portal.post("/v1/keys", create, token: member.token), 403, "forbidden")
      let answer = try await owner.patch("/v1/members/" + member.userID, #"{"role":"developer"}"#)
      #expect(answer.status == 200)
      #expect(answer.body["role"].string == "developer" && answer.body["email"].string == "bob@example.com")
      #expect(try await portal.post("/v1/keys", create, token: member.token).status == 201)
      let event = try await owner.get("/v1/audit").body["events"].array
        .first { $0["action"].string == "member.role_changed" }
      #expect(event?["target"]["id"].string == member.userID)
      #expect(event?["detail"].string == "bob@example.com: from viewer to developer")
      #expect(event?["reason"] == .null && event?["ticket"] == .null)

      let rows = try await portal.rowCount()
      #expect(try await owner.patch("/v1/members/" + member.userID, #"{"role":"developer"}"#).status == 200)
      #expect(try await portal.rowCount() == rows)
    }
  }

  @Test(
    "invalid input is refused with its location",
    arguments: [
      ("{}", "body.role"), (#"{"role":"king"}"#, "body.role"), (#"{"role":7}"#, "body.role"),
      (#"{"role":null}"#, "body.role"), (#"{"role":"admin","rank":1}"#, "body.rank"), ("[]", "body"), ("{", "body"),
    ])
  func badInput(_ body: String, _ location: String) async throws {
    try await withPortal { portal in
      let owner = try await portal.signUp()
      let member = try await owner.makeMember("bob@example.com", .viewer)
      let answer = try await owner.patch("/v1/members/" + member.userID, body)
      expectProblem(answer, 400, "invalid_request")
      #expect(answer.body["errors"][0]["location"].string == location)
      expectProblem(try await owner.patch("/v1/members/nobody", #"{"role":"admin"}"#), 404, "not_found")
      expectProblem(try await owner.delete("/v1/members/nobody"), 404, "not_found")
    }
  }

  @Test("a removed member loses access immediately, and their keys stay")
  func remove() async throws {
    try await withPortal { portal in
      let owner = try await portal.signUp()
      let member = try await owner.makeMember("bob@example.com", .developer)
      let made = try await portal.post("/v1/keys", #"{"name":"Key","scopes":["a"]}"#, token: member.token)
      let key = try #require(made.body["key"].string)
      #expect(try await owner.delete("/v1/members/" + member.userID).status == 204)
      expectProblem(try await portal.get("/v1/me", token: member.token), 401, "unauthenticated")
      let gateway = try await portal.makeToken()
      #expect(try await portal.verify(key, token: gateway).body["code"].string == "VALID")
      expectProblem(try await owner.delete("/v1/members/" + member.userID), 404, "not_found")
      #expect(try await actions(owner).contains("member.removed"))
    }
  }

  @Test("a member with any role can leave, and keeps their other account")
  func leave() async throws {
    try await withPortal { portal in
      let owner = try await portal.signUp()
      let bob = try await portal.signUp("bob@example.com")
      try await owner.add("bob@example.com", .viewer)
      let switched = try await bob.post("/v1/accounts/\(owner.accountID.uuidString)/switch")
      let token = try #require(switched.body["token"].string)
      #expect(try await portal.post("/v1/leave", token: token).status == 204)
      expectProblem(try await portal.get("/v1/me", token: token), 401, "unauthenticated")
      #expect(try await actions(owner).contains("member.left"))
      let again = try await portal.post(
        "/v1/login", #"{"email":"bob@example.com","password":"correct horse battery"}"#)
      #expect(again.body["account"]["id"].string == bob.accountID.uuidString.lowercased())
    }
  }

  @Test("admins can change members, but neither make nor change owners")
  func owners() async throws {
    try await withPortal { portal in
      let owner = try await portal.signUp()
      let admin = try await owner.makeMember("bob@example.com", .admin)
      let member = try await owner.makeMember("eve@example.com", .viewer)
      let me = try #require(try await owner.get("/v1/me").body["user"]["id"].string)
      let role = { (role: String, user: String) in
        try await portal.patch("/v1/members/" + user, "{\"role\":\"\(role)\"}", token: admin.token)
      }
      #expect(try await role("admin", member.userID).status == 200)
      for (name, user) in [("owner", member.userID), ("owner", admin.userID), ("viewer", me), ("admin", me)] {
        expectProblem(try await role(name, user), 403, "forbidden", "\(name)")
      }
      expectProblem(try await portal.delete("/v1/members/" + me, token: admin.token), 403, "forbidden")
    }
  }

  @Test("the last owner can neither leave nor be demoted, but can leave once there is another owner")
  func lastOwner() async throws {
    try await withPortal { portal in
      let owner = try await portal.signUp()
      let me = try #require(try await owner.get("/v1/me").body["user"]["id"].string)
      let rows = try await portal.rowCount()
      expectProblem(try await owner.patch("/v1/members/" + me, #"{"role":"admin"}"#), 409, "last_owner")
      expectProblem(try await owner.delete("/v1/members/" + me), 409, "last_owner")
      expectProblem(try await owner.post("/v1/leave"), 409, "last_owner")
      #expect(try await portal.rowCount() == rows)
      _ = try await owner.makeMember("bob@example.com", .owner)
      #expect(try await owner.post("/v1/leave").status == 204)
    }
  }

  @Test("when two owners leave concurrently, one stays", arguments: 0..<20)
  func race(round: Int) async throws {
    try await withPortal { portal in
      let owner = try await portal.signUp()
      let second = try await owner.makeMember("bob@example.com", .owner)
      let statuses = try await withThrowingTaskGroup { group in
        for token in [owner.token, second.token] {
          group.addTask { try await portal.post("/v1/leave", token: token).status }
        }
        return try await group.reduce(into: []) { $0.append($1) }
      }
      #expect(statuses.sorted() == [204, 409])
    }
  }

  @Test("a session can switch to another account of the person, and its old token ends")
  func switchAccount() async throws {
    try await withPortal { portal in
      let ada = try await portal.signUp()
      let bob = try await portal.signUp("bob@example.com")
      try await ada.add("bob@example.com", .developer)
      let accounts = try await bob.get("/v1/accounts").body["accounts"].array
      #expect(accounts.map { $0["role"].string } == ["owner", "developer"])
      #expect(accounts.map { $0["isCurrent"] } == [.bool(true), .bool(false)])
      #expect(accounts[0].names == ["id", "name", "role", "suspendedAt", "isCurrent"])

      let path = "/v1/accounts/\(ada.accountID.uuidString)/switch"
      let answer = try await bob.post(path)
      #expect(answer.status == 200)
      #expect(answer.body["account"]["id"].string == ada.accountID.uuidString.lowercased())
      #expect(answer.body["role"].string == "developer")
      #expect(answer.header("Set-Cookie") != nil)
      expectProblem(try await bob.get("/v1/me"), 401, "unauthenticated")
      let token = try #require(answer.body["token"].string)
      #expect(
        try await portal.get("/v1/me", token: token).body["account"]["id"].string
          == ada.accountID.uuidString.lowercased())

      let rows = try await portal.rowCount()
      expectProblem(
        try await ada.post("/v1/accounts/\(bob.accountID.uuidString)/switch"), 404, "not_found")
      expectProblem(try await ada.post("/v1/accounts/\(UUID().uuidString)/switch"), 404, "not_found")
      #expect(try await portal.rowCount() == rows)
      #expect(try await ada.get("/v1/me").status == 200)
    }
  }

  private func actions(_ customer: TestCustomer) async throws -> [String] {
    try await customer.get("/v1/audit").body["events"].array.compactMap { $0["action"].string }
  }
}
