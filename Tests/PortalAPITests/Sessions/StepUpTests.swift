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

@Suite("Routes that require the current password")
struct StepUpTests {
  private static func change(_ password: String, _ new: String) -> String {
    "{\"password\":\"\(password)\",\"newPassword\":\"\(new)\"}"
  }

  @Test("changing the password ends all other sessions, gives this one a new token, and is recorded in the trail")
  func password() async throws {
    try await withPortal { portal in
      let (ada, eve) = (try await portal.signUp(), try await portal.signUp("eve@example.com"))
      let other = try await portal.logIn().body["token"].string
      let answer = try await ada.post(
        "/v1/me/password", Self.change("correct horse battery", "another horse battery"))
      #expect(answer.status == 200 && answer.body.names == ["token", "expiresAt"])
      let token = try #require(answer.body["token"].string)
      #expect(answer.header("Set-Cookie")?.hasPrefix("latchkey=\(token); ") == true)
      for old in [ada.token, other] {
        expectProblem(try await portal.get("/v1/me", token: old), 401, "unauthenticated")
      }
      #expect(try await portal.actions(token).first == "user.password_changed")
      expectProblem(try await portal.logIn(), 401, "invalid_credentials")
      #expect(try await portal.logIn(password: "another horse battery").status == 200)
      #expect(try await eve.get("/v1/me").status == 200)
    }
  }

