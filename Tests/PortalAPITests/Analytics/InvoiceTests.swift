import Foundation
import JSON
import Portal
import PortalAPI
import PortalHTTP
import PortalTesting
import PostgresTesting
import Testing

@Suite("GET /v1/analytics/invoice, and usage by environment and api")
struct InvoiceTests {
  private static let path = "/v1/analytics/invoice?month=2026-01"
  private static let names = [
    "externalId", "accountId", "accountName", "environment", "apiId", "slug", "successes", "errors", "denied",
  ]

  /// A customer with keys of both environments, of which one is for the api `orders`, and one with a single key.
  private func withTraffic(
    _ body: @escaping @Sendable (TestPortal, _ token: String, _ ada: UUID, _ eve: UUID) async throws -> Void
  ) async throws {
    try await withPortal { portal in
      try await portal.makeCatalog()
      let (ada, eve) = (try await portal.signUp(), try await portal.signUp("eve@example.com"))
      let keys = [
        try await ada.makeKey("Live"), try await ada.makeKey("Orders"), try await ada.makeKey("Test"),
        try await eve.makeKey("Live"),
      ]
      try await portal.script(
        """
        update accounts set external_id = 'customer-17' where id = '\(ada.accountID)';
        update api_keys set api_id = (select id from apis where slug = 'orders') where name = 'Orders';
        update api_keys set environment = 'test' where name = 'Test'
        """)
      try await portal.count([
        Traffic(account: ada.accountID, key: keys[0], day: "2026-01-01", endpoint: "/a", verified: 10, errors: 2),
        Traffic(account: ada.accountID, key: keys[0], day: "2026-01-31", endpoint: "/b", verified: 1, denied: 4),
        Traffic(account: ada.accountID, key: keys[1], day: "2026-01-15", verified: 100),
        Traffic(account: ada.accountID, key: keys[2], day: "2026-01-15", verified: 1_000),
        Traffic(account: eve.accountID, key: keys[3], day: "2026-01-15", verified: 20),
        Traffic(account: eve.accountID, key: keys[3], day: "2025-12-31", verified: 7),
        Traffic(account: eve.accountID, key: keys[3], day: "2026-02-01", verified: 7),
      ])
      try await body(portal, try await portal.analyst(), ada.accountID, eve.accountID)
    }
  }

  @Test("the month's usage is listed by account, environment and api, with the company's own id of the customer")
  func rows() async throws {
    try await withTraffic { portal, token, ada, eve in
      let answer = try await portal.get(Self.path, token: token)
      #expect(answer.status == 200)
      #expect(answer.body.names == ["rows", "month", "hasMore", "completeThrough"])
      #expect(answer.body["month"].string == "2026-01" && answer.body["hasMore"] == .bool(false))
      let rows = answer.body["rows"].array
      #expect(rows.allSatisfy { $0.names == Self.names })
      let adas = rows.filter { $0["accountId"].string == ada.text }
      #expect(adas.map { $0["environment"].string } == ["live", "live", "test"])
      #expect(adas.map { $0["slug"].string } == [nil, "orders", nil])
      #expect(adas.map { $0["successes"].integer } == [9, 100, 1_000])
      #expect(adas.map { $0["errors"].integer } == [2, 0, 0] && adas.map { $0["denied"].integer } == [4, 0, 0])
      #expect(adas.allSatisfy { $0["externalId"].string == "customer-17" })
      let eves = rows.filter { $0["accountId"].string == eve.text }
      #expect(eves.count == 1 && eves[0]["successes"].integer == 20 && eves[0]["externalId"] == .null)
      #expect(rows.map { $0["accountId"].string ?? "" } == rows.map { $0["accountId"].string ?? "" }.sorted())
    }
  }

