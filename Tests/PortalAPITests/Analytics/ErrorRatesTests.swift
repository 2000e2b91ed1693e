import Foundation
import PortalAPI
import PortalHTTP
import PortalTesting
import Testing

@Suite("GET /v1/analytics/error-rates")
struct ErrorRatesTests {
  private static let path = "/v1/analytics/error-rates?from=2026-01-01&to=2026-01-31"

  @Test("lists accounts with significantly more errors than the average, but not one with a single failed request")
  func standingOut() async throws {
    try await withPortal { portal in
      let token = try await portal.analyst()
      let accounts = (0..<6).map { _ in UUID() }
      // Admitted requests, and the failed ones among them: 2,000 of 121,011 in all.
      let outcomes = [(100_000, 1_000), (10_000, 500), (1_000, 30), (10, 1), (1, 1), (10_000, 468)]
      try await portal.count(
        zip(accounts, outcomes).map { account, outcome in
          Traffic(
            account: account, key: UUID(), day: "2026-01-10", verified: outcome.0, denied: 7, errors: outcome.1)
        } + [Traffic(account: accounts[0], key: UUID(), day: "2026-02-10", verified: 1, errors: 1)])
      let body = try await portal.get(Self.path, token: token).body
      #expect(body.names == ["rows", "from", "to", "hasMore", "completeThrough"])
      let rows = body["rows"].array
      for row in rows {
        #expect(
          row.names == [
            "accountId", "accountName", "successes", "errors", "errorRate", "lowerBound", "overallErrorRate",
          ])
        #expect(row["overallErrorRate"].double == 0.016527)
      }
      let ids = [accounts[1], accounts[5], accounts[2]].map { $0.uuidString.lowercased() }
      #expect(rows.map { $0["accountId"].string } == ids)
      #expect(rows.map { $0["errorRate"].double } == [0.05, 0.0468, 0.03])
      #expect(rows.map { $0["successes"].integer } == [9_500, 9_532, 970])
      // Lower bounds of Wilson's interval for z = 3.29, computed independently.
      for (row, bound) in zip(rows, [0.043304, 0.040328, 0.016677]) {
        #expect(abs((row["lowerBound"].double ?? 0) - bound) < 0.000_001, "\(row)")
      }
      let lines = try await portal.table(Self.path, token: token).lines
      #expect(lines.count == 4 && lines[0] == rows[0].names.joined(separator: ","))
    }
  }

  @Test("by key, lists one that fails within an unremarkable account")
  func keys() async throws {
    try await withPortal { portal in
      let customer = try await portal.signUp()
      let (good, bad) = (try await customer.makeKey("good"), try await customer.makeKey("bad"))
      try await portal.count([
        Traffic(account: customer.accountID, key: good, day: "2026-01-10", verified: 100_000, errors: 100),
        Traffic(account: customer.accountID, key: bad, day: "2026-01-10", verified: 100, errors: 20),
      ])
      let token = try await portal.analyst()
      #expect(try await portal.get(Self.path, token: token).body["rows"] == .array([]))
      let rows = try await portal.get(Self.path + "&by=key", token: token).body["rows"].array
      #expect(rows.map { $0["name"].string } == ["bad"])
      #expect(rows[0].names.prefix(5) == ["keyId", "accountId", "accountName", "name", "start"])
    }
  }

  @Test("without usage or errors, there are no rows")
  func none() async throws {
    try await withPortal { portal in
      let token = try await portal.analyst()
      #expect(try await portal.get(Self.path, token: token).body["rows"] == .array([]))
      try await portal.count([
        Traffic(account: UUID(), key: UUID(), day: "2026-01-10", verified: 100),
        Traffic(account: UUID(), key: UUID(), day: "2026-01-10", denied: 100),
      ])
      let answer = try await portal.get(Self.path, token: token)
      #expect(answer.status == 200 && answer.body["rows"] == .array([]))
    }
  }
}
