import Foundation
import JSON
import Portal
import PortalAPI
import PortalApplication
import PortalHTTP
import PortalTesting
import Postgres
import PostgresTesting
import Testing

@Suite("DELETE /v1/account")
struct DeleteAccountTests {
  private static let body = #"{"password":"correct horse battery"}"#

  @Test("revokes all keys, ends all sessions and hides the account; the trail and the usage stay")
  func delete() async throws {
    try await withPortal { portal in
      let (ada, eve) = (try await portal.signUp(), try await portal.signUp("eve@example.com"))
      let (gateway, staff) = (try await portal.makeToken(), try await portal.logInStaff())
      let keys = [try await ada.createKey(), try await ada.createKey(), try await ada.createKey()]
      let kept = try await eve.createKey()
      #expect(try await ada.delete("/v1/keys/" + keys[2].id).status == 200)
      for key in keys { _ = try await portal.verify(key.key, token: gateway) }
      let other = try await portal.logIn().body["token"].string
      let answer = try await portal.deleteWithBody("/v1/account", Self.body, token: ada.token)
      #expect(answer.status == 200)
      #expect(answer.body.names == ["id", "deletedAt", "revokedKeys", "propagation"])
      #expect(answer.body["revokedKeys"].integer == 2 && answer.body["deletedAt"].isTime)
      #expect(answer.header("Set-Cookie")?.contains("Max-Age=0") == true)
      expectPropagation(answer.body["propagation"])
      for key in keys {
        #expect(try await portal.verify(key.key, token: gateway).body["code"].string == "REVOKED")
      }
      #expect(try await portal.verify(kept.key, token: gateway).body["code"].string == "VALID")
      for token in [ada.token, other] {
        expectProblem(try await portal.get("/v1/me", token: token), 401, "unauthenticated")
      }
      expectProblem(try await portal.logIn(), 401, "invalid_credentials")
      expectProblem(
        try await portal.post(
          "/v1/support/accounts/\(ada.accountID)/resume", #"{"reason":"please"}"#, token: staff), 404, "not_found")
      let events = try await portal.services.audit.list(of: ada.accountID, page: .init()).items
      #expect(events.first?.action == "account.deleted" && events.first?.actorName == "ada@example.com")
      #expect(events.count == 10)
      #expect(try await eve.get("/v1/keys").body["keys"].array.count == 1)
    }
  }

  @Test("a member of no other account is deleted: the address can sign up again, and finds no earlier data")
  func forgotten() async throws {
    try await withPortal(configure: { $0.secretBox = secretBox }) { portal in
      let ada = try await portal.signUp()
      let eve = try await portal.signUp("eve@example.com")
      // Eve is a member of Ada's account, too.
      try await portal.script(
        """
        insert into memberships (account_id, user_id, role)
        select '\(ada.accountID)', id, 'viewer' from users where email = 'eve@example.com'
        """)
      let (_, _, token) = try await portal.enrol(ada.token)
      #expect(try await portal.deleteWithBody("/v1/account", Self.body, token: token).status == 200)
      let again = try await portal.signUp()
      #expect(again.accountID != ada.accountID)
      #expect(try await again.get("/v1/keys").body["keys"].array.isEmpty)
      #expect(try await portal.logIn().status == 200, "without a second factor")
      #expect(try await eve.get("/v1/me").status == 200)
      #expect(try await portal.logIn("eve@example.com").status == 200)
    }
  }

  @Test("only the owner can delete the account, with the password")
  func refused() async throws {
    try await withPortal { portal in
      let ada = try await portal.signUp()
      let key = try await ada.createKey()
      expectProblem(
        try await portal.deleteWithBody("/v1/account", #"{"password":"wrong"}"#, token: ada.token), 401,
        "invalid_credentials")
      expectProblem(
        try await portal.deleteWithBody("/v1/account", "{}", token: ada.token), 400, "invalid_request",
        at: "body.password")
      for role in ["admin", "developer", "viewer"] {
        try await portal.script("update memberships set role = '\(role)'")
        expectProblem(try await portal.deleteWithBody("/v1/account", Self.body, token: ada.token), 403, "forbidden")
      }
      #expect(try await ada.get("/v1/keys/" + key.id).body["status"].string == "active")
    }
  }

  @Test("no key that is created during the deletion is valid afterwards", arguments: 1...20)
  func racingKeys(_ round: Int) async throws {
    try await withPortal { portal in
      let ada = try await portal.signUp()
      let gateway = try await portal.makeToken()
      let made = try await withThrowingTaskGroup(of: String?.self) { group in
        for number in 0..<8 {
          group.addTask {
            if number == 3 {
              let answer = try await portal.deleteWithBody("/v1/account", Self.body, token: ada.token)
              #expect(answer.status == 200)
              return nil
            }
            return try await ada.post("/v1/keys", #"{"name":"n","scopes":["a"]}"#).body["key"].string
          }
        }
        return try await group.reduce(into: [String]()) { if let key = $1 { $0.append(key) } }
      }
      for key in made {
        #expect(try await portal.verify(key, token: gateway).body["code"].string == "REVOKED")
      }
      #expect(try await portal.get("/v1/me", token: ada.token).status == 401)
    }
  }

  @Test("when both accounts of a person are deleted concurrently, neither keeps the address", arguments: 1...10)
  func bothAtOnce(_ round: Int) async throws {
    try await withPortal { portal in
      let owners = [try await portal.signUp("ada@example.com"), try await portal.signUp("eve@example.com")]
      _ = try await portal.signUp("bob@example.com")
      for owner in owners { try await owner.add("bob@example.com", .viewer) }
      try await portal.script(
        """
        delete from memberships
        where role = 'owner' and user_id = (select id from users where email = 'bob@example.com')
        """
      )
      try await withThrowingTaskGroup(of: Int.self) { group in
        for owner in owners {
          group.addTask { try await portal.deleteWithBody("/v1/account", Self.body, token: owner.token).status }
        }
        for try await status in group { #expect(status == 200) }
      }
      #expect(try await portal.pool.query(CountUsers()).first == 0)
      _ = try await portal.signUp("bob@example.com")
    }
  }
}

/// Counts the users who still have their address.
private struct CountUsers: PostgresStatement {
  typealias Row = Int
  static let sql = "select count(*) from users where email not like 'deleted+%'"
}