  @Test("environment and api restrict the rows; an unknown api has none")
  func filters() async throws {
    try await withTraffic { portal, token, _, _ in
      for (filter, successes) in [
        ("environment=live", 129), ("environment=test", 1_000), ("apiId=orders", 100),
        ("apiId=orders&environment=test", 0), ("apiId=other", 0), ("apiId=\(UUID())", 0),
      ] {
        let answer = try await portal.get(Self.path + "&" + filter, token: token)
        #expect(answer.body["rows"].array.reduce(0) { $0 + ($1["successes"].integer ?? -1) } == successes, "\(filter)")
        for grouping in ["day", "account", "key", "endpoint", "environment", "api"] {
          let usage = try await portal.get(
            "/v1/analytics/usage?from=2026-01-01&to=2026-01-31&groupBy=\(grouping)&" + filter, token: token)
          #expect(usage.status == 200)
          #expect(
            usage.body["rows"].array.reduce(0) { $0 + ($1["successes"].integer ?? -1) } == successes,
            "\(grouping) \(filter)")
        }
      }
    }
  }

  @Test("usage is grouped by environment and by api, with latencies, in answers of any size")
  func groups() async throws {
    try await withTraffic { portal, token, ada, _ in
      let key = try #require(UUID(uuidString: try await portal.keyID("Orders")))
      try await portal.count([
        Traffic(account: ada, key: key, day: "2026-01-15", endpoint: "/c", latencies: [10, 20, 30])
      ])
      for limit in [100, 1_000] {
        let path = "/v1/analytics/usage?from=2026-01-01&to=2026-01-31&limit=\(limit)&groupBy="
        let environments = try await portal.get(path + "environment", token: token).body["rows"].array
        #expect(environments.map { $0["environment"].string } == ["test", "live"])
        #expect(environments.map { $0["successes"].integer } == [1_000, 132])
        #expect(environments.map { $0["averageLatencyMs"].double } == [nil, 20])
        let apis = try await portal.get(path + "api", token: token).body["rows"].array
        #expect(apis.map { $0["slug"].string } == [nil, "orders"])
        #expect(apis.map { $0["successes"].integer } == [1_029, 103])
        #expect(apis[0]["apiId"] == .null && apis[1]["apiId"].string != nil)
        let p95 = try #require(apis[1]["p95LatencyMs"].double)
        #expect(abs(p95 - 30) <= 1.5 && apis[0]["p95LatencyMs"] == .null)
      }
    }
  }

  @Test("CSV has the same rows, with the external id as text")
  func csv() async throws {
    try await withTraffic { portal, token, ada, _ in
      let table = try await portal.table(Self.path + "&environment=test", token: token)
      #expect(table.status == 200)
      #expect(table.header("Content-Disposition") == "attachment; filename=\"invoice-2026-01.csv\"")
      #expect(table.lines.first == Self.names.joined(separator: ","))
      #expect(
        table.lines.dropFirst().first
          == "\"customer-17\",\(ada.text),\"Account of ada@example.com\",\"test\",,,1000,0,0")
      #expect(table.lines.count == 2)
    }
  }

  @Test("a month is refused until usage is complete through 48 hours after its end, as JSON and as CSV")
  func notFinal() async throws {
    try await withTraffic { portal, token, _, _ in
      let now = Day(containing: Date()).description.prefix(7)
      for month in [String(now), "2999-01"] {
        let answer = try await portal.get("/v1/analytics/invoice?month=" + month, token: token)
        expectProblem(answer, 409, "month_not_final", "\(month)")
      }
      // A server that has not written everything holds the month back.
      for (through, status) in [("2026-02-02 23:59:59+00", 409), ("2026-02-03 00:00:00+00", 200)] {
        try await portal.script(
          """
          delete from instances where name = 'slow';
          insert into instances
            (id, name, lease_milliseconds, applied_seq, heartbeat_at, started_at, usage_complete_through)
          values (gen_random_uuid(), 'slow', 2000, 0, now(), '2026-01-01', '\(through)')
          """)
        #expect(try await portal.get(Self.path, token: token).status == status)
        #expect(try await portal.table(Self.path, token: token).status == status)
      }
    }
  }

  @Test("a month that is missing or is none, and other wrong parameters, are refused")
  func refused() async throws {
    try await withPortal { portal in
      let token = try await portal.analyst()
      for (query, location) in [
        ("", "query.month"), ("month=2026", "query.month"), ("month=2026-13", "query.month"),
        ("month=2020-01&environment=prod", "query.environment"), ("month=2020-01&apiId=a%20b", "query.apiId"),
        ("month=2020-01&limit=0", "query.limit"), ("month=2020-01&cursor=x", "query.cursor"),
      ] {
        let answer = try await portal.get("/v1/analytics/invoice?" + query, token: token)
        expectProblem(answer, 400, "invalid_request", at: location, "\(query)")
      }
    }
  }
}

extension TestPortal {
  /// The id of the only key with the name.
  fileprivate func keyID(_ name: String) async throws -> String {
    let staff = try await logInStaff()
    let keys = try await get("/v1/support/keys?start=lk", token: staff).body["keys"].array
    return keys.first { $0["name"].string == name }?["id"].string ?? ""
  }
}
