import Foundation
import JSON
import Portal
import PortalAPI
import PortalApplication
import PortalHTTP
import PortalTesting
import Postgres
import Testing

private struct CountWritten: PostgresStatement {
  typealias Row = Int
  static let sql = "select count(*) from written"
}

@Suite("The caller's own sessions")
struct OwnSessionsTests {
  @Test("the list has the time, address and user agent of each session, marks the current one, and has no secrets")
  func list() async throws {
    let proxies = try #require(TrustedProxies("127.0.0.1"))
    try await withPortal(.live, configure: { $0.trustedProxies = proxies }) { portal in
      let customer = try await portal.signUp()
      _ = try await portal.signUp("eve@example.com")
      let agent = String(repeating: "é", count: 300)
      _ = try await portal.post(
        "/v1/login", #"{"email":"ada@example.com","password":"correct horse battery"}"#,
        headers: ["User-Agent": agent, "X-Forwarded-For": "2001:DB8::7"])
      let answer = try await customer.get("/v1/me/sessions")
      #expect(answer.status == 200)
      let sessions = answer.body["sessions"].array
      #expect(sessions.count == 2)
      for session in sessions {
        #expect(session.names == ["id", "createdAt", "lastSeenAt", "expiresAt", "ip", "userAgent", "current"])
        #expect(session["id"].isID && session["createdAt"].isTime && session["lastSeenAt"].isTime)
        #expect(session["expiresAt"].isTime)
      }
      let other = try #require(sessions.first { $0["current"] == .bool(false) })
      #expect(other["ip"].string == "2001:db8::7")
      #expect(other["userAgent"].string?.unicodeScalars.count == 256)
      #expect(sessions.first { $0["current"] == .bool(true) }?["ip"].string == "127.0.0.1")
    }
  }

  @Test("a session can be ended, the current one with its cookie; another person's session is not_found")
  func end() async throws {
    try await withPortal { portal in
      let (ada, eve) = (try await portal.signUp(), try await portal.signUp("eve@example.com"))
      let other = try #require(try await portal.logIn().body["token"].string)
      let ids = try await ada.get("/v1/me/sessions").body["sessions"].array
      let current = try #require(ids.first { $0["current"] == .bool(true) }?["id"].string)
      let second = try #require(ids.first { $0["current"] == .bool(false) }?["id"].string)
      for id in [current, "018f4e6a-0000-7000-8000-000000000000", "x"] {
        expectProblem(try await eve.delete("/v1/me/sessions/" + id), 404, "not_found")
      }
      let answer = try await ada.delete("/v1/me/sessions/" + second)
      #expect(answer.status == 204 && answer.header("Set-Cookie") == nil)
      expectProblem(try await portal.get("/v1/me", token: other), 401, "unauthenticated")
      expectProblem(try await ada.delete("/v1/me/sessions/" + second), 404, "not_found")
      #expect(try await portal.actions(ada.token).first == "session.closed")
      let last = try await ada.delete("/v1/me/sessions/" + current)
      #expect(last.status == 204 && last.header("Set-Cookie")?.contains("Max-Age=0") == true)
      expectProblem(try await ada.get("/v1/me"), 401, "unauthenticated")
      #expect(try await eve.get("/v1/me").status == 200)
    }
  }

  @Test("logging out everywhere ends all other sessions, and the current one continues under a new token only")
  func everywhere() async throws {
    try await withPortal { portal in
      let (ada, eve) = (try await portal.signUp(), try await portal.signUp("eve@example.com"))
      let others = [try await portal.logIn().body["token"].string, try await portal.logIn().body["token"].string]
      let answer = try await ada.delete("/v1/me/sessions")
      #expect(answer.status == 200)
      #expect(answer.body.names == ["ended", "token", "expiresAt"] && answer.body["ended"].integer == 2)
      let token = try #require(answer.body["token"].string)
      #expect(answer.header("Set-Cookie")?.hasPrefix("latchkey=\(token); ") == true)
      for token in others + [ada.token] {
        expectProblem(try await portal.get("/v1/me", token: token), 401, "unauthenticated")
      }
      #expect(try await portal.get("/v1/me", token: token).status == 200)
      #expect(try await portal.actions(token).first == "session.closed")
      #expect(try await eve.get("/v1/me").status == 200)
    }
  }

  @Test("an idle session ends before its expiry; a session in use does not")
  func idle() async throws {
    try await withPortal(configure: { $0.retention.idleSessionHours = 2 }) { portal in
      let (ada, staff) = (try await portal.signUp(), try await portal.logInStaff())
      for (minutes, status) in [(119, 200), (119, 200), (121, 401)] {
        let age = "last_seen_at = last_seen_at - interval '\(minutes) minutes'"
        try await portal.script("update sessions set \(age); update staff_sessions set \(age)")
        #expect(try await ada.get("/v1/me").status == status)
        #expect(try await portal.get("/v1/support/me/sessions", token: staff).status == status)
      }
    }
  }

