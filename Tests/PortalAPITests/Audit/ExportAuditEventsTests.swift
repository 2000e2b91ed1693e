import Foundation
import JSON
import Portal
import PortalAPI
import PortalHTTP
import PortalTesting
import Postgres
import Testing

@Suite("GET /v1/audit as JSON Lines")
struct ExportAuditEventsTests {
  private static let names = [
    "accountId", "seq", "id", "at", "actor", "action", "target", "reason", "ticket", "detail", "ip", "prevHash", "hash",
  ]

  private func export(_ portal: TestPortal, _ query: String = "", token: String) async throws -> [JSONValue] {
    let answer = try await portal.table("/v1/audit" + query, accept: "application/x-ndjson", token: token)
    #expect(answer.status == 200)
    #expect(answer.header("Content-Type") == "application/x-ndjson")
    #expect(answer.header("Cache-Control") == "no-store")
    #expect(answer.header("Content-Disposition") == "attachment; filename=\"audit.jsonl\"")
    #expect(answer.text.isEmpty || answer.text.hasSuffix("}\n"))
    return try answer.text.split(separator: "\n").map { try JSONParser.parse($0.utf8) }
  }

  @Test("an export has all events of the account in the order of their chain, each with the hash of its predecessor")
  func export() async throws {
    try await withPortal { portal in
      let (ada, eve) = (try await portal.signUp(), try await portal.signUp("eve@example.com"))
      for _ in 0..<3 { _ = try await ada.createKey() }
      _ = try await eve.createKey()
      #expect(try await ada.post("/v1/invitations", #"{"email":"bob@example.com","role":"viewer"}"#).status == 201)
      let events = try await export(portal, token: ada.token)
      #expect(events.count == 6)
      #expect(events.map { $0["detail"].string } == [nil, nil, nil, nil, nil, "bob@example.com as viewer"])
      var previous = String(repeating: "0", count: 64)
      for (index, event) in events.enumerated() {
        #expect(event.names == Self.names)
        #expect(event["seq"].integer == index + 1 && event["accountId"].string == ada.accountID.text)
        #expect(event["prevHash"].string == previous)
        previous = event["hash"].string ?? ""
        #expect(event["at"].string?.wholeMatch(of: /\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z/) != nil)
      }
      let pages = try await ada.get("/v1/audit").body["events"].array
      #expect(pages.reversed().map { $0["id"] } == events.map { $0["id"] })
      #expect(pages.reversed().map { $0["actor"] } == events.map { $0["actor"] })
      #expect(pages.reversed().map { $0["detail"] } == events.map { $0["detail"] })
    }
  }

  @Test("filters select the same events as in pages")
  func filters() async throws {
    try await withPortal { portal in
      let ada = try await portal.signUp()
      let id = try await ada.createKey().id
      _ = try await ada.delete("/v1/keys/" + id)
      for query in ["?action=key.created", "?actor=user", "?target=" + id, "?actor=staff", "?to=2020-01-01T00:00:00Z"] {
        let page = try await ada.get("/v1/audit" + query).body["events"].array
        #expect(try await export(portal, query, token: ada.token).map { $0["id"] } == page.reversed().map { $0["id"] })
      }
    }
  }

  @Test("the format is the one that Accept prefers, and JSON otherwise")
  func accept() async throws {
    try await withPortal { portal in
      let ada = try await portal.signUp()
      for (accept, type) in [
        ("application/x-ndjson", "application/x-ndjson"), ("application/json", "application/json"),
        ("*/*", "application/json"),
        ("application/json;q=0.5, application/x-ndjson", "application/x-ndjson"),
        ("application/x-ndjson;q=0.5, application/json", "application/json"),
      ] {
        let answer = try await portal.table("/v1/audit", accept: accept, token: ada.token)
        #expect(answer.header("Content-Type") == type, "\(accept)")
      }
    }
  }

  @Test("a long trail is read in parts, without events added meanwhile, and holds no connection in between")
  func long() async throws {
    try await withPortal { portal in
      let ada = try await portal.signUp()
      let insert = """
        insert into audit_events (id, account_id, actor_kind, actor_name, action, target_kind)
        select gen_random_uuid(), '\(ada.accountID)', 'command', 'psql', 'x', 'x' from generate_series(1, 2500)
        """
      try await portal.script(insert)
      let export = try await portal.services.audit.export(.account(ada.accountID))
      var sizes: [Int] = []
      var seqs: [Int] = []
      try await export.read { events in
        sizes.append(events.count)
        seqs += events.map(\.seq)
        #expect(portal.pool.gauges.leased <= 1)
        if sizes.count == 1 { try await portal.script(insert) }
      }
      #expect(sizes == [1_000, 1_000, 502] && seqs == Array(1...2_502))
      #expect(try await self.export(portal, token: ada.token).count == 5_002)
    }
  }
}
