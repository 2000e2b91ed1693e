import Foundation
import JSON
import Portal
import PortalAPI
import PortalHTTP
import PortalTesting
import PostgresTesting
import Testing

@Suite("GET /v1/analytics/usage")
struct AnalyticsUsageTests {
  private static let path = "/v1/analytics/usage?from=2026-01-01&to=2026-01-31"
  private static let counts = ["successes", "errors", "denied", "averageLatencyMs", "p95LatencyMs"]

  /// Two customers with a key each; the second one's is used more.
  private func withTraffic(
    _ body: @escaping @Sendable (TestPortal, (ada: UUID, adasKey: UUID, eve: UUID, evesKey: UUID)) async throws -> Void
  ) async throws {
    try await withPortal { portal in
      let (ada, eve) = (try await portal.signUp(), try await portal.signUp("eve@example.com"))
      let (adasKey, evesKey) = (try await ada.makeKey("Ada's"), try await eve.makeKey("Eve's"))
      try await portal.count([
        Traffic(account: ada.accountID, key: adasKey, day: "2026-01-02", endpoint: "/a", verified: 10, errors: 2),
        Traffic(
          account: ada.accountID, key: adasKey, day: "2026-01-02", endpoint: "/b", verified: 5,
          latencies: [10, 20, 30, 40]),
        Traffic(account: ada.accountID, key: adasKey, day: "2026-01-31", endpoint: "/a", denied: 4),
        Traffic(
          account: eve.accountID, key: evesKey, day: "2026-01-01", endpoint: "/b", verified: 100,
          latencies: Array(repeating: 10, count: 90) + Array(repeating: 1_000, count: 10)),
        Traffic(account: eve.accountID, key: evesKey, day: "2025-12-31", verified: 1_000),
        Traffic(account: eve.accountID, key: evesKey, day: "2026-02-01", verified: 1_000),
      ])
      try await body(portal, (ada.accountID, adasKey, eve.accountID, evesKey))
    }
  }

