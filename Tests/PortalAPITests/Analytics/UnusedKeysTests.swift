import Foundation
import PortalAPI
import PortalHTTP
import PortalTesting
import Testing

@Suite("GET /v1/analytics/unused-keys")
struct UnusedKeysTests {
  private static let path = "/v1/analytics/unused-keys"

  /// Sets the creation time of a key to a number of days ago.
  private func age(_ key: UUID, _ days: Int, _ portal: TestPortal) async throws {
    try await portal.script("update api_keys set created_at = now() - interval '\(days) days' where id = '\(key)'")
  }

  private func names(_ portal: TestPortal, _ query: String = "", token: String) async throws -> [String?] {
    try await portal.get(Self.path + query, token: token).body["rows"].array.map { $0["name"].string }
  }

  @Test("lists usable keys that were not used for ninety days, or for the requested number of days")
  func unused() async throws {
    try await withPortal { portal in
      let customer = try await portal.signUp()
      for (name, made, used) in [
        ("new", 10, nil), ("never", 100, nil), ("used", 200, 10), ("once", 200, 95), ("long ago", 300, 250),
      ] as [(String, Int, Int?)] {
        let key = try await customer.makeKey(name)
        try await age(key, made, portal)
        guard let used else { continue }
        try await portal.script(
          """
          update key_activity set last_used_at = now() - interval '\(used) days', verified_count = 1
          where key_id = '\(key)'
          """)
      }
      for (name, change) in [
        ("revoked", "revoked_at = now()"), ("disabled", "disabled_at = now()"), ("expired", "expires_at = now()"),
        ("expiring", "expires_at = now() + interval '1 hour'"),
      ] {
        let key = try await customer.makeKey(name)
        try await age(key, 100, portal)
        try await portal.script("update api_keys set \(change) where id = '\(key)'")
      }
      let token = try await portal.analyst()
      #expect(try await names(portal, token: token) == ["expiring", "long ago", "once", "never"])
      #expect(try await names(portal, "?days=200", token: token) == ["long ago"])
      #expect(
        try await names(portal, "?days=5", token: token) == ["expiring", "long ago", "once", "used", "never", "new"])

      let body = try await portal.get(Self.path, token: token).body
      #expect(body.names == ["rows", "days", "nextCursor", "hasMore", "completeThrough"])
      #expect(body["days"].integer == 90 && body["nextCursor"] == .null)
      for row in body["rows"].array {
        #expect(row.names == ["keyId", "accountId", "accountName", "name", "start", "createdAt", "lastUsedAt"])
        #expect(row["createdAt"].isTime && row["keyId"].isID)
      }
      #expect(body["rows"][2]["lastUsedAt"].isTime && body["rows"][3]["lastUsedAt"] == .null)

      let table = try await portal.table(Self.path, token: token)
      #expect(table.lines[0] == "keyId,accountId,accountName,name,start,createdAt,lastUsedAt" && table.lines.count == 5)
      #expect(table.header("Content-Disposition") == "attachment; filename=\"unused-keys.csv\"")
      // Keys that have expired under the plan are no longer usable.
      try await portal.script("update plans set max_key_lifetime_days = 150")
      #expect(try await names(portal, token: token) == ["expiring", "never"])

      try await portal.script("update accounts set suspended_at = now() where id = '\(customer.accountID)'")
      #expect(try await names(portal, token: token) == [])
    }
  }

  @Test("pages have every key once")
  func pages() async throws {
    try await withPortal { portal in
      let customer = try await portal.signUp()
      for number in 1...7 { try await age(try await customer.makeKey("\(number)"), 91, portal) }
      let token = try await portal.analyst()
      var found: [String?] = []
      var query = "?limit=3"
      for count in [3, 3, 1] {
        let body = try await portal.get(Self.path + query, token: token).body
        #expect(body["rows"].array.count == count)
        found += body["rows"].array.map { $0["name"].string }
        query = "?limit=3&cursor=" + (body["nextCursor"].string ?? "end")
      }
      #expect(found == (1...7).reversed().map { "\($0)" })
      expectProblem(try await portal.get(Self.path + query, token: token), 400, "invalid_request", at: "query.cursor")
    }
  }

  @Test("names chosen by customers are not formulas in a spreadsheet")
  func formulas() async throws {
    try await withPortal { portal in
      let customer = try await portal.signUp()
      let name = #"=HYPERLINK(\"http://evil.example\",\"click\")"#
      try await age(try await customer.makeKey(name), 91, portal)
      let table = try await portal.table(Self.path, token: try await portal.analyst())
      #expect(table.lines[1].contains(#","'=HYPERLINK(""http://evil.example"",""click"")","#))
    }
  }

  @Test("an invalid parameter is refused with its location", arguments: ["0", "-1", "1.5", "3651", "x"])
  func wrong(_ days: String) async throws {
    try await withPortal { portal in
      let answer = try await portal.get(Self.path + "?days=" + days, token: try await portal.analyst())
      expectProblem(answer, 400, "invalid_request", at: "query.days")
    }
  }
}