  @Test("a wrong password or an invalid new one changes nothing; an invalid one is refused with its location")
  func wrongPassword() async throws {
    try await withPortal { portal in
      let ada = try await portal.signUp()
      let rows = try await portal.rowCount()
      expectProblem(
        try await ada.post("/v1/me/password", Self.change("wrong", "another horse battery")), 401, "invalid_credentials"
      )
      for (body, location) in [
        (Self.change("correct horse battery", "short"), "body.newPassword"),
        (Self.change("correct horse battery", "correct horse battery"), "body.newPassword"),
        (#"{"password":"correct horse battery"}"#, "body.newPassword"),
        (#"{"newPassword":"another horse battery"}"#, "body.password"),
      ] {
        expectProblem(try await ada.post("/v1/me/password", body), 400, "invalid_request", at: location)
      }
      #expect(try await portal.rowCount() == rows)
      #expect(try await portal.logIn().status == 200)
    }
  }

  @Test("a session cannot be used to guess the password")
  func throttled() async throws {
    try await withPortal { portal in
      let ada = try await portal.signUp()
      for path in ["/v1/me/password", "/v1/me/email", "/v1/account", "/v1/me/password", "/v1/me/password"] {
        let body =
          switch path {
          case "/v1/me/password": Self.change("wrong", "another horse battery")
          case "/v1/me/email": #"{"password":"wrong","email":"b@example.com"}"#
          default: #"{"password":"wrong"}"#
          }
        let method = path == "/v1/account" ? "DELETE" : "POST"
        let answer = try await portal.request(
          method, path, bytes: Array(body.utf8), token: ada.token, headers: ["Content-Type": "application/json"])
        expectProblem(answer, 401, "invalid_credentials", "\(path)")
      }
      try await portal.lengthenDelays()
      let answer = try await ada.post(
        "/v1/me/password", Self.change("correct horse battery", "another horse battery"))
      expectProblem(answer, 429, "too_many_requests")
      #expect((3_500...3_601).contains(answer.header("Retry-After").flatMap { Int($0) } ?? 0))
      #expect(try await portal.logIn().status == 200)
    }
  }

  @Test("a new address must be unused; after the change, log-in requires it, and the old address is free")
  func email() async throws {
    try await withPortal { portal in
      let ada = try await portal.signUp()
      _ = try await portal.signUp("eve@example.com")
      func body(_ email: String, _ password: String = "correct horse battery") -> String {
        "{\"password\":\"\(password)\",\"email\":\"\(email)\"}"
      }
      expectProblem(try await ada.post("/v1/me/email", body("b@example.com", "wrong")), 401, "invalid_credentials")
      expectProblem(try await ada.post("/v1/me/email", body("b")), 400, "invalid_request", at: "body.email")
      expectProblem(try await ada.post("/v1/me/email", body("EVE@example.com")), 409, "email_taken")
      #expect(try await ada.get("/v1/me").body["user"]["email"].string == "ada@example.com")
      let answer = try await ada.post("/v1/me/email", body(" Lovelace@Example.com"))
      #expect(answer.status == 200 && answer.body.names == ["email", "token", "expiresAt"])
      #expect(answer.body["email"].string == "lovelace@example.com")
      expectProblem(try await ada.get("/v1/me"), 401, "unauthenticated")
      let token = try #require(answer.body["token"].string)
      #expect(try await portal.get("/v1/me", token: token).body["user"]["email"].string == "lovelace@example.com")
      #expect(try await portal.actions(token).first == "user.email_changed")
      expectProblem(try await portal.logIn(), 401, "invalid_credentials")
      #expect(try await portal.logIn("lovelace@example.com").status == 200)
      _ = try await portal.signUp("ada@example.com")
    }
  }
}

@Suite("POST /v1/me/email, with mail configured")
struct ChangeEmailByMailTests {
  private func change(_ portal: TestPortal, _ token: String, _ email: String) async throws -> TestAnswer {
    try await portal.post(
      "/v1/me/email", "{\"password\":\"correct horse battery\",\"email\":\"\(email)\"}", token: token)
  }

  @Test("a new address takes effect once it is confirmed: all sessions end, and the old address is notified")
  func confirmed() async throws {
    try await withMailPortal { portal, folder in
      try await portal.makeUser("ada@example.com")
      let token = try #require(try await portal.logIn().body["token"].string)
      let answer = try await change(portal, token, "Lovelace@example.com")
      #expect(answer.status == 202 && answer.body == .object([("status", .string("accepted"))]))
      #expect(try await portal.get("/v1/me", token: token).body["user"]["email"].string == "ada@example.com")
      let proof = try #require(try await folder.mails(to: "lovelace@example.com", count: 1)[0].token)
      let verified = try await portal.post("/v1/email/verify", "{\"token\":\"\(proof)\"}")
      #expect(verified.status == 204)
      expectProblem(try await portal.get("/v1/me", token: token), 401, "unauthenticated")
      expectProblem(try await portal.logIn(), 401, "invalid_credentials")
      let login = try await portal.logIn("lovelace@example.com")
      #expect(login.status == 200)
      #expect(try await portal.actions(login.body["token"].string ?? "").contains("user.email_changed"))
      expectProblem(
        try await portal.post("/v1/email/verification", token: login.body["token"].string), 409, "email_verified")
      #expect(
        try await folder.mails(to: "ada@example.com", count: 1).last?.header("Subject")
          == "Your e-mail address was changed")
      expectProblem(
        try await portal.post("/v1/email/verify", "{\"token\":\"\(proof)\"}"), 400, "invalid_token", "once")
    }
  }

  @Test("a new password voids a pending change of the address", arguments: [true, false])
  func voided(_ isReset: Bool) async throws {
    try await withMailPortal { portal, folder in
      try await portal.makeUser("ada@example.com")
      let token = try #require(try await portal.logIn().body["token"].string)
      #expect(try await change(portal, token, "thief@example.com").status == 202)
      let proof = try #require(try await folder.mails(to: "thief@example.com", count: 1)[0].token)
      if isReset {
        #expect(try await portal.post("/v1/password/forgot", #"{"email":"ada@example.com"}"#).status == 202)
        let reset = try #require(try await folder.mails(to: "ada@example.com", count: 1)[0].token)
        let answer = try await portal.post(
          "/v1/password/reset", "{\"token\":\"\(reset)\",\"password\":\"another horse battery\"}")
        #expect(answer.status == 204)
      } else {
        let body = #"{"password":"correct horse battery","newPassword":"another horse battery"}"#
        #expect(try await portal.post("/v1/me/password", body, token: token).status == 200)
      }
      expectProblem(
        try await portal.post("/v1/email/verify", "{\"token\":\"\(proof)\"}"), 400, "invalid_token")
    }
  }

  @Test(
    """
    the response does not reveal whether the address is in use, and its owner gets no token; an unconfirmed address \
    is not reserved
    """
  )
  func neutral() async throws {
    try await withMailPortal { portal, folder in
      for email in ["ada@example.com", "eve@example.com"] { try await portal.makeUser(email) }
      let token = try #require(try await portal.logIn().body["token"].string)
      let known = try await change(portal, token, "eve@example.com")
      let unknown = try await change(portal, token, "tom@example.com")
      #expect(known.status == 202 && known.body == unknown.body)
      let proof = try #require(try await folder.mails(to: "tom@example.com", count: 1)[0].token)
      try await portal.waitForMails()
      #expect(try folder.mails(to: "eve@example.com").isEmpty)
      // Another user takes the address before it is confirmed.
      try await portal.makeUser("tom@example.com")
      expectProblem(
        try await portal.post("/v1/email/verify", "{\"token\":\"\(proof)\"}"), 409, "email_taken")
      #expect(try await portal.get("/v1/me", token: token).body["user"]["email"].string == "ada@example.com")
    }
  }
}

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
