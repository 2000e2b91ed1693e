import Foundation
import PortalAPI
import PortalHTTP
import PortalTesting
import PostgresTesting
import Testing

@Suite("GET /v1/analytics/growth")
struct GrowthTests {
  private static let path = "/v1/analytics/growth?from=2026-02-01&to=2026-02-07"

  /// A normally distributed number (Box and Muller 1958).
  private func normal(_ random: inout SeededGenerator) -> Double {
    let (one, other) = (Double.random(in: 1e-9..<1, using: &random), Double.random(in: 0..<1, using: &random))
    return (-2 * log(one)).squareRoot() * cos(2 * .pi * other)
  }

  /// Two weeks of accounts of all sizes, with a random deviation of a third per day and a fifth per week. In the second
  /// week, all accounts have `trend` times their usual traffic, and those in `odd` have `factor` times that.
  private func traffic(
    _ accounts: [UUID], odd: Set<UUID>, factor: Double, trend: Double = 1, seed: UInt64
  ) -> [Traffic] {
    var random = SeededGenerator(seed: seed)
    var all: [Traffic] = []
    for account in accounts {
      let usual = exp(Double.random(in: log(20.0)...log(5_000), using: &random))
      let key = UUID()
      for (month, first, isSecond) in [("2026-01", 25, false), ("2026-02", 1, true)] {
        let week = exp(0.2 * normal(&random)) * (isSecond ? trend * (odd.contains(account) ? factor : 1) : 1)
        for day in first..<first + 7 {
          let count = Int(usual * week * exp(0.33 * normal(&random)))
          let text = "\(month)-\(day < 10 ? "0" : "")\(day)"
          all.append(Traffic(account: account, key: key, day: text, verified: count, denied: count / 50))
        }
      }
    }
    return all
  }

  @Test(
    "among forty ordinary accounts and two with ten times their usual traffic, only these two are outliers",
    arguments: 1...12 as ClosedRange<UInt64>)
  func outliers(_ seed: UInt64) async throws {
    try await withPortal { portal in
      let accounts = (0..<42).map { _ in UUID() }
      let odd = Set(accounts.suffix(2))
      // A trend that all accounts share does not make any of them an outlier.
      let trend = [1, 0.4, 2.5][Int(seed) % 3]
      try await portal.count(traffic(accounts, odd: odd, factor: 10, trend: trend, seed: seed))
      let body = try await portal.get(Self.path, token: try await portal.analyst()).body
      let rows = body["rows"].array
      #expect(rows.count == 42)
      let found = rows.filter { $0["isOutlier"] == .bool(true) }.compactMap { $0["accountId"].string }
      #expect(Set(found) == Set(odd.map { $0.uuidString.lowercased() }))
      #expect(rows.prefix(2).allSatisfy { $0["isOutlier"] == .bool(true) }, "they come first")
    }
  }

  @Test("an account whose traffic nearly stops is an outlier, too")
  func drop() async throws {
    try await withPortal { portal in
      let accounts = (0..<20).map { _ in UUID() }
      try await portal.count(traffic(accounts, odd: [accounts[7]], factor: 0.05, seed: 3))
      let rows = try await portal.get(Self.path, token: try await portal.analyst()).body["rows"].array
      #expect(
        rows.filter { $0["isOutlier"] == .bool(true) }.map { $0["accountId"].string }
          == [accounts[7].uuidString.lowercased()])
      #expect(rows[0]["score"].double ?? 0 < -3.5)
    }
  }

  @Test("ratio and difference compare with the same number of days before; the ratio is null if there was no usage")
  func numbers() async throws {
    try await withPortal { portal in
      let (ada, eve) = (try await portal.signUp(), try await portal.signUp("eve@example.com"))
      let (adas, eves) = (UUID(), UUID())
      try await portal.count([
        Traffic(account: ada.accountID, key: adas, day: "2026-01-24", verified: 1_000),
        Traffic(account: ada.accountID, key: adas, day: "2026-01-25", verified: 40),
        Traffic(account: ada.accountID, key: adas, day: "2026-01-31", denied: 40),
        Traffic(account: ada.accountID, key: adas, day: "2026-02-01", verified: 10, errors: 5),
        Traffic(account: ada.accountID, key: adas, day: "2026-02-07", denied: 10),
        Traffic(account: ada.accountID, key: adas, day: "2026-02-08", verified: 1_000),
        Traffic(account: eve.accountID, key: eves, day: "2026-02-03", verified: 3),
      ])
      let token = try await portal.analyst()
      let body = try await portal.get(Self.path, token: token).body
      #expect(
        body.names == ["rows", "from", "to", "previousFrom", "previousTo", "hasMore", "completeThrough"])
      #expect(body["previousFrom"].string == "2026-01-25" && body["previousTo"].string == "2026-01-31")
      let rows = body["rows"].array
      for row in rows {
        #expect(
          row.names == [
            "accountId", "accountName", "requests", "previousRequests", "difference", "ratio", "score", "isOutlier",
          ])
        #expect(row["isOutlier"] == .bool(false) && row["score"] == .null, "two accounts are too few for a score")
      }
      #expect(rows.map { $0["accountName"].string } == ["Account of ada@example.com", "Account of eve@example.com"])
      #expect(rows.map { $0["requests"].integer } == [20, 3])
      #expect(rows.map { $0["previousRequests"].integer } == [80, 0])
      #expect(rows.map { $0["difference"].integer } == [-60, 3])
      #expect(rows.map { $0["ratio"].double } == [0.25, nil])
      let lines = try await portal.table(Self.path, token: token).lines
      let id = ada.accountID.uuidString.lowercased()
      #expect(lines[1] == "\(id),\"Account of ada@example.com\",20,80,-60,0.25,,false")
      #expect(lines[2].hasSuffix(",3,0,3,,,false"))
    }
  }
}