  @Test("by day, oldest first, within the requested days; means weigh every request equally")
  func byDay() async throws {
    try await withTraffic { portal, _ in
      let answer = try await portal.get(Self.path, token: try await portal.analyst())
      #expect(answer.status == 200)
      #expect(answer.header("Cache-Control") == "no-store")
      #expect(answer.body.names == ["rows", "from", "to", "hasMore", "completeThrough"])
      #expect(answer.body["from"].string == "2026-01-01" && answer.body["to"].string == "2026-01-31")
      #expect(answer.body["completeThrough"].isTime && answer.body["hasMore"] == .bool(false))
      let rows = answer.body["rows"].array
      #expect(rows.compactMap { $0["date"].string } == ["2026-01-01", "2026-01-02", "2026-01-31"])
      for row in rows { #expect(row.names == ["date"] + Self.counts) }
      #expect(rows.map { $0["successes"].integer } == [100, 13, 0])
      #expect(rows.map { $0["errors"].integer } == [0, 2, 0])
      #expect(rows.map { $0["denied"].integer } == [0, 0, 4])
      #expect(rows.map { $0["averageLatencyMs"].double } == [109, 25, nil])
      let p95 = try #require(rows[0]["p95LatencyMs"].double)
      #expect(abs(p95 - 1_000) <= 50)
      #expect(rows[2]["p95LatencyMs"] == .null)
    }
  }

  @Test("by account, key or endpoint, with names, most requests first")
  func groups() async throws {
    try await withTraffic { portal, ids in
      let token = try await portal.analyst()
      let accounts = try await portal.get(Self.path + "&groupBy=account", token: token).body["rows"].array
      for row in accounts { #expect(row.names == ["accountId", "accountName"] + Self.counts) }
      #expect(accounts.map { $0["accountId"].string } == [ids.eve, ids.ada].map { $0.uuidString.lowercased() })
      #expect(
        accounts.map { $0["accountName"].string } == ["Account of eve@example.com", "Account of ada@example.com"])
      #expect(accounts.map { $0["successes"].integer } == [100, 13])
      #expect(accounts.map { $0["denied"].integer } == [0, 4])

      let keys = try await portal.get(Self.path + "&groupBy=key", token: token).body["rows"].array
      for row in keys { #expect(row.names == ["keyId", "accountId", "name", "start"] + Self.counts) }
      #expect(keys.map { $0["keyId"].string } == [ids.evesKey, ids.adasKey].map { $0.uuidString.lowercased() })
      #expect(keys.map { $0["name"].string } == ["Eve's", "Ada's"])
      #expect(keys.allSatisfy { $0["start"].string?.hasPrefix("lk_live_") == true })

      let endpoints = try await portal.get(Self.path + "&groupBy=endpoint", token: token).body["rows"].array
      for row in endpoints { #expect(row.names == ["endpoint"] + Self.counts) }
      #expect(endpoints.map { $0["endpoint"].string } == ["/b", "/a"])
      #expect(endpoints.map { $0["successes"].integer } == [105, 8])
    }
  }

  @Test("usage can be restricted to one account or key; an unknown one has none")
  func filters() async throws {
    try await withTraffic { portal, ids in
      let token = try await portal.analyst()
      for grouping in ["day", "account", "key", "endpoint"] {
        for (filter, successes) in [
          ("accountId=\(ids.ada)", 13), ("keyId=\(ids.evesKey)", 100), ("accountId=\(ids.ada)&keyId=\(ids.evesKey)", 0),
          ("accountId=\(UUID())", 0),
        ] {
          let answer = try await portal.get(Self.path + "&groupBy=\(grouping)&\(filter)", token: token)
          #expect(answer.status == 200)
          let sum = answer.body["rows"].array.reduce(0) { $0 + ($1["successes"].integer ?? -1) }
          #expect(sum == successes, "\(grouping) \(filter)")
        }
      }
    }
  }

  @Test("returns at most the requested number of rows, and whether there are more")
  func limit() async throws {
    try await withTraffic { portal, _ in
      let token = try await portal.analyst()
      for (limit, count, hasMore) in [(1, 1, true), (2, 2, true), (3, 3, false), (10_000, 3, false)] {
        let body = try await portal.get(Self.path + "&limit=\(limit)", token: token).body
        #expect(body["rows"].array.count == count && body["hasMore"] == .bool(hasMore))
        #expect(body["rows"][0]["date"].string == "2026-01-01")
      }
      let table = try await portal.table(Self.path + "&limit=1&groupBy=account", token: token)
      #expect(table.lines.count == 2)
    }
  }

  @Test("the defaults are the last thirty days, by day")
  func defaults() async throws {
    try await withPortal { portal in
      let customer = try await portal.signUp()
      let key = try await customer.makeKey()
      let before = Day(containing: Date())
      try await portal.count(
        [0, 29, 30, 40].map { daysAgo in
          Traffic(account: customer.accountID, key: key, day: before.advanced(by: -daysAgo).description, verified: 1)
        })
      let body = try await portal.get("/v1/analytics/usage", token: try await portal.analyst()).body
      // Midnight may pass during the test.
      guard Day(containing: Date()) == before else { return }
      #expect(body["from"].string == before.advanced(by: -29).description)
      #expect(body["to"].string == before.description)
      #expect(
        body["rows"].array.map { $0["date"].string } == [before.advanced(by: -29), before].map(\.description))
      let to = try await portal.get("/v1/analytics/usage?to=2026-03-01", token: try await portal.analyst()).body
      #expect(to["from"].string == "2026-01-31")
    }
  }

  @Test("staff and tokens for analytics have access; other tokens are forbidden, other callers unauthenticated")
  func access() async throws {
    try await withPortal { portal in
      #expect(try await portal.get(Self.path, token: try await portal.logInStaff()).status == 200)
      #expect(try await portal.get(Self.path, token: try await portal.analyst()).status == 200)
      let gateway = try await portal.makeToken(ServiceToken.Permission.allCases.filter { $0 != .readAnalytics })
      expectProblem(try await portal.get(Self.path, token: gateway), 403, "forbidden")
      for token in [nil, try await portal.signUp().token, Secret.random(prefix: "lk_svc").reveal(), "x"] {
        expectProblem(try await portal.get(Self.path, token: token), 401, "unauthenticated")
      }
    }
  }

  @Test(
    "an invalid parameter is refused with its location",
    arguments: [
      ("from=yesterday", "from"), ("from=2026-02-30", "from"), ("from=2026-1-1", "from"), ("to=20260131", "to"),
      ("to=2026-01-31T00:00:00Z", "to"), ("from=", "from"), ("from=2026-02-01&to=2026-01-31", "from"),
      ("from=2026-01-01&to=2027-02-05", "from"), ("from=2999-01-01", "from"), ("from=0001-01-01", "from"),
      ("groupBy=month", "groupBy"), ("groupBy=", "groupBy"), ("accountId=1", "accountId"), ("keyId=x", "keyId"),
      ("limit=0", "limit"), ("limit=-5", "limit"), ("limit=+5", "limit"), ("limit=005", "limit"),
      ("limit=1.5", "limit"), ("limit=Infinity", "limit"),
      ("limit=1000000000", "limit"), ("limit=abc", "limit"), ("limit=10001", "limit"), ("limit=", "limit"),
      ("limit=99999999999999999999", "limit"), ("limit=NaN", "limit"),
    ])
  func wrong(_ query: String, _ field: String) async throws {
    try await withPortal { portal in
      let answer = try await portal.get("/v1/analytics/usage?" + query, token: try await portal.analyst())
      expectProblem(answer, 400, "invalid_request", at: "query." + field)
    }
  }

  @Test("up to four hundred days can be requested, and unknown parameters are refused")
  func bounds() async throws {
    try await withTraffic { portal, _ in
      let token = try await portal.analyst()
      let body = try await portal.get("/v1/analytics/usage?from=2025-01-01&to=2026-02-04", token: token).body
      #expect(body["rows"].array.count == 5)
      for name in ["colour", "accountID", "days"] {
        expectProblem(
          try await portal.get(Self.path + "&\(name)=1", token: token), 400, "invalid_request", at: "query.\(name)")
      }
      let table = try await portal.table(Self.path + "&limit=1000001", token: token)
      #expect(table.status == 400 && table.header("Content-Type") == "application/problem+json")
    }
  }

  // MARK: CSV

  @Test("as CSV, with the same columns as JSON, counts as whole numbers, and missing values empty")
  func csv() async throws {
    try await withTraffic { portal, ids in
      let token = try await portal.analyst()
      let table = try await portal.table(Self.path, token: token)
      #expect(table.status == 200)
      #expect(table.header("Content-Type") == "text/csv; charset=utf-8; header=present")
      #expect(table.header("Content-Disposition") == "attachment; filename=\"usage.csv\"")
      #expect(table.header("Cache-Control") == "no-store")
      #expect(try #require(table.header("X-Latchkey-Complete-Through")).hasSuffix("Z"))
      #expect(table.lines.count == 4)
      #expect(table.lines[0] == "date,successes,errors,denied,averageLatencyMs,p95LatencyMs")
      #expect(table.lines[3] == "2026-01-31,0,0,4,,")
      #expect(table.lines[1].hasPrefix("2026-01-01,100,0,0,109.0,"))
      #expect(table.text.hasSuffix("\r\n"))
      for grouping in ["account", "key", "endpoint"] {
        let path = Self.path + "&groupBy=\(grouping)"
        let rows = try await portal.get(path, token: token).body["rows"].array
        let lines = try await portal.table(path, token: token).lines
        #expect(lines[0] == rows[0].names.joined(separator: ","))
        #expect(lines.count == rows.count + 1)
      }
      let account = try await portal.table(Self.path + "&groupBy=account&accountId=\(ids.ada)", token: token)
      let ada = ids.ada.uuidString.lowercased()
      #expect(account.lines[1].hasPrefix("\(ada),\"Account of ada@example.com\",13,2,4,25.0,"))
    }
  }

  @Test(
    "CSV is returned only if Accept prefers it to JSON",
    arguments: [
      ("text/csv", true), ("TEXT/CSV;q=0.9, */*;q=0.1", true), ("application/json, text/csv;q=0.5", false),
      ("application/json;q=0.5, text/csv", true), ("application/json, text/csv", false), ("*/*", false),
      ("text/csv;q=0", false), ("text/html, text/*", false), (" , ;q=1, Text/CSV ; header=absent ;Q=0.3", true),
      ("application/json; q=0.4,\ttext/csv ; q=0.5", true), ("text/csv;q=high", false), ("text/csvs, xtext/csv", false),
    ])
  func negotiation(_ accept: String, _ isCSV: Bool) async throws {
    try await withPortal { portal in
      let token = try await portal.analyst()
      let type = try await portal.table(Self.path, accept: accept, token: token).header("Content-Type")
      #expect(type == (isCSV ? "text/csv; charset=utf-8; header=present" : "application/json"))
    }
  }

  @Test("a hundred thousand rows are streamed in chunks of bounded size, each row once and in order")
  func stream() async throws {
    try await withPortal(.live) { portal in
      let count = 100_000
      try await portal.script(
        """
        insert into key_usage (account_id, key_id, day, endpoint, verified_count)
        select '00000000-0000-7000-8000-000000000001', '00000000-0000-7000-8000-000000000002', '2026-01-01',
          'endpoint ' || number, number from generate_series(1, \(count)) number
        """)
      let token = try await portal.analyst()
      let text = try await exchange(
        portal,
        """
        GET \(Self.path)&groupBy=endpoint&limit=1000000 HTTP/1.1\r
        Host: 127.0.0.1\r
        Authorization: Bearer \(token)\r
        Accept: text/csv\r
        Connection: close\r
        \r

        """)
      let parts = text.split(separator: "\r\n\r\n", maxSplits: 1)
      #expect(parts[0].lowercased().contains("transfer-encoding: chunked"))
      let chunks = try chunks(in: String(parts[1]))
      #expect(chunks.count >= count / 1_000 && chunks.allSatisfy { $0.utf8.count < 100_000 })
      let lines = chunks.joined().components(separatedBy: "\r\n").dropLast()
      #expect(lines.count == count + 1)
      #expect(lines.dropFirst().elementsEqual((1...count).reversed().map { "\"endpoint \($0)\",\($0),0,0,," }))
    }
  }

  /// The chunks of a body (RFC 9112 7.1), up to the empty one that ends it.
  private func chunks(in body: String) throws -> [String] {
    var rest = Array(body.utf8)[...]
    var chunks: [String] = []
    while let end = rest.firstIndex(of: UInt8(ascii: "\r")) {
      let size = try #require(Int(String(decoding: rest[..<end], as: UTF8.self), radix: 16))
      if size == 0 { return chunks }
      let start = end + 2
      try #require(start + size + 2 <= rest.endIndex, "the body is cut off")
      chunks.append(String(decoding: rest[start..<start + size], as: UTF8.self))
      rest = rest[(start + size + 2)...]
    }
    throw TestSetupError(description: "the body does not end")
  }
}
