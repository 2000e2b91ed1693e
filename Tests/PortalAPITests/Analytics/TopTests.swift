import Foundation
import PortalAPI
import PortalHTTP
import PortalTesting
import Testing

@Suite("GET /v1/analytics/top")
struct TopTests {
  private static let path = "/v1/analytics/top?from=2026-01-01&to=2026-01-31"
  private static let counts = ["totalRequests", "successes", "errors", "denied", "share"]

  @Test("ranks accounts or keys by their requests of any outcome, with their share of all requests")
  func top() async throws {
    try await withPortal { portal in
      let (ada, eve) = (try await portal.signUp(), try await portal.signUp("eve@example.com"))
      let keys = [try await ada.makeKey("one"), try await ada.makeKey("two"), try await eve.makeKey("three")]
      try await portal.count([
        Traffic(account: ada.accountID, key: keys[0], day: "2026-01-01", verified: 10, errors: 2),
        Traffic(account: ada.accountID, key: keys[1], day: "2026-01-02", verified: 5, denied: 25),
        Traffic(account: ada.accountID, key: keys[1], day: "2026-01-03", endpoint: "/b", denied: 20),
        Traffic(account: eve.accountID, key: keys[2], day: "2026-01-03", verified: 40),
        Traffic(account: eve.accountID, key: keys[2], day: "2026-02-01", verified: 4_000),
      ])
      let token = try await portal.analyst()
      let body = try await portal.get(Self.path, token: token).body
      #expect(body.names == ["rows", "from", "to", "hasMore", "completeThrough"])
      let accounts = body["rows"].array
      for row in accounts { #expect(row.names == ["accountId", "accountName"] + Self.counts) }
      #expect(
        accounts.map { $0["accountName"].string } == ["Account of ada@example.com", "Account of eve@example.com"])
      #expect(accounts.map { $0["totalRequests"].integer } == [60, 40])
      #expect(accounts.map { $0["share"].double } == [0.6, 0.4])
      #expect(accounts[0]["successes"].integer == 13 && accounts[0]["errors"].integer == 2)
      #expect(accounts[0]["denied"].integer == 45)

      let byKey = try await portal.get(Self.path + "&by=key", token: token).body["rows"].array
      for row in byKey {
        #expect(row.names == ["keyId", "accountId", "accountName", "name", "start"] + Self.counts)
      }
      #expect(byKey.map { $0["name"].string } == ["two", "three", "one"])
      #expect(byKey.map { $0["totalRequests"].integer } == [50, 40, 10])

      let first = try await portal.get(Self.path + "&by=key&limit=1", token: token).body
      #expect(first["rows"].array == [byKey[0]] && first["hasMore"] == .bool(true))
      let lines = try await portal.table(Self.path + "&by=key", token: token).lines
      #expect(lines[0] == byKey[0].names.joined(separator: ",") && lines.count == 4)
      #expect(lines[2].hasSuffix(",\"three\",\"\(try #require(byKey[1]["start"].string))\",40,40,0,0,0.4"))
    }
  }

  @Test("without usage, there are no rows")
  func none() async throws {
    try await withPortal { portal in
      let body = try await portal.get(Self.path, token: try await portal.analyst()).body
      #expect(body["rows"] == .array([]))
    }
  }

  @Test(
    "an invalid parameter is refused with its location",
    arguments: [("by=day", "by"), ("limit=0", "limit"), ("from=x", "from"), ("to=2020-01-01&from=2020-01-02", "from")])
  func wrong(_ query: String, _ field: String) async throws {
    try await withPortal { portal in
      let answer = try await portal.get("/v1/analytics/top?" + query, token: try await portal.analyst())
      expectProblem(answer, 400, "invalid_request", at: "query." + field)
    }
  }
}