  @Test("two sessions of a person that end all others concurrently leave one", arguments: 1...10)
  func everywhereAtOnce(_ round: Int) async throws {
    try await withPortal { portal in
      let ada = try await portal.signUp()
      let tokens = [ada.token, try await portal.logIn().body["token"].string ?? ""]
      let statuses = try await withThrowingTaskGroup(of: Int.self) { group in
        for token in tokens { group.addTask { try await portal.delete("/v1/me/sessions", token: token).status } }
        return try await group.reduce(into: [Int]()) { $0.append($1) }.sorted()
      }
      #expect(statuses == [200, 401])
    }
  }

  @Test("the time a session was last seen is written once per minute, however many requests there are")
  func lastSeen() async throws {
    try await withPortal { portal in
      let (ada, staff) = (try await portal.signUp(), try await portal.logInStaff())
      try await portal.script(
        """
        create table written ();
        grant insert on written to public;
        create function note_write() returns trigger language plpgsql as
          'begin insert into written default values; return null; end';
        create trigger note after update on sessions for each row execute function note_write();
        create trigger note after update on staff_sessions for each row execute function note_write();
        """)
      func use() async throws -> Int {
        try await withThrowingTaskGroup(of: Void.self) { group in
          for _ in 0..<20 {
            group.addTask {
              let answers = [
                try await ada.get("/v1/me"), try await portal.get("/v1/support/me/sessions", token: staff),
              ]
              #expect(answers.allSatisfy { $0.status == 200 })
            }
          }
          try await group.waitForAll()
        }
        return try await portal.pool.query(CountWritten()).first ?? -1
      }
      let quiet = try await use()
      #expect(quiet == 0)
      try await portal.script(
        """
        update sessions set last_seen_at = now() - interval '61 s';
        update staff_sessions set last_seen_at = now() - interval '61 s';
        delete from written
        """)
      let seen = try await use()
      #expect(seen == 2)
    }
  }

  @Test("a log-in ends the previous session of the same browser")
  func rotatedAtLogin() async throws {
    try await withPortal { portal in
      let ada = try await portal.signUp()
      let answer = try await portal.post(
        "/v1/login", #"{"email":"ada@example.com","password":"correct horse battery"}"#,
        headers: ["Cookie": "latchkey=" + ada.token])
      #expect(answer.status == 200)
      expectProblem(try await ada.get("/v1/me"), 401, "unauthenticated")
      #expect(try await portal.get("/v1/me", token: answer.body["token"].string).status == 200)
      let failed = try await portal.post(
        "/v1/login", #"{"email":"ada@example.com","password":"wrong"}"#,
        headers: ["Cookie": "latchkey=" + (answer.body["token"].string ?? "")])
      expectProblem(failed, 401, "invalid_credentials")
      #expect(try await portal.get("/v1/me", token: answer.body["token"].string).status == 200)
    }
  }

  @Test("staff can list and end their own sessions, too")
  func staff() async throws {
    try await withPortal { portal in
      let token = try await portal.logInStaff()
      let body = #"{"email":"grace@example.com","password":"correct horse battery"}"#
      let others = [
        try await portal.post("/v1/support/login", body).body["token"].string,
        try await portal.post("/v1/support/login", body).body["token"].string,
      ]
      let sessions = try await portal.get("/v1/support/me/sessions", token: token).body["sessions"].array
      #expect(sessions.count == 3)
      let id = try #require(sessions.first { $0["current"] == .bool(false) }?["id"].string)
      #expect(try await portal.delete("/v1/support/me/sessions/" + id, token: token).status == 204)
      let answer = try await portal.delete("/v1/support/me/sessions", token: token)
      #expect(answer.body["ended"].integer == 1 && answer.header("Set-Cookie") == nil)
      for old in others + [token] {
        expectProblem(try await portal.get("/v1/support/me/sessions", token: old), 401, "unauthenticated")
      }
      let new = answer.body["token"].string
      #expect(try await portal.get("/v1/support/me/sessions", token: new).status == 200)
      let changed = try await portal.post(
        "/v1/support/me/password", #"{"password":"correct horse battery","newPassword":"another horse battery"}"#,
        token: new)
      #expect(changed.status == 200)
      expectProblem(try await portal.post("/v1/support/login", body), 401, "invalid_credentials")
    }
  }
}
