import Foundation
import JSON
import Portal
import PortalAPI
import PortalHTTP
import PortalTesting
import Testing

@Suite("GET /v1/audit/trails")
struct CollectAuditEventsTests {
  /// Gets all heads, `limit` at a time.
  private func heads(_ portal: TestPortal, _ token: String, limit: Int = 100) async throws -> [JSONValue] {
    var heads: [JSONValue] = []
    var cursor: String?
    repeat {
      let answer = try await portal.get(
        "/v1/audit/trails?limit=\(limit)" + (cursor.map { "&cursor=" + $0 } ?? ""), token: token)
      #expect(answer.status == 200 && answer.body.names == ["trails", "nextCursor"])
      #expect(answer.body["trails"].array.count <= limit)
      heads += answer.body["trails"].array
      cursor = answer.body["nextCursor"].string
    } while cursor != nil
    return heads
  }

  @Test("a collector gets the events of all trails, each once and in the order of the chain, as the export has them")
  func collect() async throws {
    try await withPortal { portal in
      let ada = try await portal.signUp()
      let eve = try await portal.signUp("eve@example.com")
      let token = try await portal.makeToken([.readAudit])
      var kept: [String: [JSONValue]] = [:]
      func collect(limit: Int) async throws {
        for head in try await heads(portal, token, limit: limit) {
          let trail = head["accountId"].string ?? "system"
          while (kept[trail]?.last?["seq"].integer ?? 0) < head["seq"].integer ?? 0 {
            let after = kept[trail]?.last?["seq"].integer ?? 0
            let answer = try await portal.get(
              "/v1/audit/trails/\(trail)?after=\(after)&limit=\(limit)", token: token)
            #expect(answer.status == 200 && answer.body.names == ["events", "head"])
            #expect(answer.body["head"] == head)
            let events = answer.body["events"].array
            #expect(!events.isEmpty && events.count <= limit)
            kept[trail, default: []] += events
          }
        }
      }
      for _ in 0..<3 { _ = try await ada.createKey() }
      try await collect(limit: 1)
      for _ in 0..<3 { _ = try await eve.createKey() }
      _ = try await ada.createKey()
      try await collect(limit: 2)
      #expect(Set(kept.keys) == ["system", ada.accountID.text, eve.accountID.text])
      #expect(kept[ada.accountID.text]?.count == 6 && kept[eve.accountID.text]?.count == 5)
      for (_, events) in kept {
        var previous = String(repeating: "0", count: 64)
        for (index, event) in events.enumerated() {
          #expect(event["seq"].integer == index + 1 && event["prevHash"].string == previous)
          previous = event["hash"].string ?? ""
        }
      }
      let export = try await portal.table("/v1/audit", accept: "application/x-ndjson", token: ada.token)
      #expect(try export.text.split(separator: "\n").map { try JSONParser.parse($0.utf8) } == kept[ada.accountID.text])
    }
  }

  @Test("trails are in the order of their accounts' ids, the system's first, in pages of any size")
  func order() async throws {
    try await withPortal { portal in
      var accounts: [String] = []
      for name in ["a", "b", "c"] {
        accounts.append(try await portal.signUp(name + "@example.com").accountID.text)
      }
      let token = try await portal.makeToken([.readAudit])
      for limit in [1, 2, 4, 1_000] {
        #expect(
          try await heads(portal, token, limit: limit).map { $0["accountId"].string } == [nil] + accounts.sorted())
      }
    }
  }

  @Test("at the end of a trail there are no events; an unknown trail is not found, and a wrong query is refused")
  func edges() async throws {
    try await withPortal { portal in
      let ada = try await portal.signUp()
      let token = try await portal.makeToken([.readAudit])
      let path = "/v1/audit/trails/" + ada.accountID.text
      for after in ["2", "3", "\(Int.max)"] {
        let answer = try await portal.get(path + "?after=" + after, token: token)
        #expect(answer.status == 200 && answer.body["events"].array.isEmpty && answer.body["head"]["seq"].integer == 2)
      }
      for id in [UUID.version7().text, "x", "SYSTEM", "%00"] {
        expectProblem(try await portal.get("/v1/audit/trails/" + id, token: token), 404, "not_found", "\(id)")
      }
      for (query, location) in [
        ("after=-1", "query.after"), ("after=9223372036854775808", "query.after"), ("limit=0", "query.limit"),
        ("limit=1001", "query.limit"), ("cursor=x", "query.cursor"),
      ] {
        expectProblem(
          try await portal.get(path + "?" + query, token: token), 400, "invalid_request", at: location, "\(query)")
      }
    }
  }

  @Test("a token for trails cannot be restricted to an environment or to apis")
  func unrestricted() async throws {
    try await withPortal { portal in
      try await portal.makeCatalog()
      let staff = try await portal.logInStaff(role: .admin)
      for (more, location) in [
        (#""environment":"live""#, "body.environment"), (#""apiIds":["orders"]"#, "body.apiIds"),
      ] {
        let answer = try await portal.post(
          "/v1/support/tokens", #"{"name":"siem","permissions":["audit.read"],\#(more)}"#, token: staff)
        expectProblem(answer, 400, "invalid_request", at: location)
      }
    }
  }
}

@Suite("GET /v1/audit/summary")
struct SummarizeAuditEventsTests {
  @Test("events are counted by action, as the filters select them, and those of other accounts are not")
  func summary() async throws {
    try await withPortal { portal in
      let (ada, eve) = (try await portal.signUp(), try await portal.signUp("eve@example.com"))
      for _ in 0..<3 { _ = try await ada.createKey() }
      _ = try await ada.delete("/v1/keys/" + (try await ada.createKey()).id)
      _ = try await eve.createKey()
      try await portal.script(
        """
        set session_replication_role = replica;
        update audit_events set at = timestamptz '2026-01-01 00:00:00+00' + seq * interval '1 hour';
        """)
      func summary(_ query: String) async throws -> TestAnswer { try await ada.get("/v1/audit/summary" + query) }
      let all = try await summary("")
      #expect(all.status == 200 && all.body.names == ["total", "byAction", "lastActivityAt"])
      #expect(all.body["total"].integer == 7)
      #expect(all.body["byAction"].names == ["account.created", "key.created", "key.revoked", "session.opened"])
      #expect(all.body["byAction"]["key.created"].integer == 4)
      #expect(all.body["lastActivityAt"].string == "2026-01-01T07:00:00.000Z")
      let some = try await summary("?action=key.created&from=2026-01-01T03:00:00Z&to=2026-01-01T05:00:00Z").body
      #expect(some["total"].integer == 2 && some["byAction"].names == ["key.created"])
      #expect(some["lastActivityAt"].string == "2026-01-01T04:00:00.000Z")
      let none = try await summary("?action=user.erased").body
      #expect(none["total"].integer == 0 && none["byAction"] == .object([]) && none["lastActivityAt"] == .null)
      for (query, location) in [
        ("?action=x", "query.action"), ("?actor=user", "query.actor"), ("?from=yesterday", "query.from"),
        ("?from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z", "query.from"),
      ] { expectProblem(try await summary(query), 400, "invalid_request", at: location, "\(query)") }
    }
  }
}
