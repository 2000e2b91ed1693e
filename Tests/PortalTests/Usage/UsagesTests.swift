import Foundation
import JSON
import PortalTesting
import Postgres
import Testing

@testable import Portal

/// An account with a key, the token of a gateway, and usage operations.
private struct Metered {
  let world: World
  let account: UUID
  let key: UUID
  let token: ServiceToken

  var usages: Usages { Usages(pool: world.pool, gatewayPool: world.pool) }

  init(_ pool: PostgresPool) async throws {
    world = World(pool)
    account = try await world.makeAccount()
    key = try await world.makeKey(account).key.id
    let id = try await world.tokens.create(name: "gateway", permissions: [.writeUsage], by: World.caller).id
    token = ServiceToken(id: id, name: "gateway", permissions: [.writeUsage], isRevoked: false)
  }

  func outcome(_ status: Int = 200, _ endpoint: String = "/", key: UUID? = nil, age: Double = 0) -> ReportedOutcome {
    ReportedOutcome(
      keyID: key ?? self.key, endpoint: endpoint, status: status, latencyMilliseconds: 20,
      at: Date().addingTimeInterval(-age))
  }

  /// Inserts counters as an earlier flush would have left them.
  func insert(_ verified: Int, _ endpoint: String, daysAgo: Int, key: UUID? = nil) async throws {
    try await world.pool.script(
      """
      insert into key_usage (account_id, key_id, day, endpoint, verified_count, denied_count) values
        ('\(account)', '\(key ?? self.key)', (now() at time zone 'utc')::date - \(daysAgo), '\(endpoint)',
          \(verified), 1)
      """)
  }
}

private func withMetered(_ body: (Metered) async throws -> Void) async throws {
  try await withPool { try await body(try await Metered($0)) }
}

@Suite("Usages")
struct UsagesTests {
  // MARK: Reports

  @Test("a report has every day of its range, including the first and last, and nothing earlier")
  func range() async throws {
    try await withMetered { metered in
      for daysAgo in [0, 6, 7, 29, 30, 365, 366] { try await metered.insert(1 + daysAgo, "/", daysAgo: daysAgo) }
      for (days, successes, denied) in [(1, 1, 1), (7, 8, 2), (30, 46, 4), (31, 77, 5), (366, 443, 6)] {
        let report = try await metered.usages.report(onKey: metered.key, of: metered.account, days: days)
        #expect(report.daily.count == days)
        #expect(report.daily.map(\.day) == (0..<days).map { report.from.advanced(by: $0) })
        #expect(report.daily.last?.day == report.to && Day(containing: Date()).number - report.to.number <= 1)
        #expect(report.summary.successes == successes && report.summary.denied == denied, "\(days) days")
        #expect(report.daily.reduce(0) { $0 + $1.totals.totalRequests } == report.summary.totalRequests)
      }
    }
  }

  @Test("a report of excessive counts does not crash: its sums stop at their bounds")
  func typedCounts() async throws {
    try await withMetered { metered in
      // Each fits into a row, but the sum of two overflows.
      for daysAgo in [0, 1] { try await metered.insert(Int.max / 2 + 1, "/\(daysAgo)", daysAgo: daysAgo) }
      try await metered.world.pool.script(
        """
        update key_usage set latency_buckets = array_fill(\(Int.max), array[200]), latency_count = \(Int.max),
          total_latency_ms = 'NaN'
        """)
      let report = try await metered.usages.report(onKey: metered.key, of: metered.account, days: 7)
      #expect(report.summary.successes == .max && report.summary.totalRequests == .max)
      #expect(report.summary.latencyCount == .max && report.summary.latencyPercentile(0.99) != nil)
    }
  }

  @Test("a report lists the ten endpoints with the most requests, busiest first, then by name")
  func endpoints() async throws {
    try await withMetered { metered in
      for number in 1...12 { try await metered.insert(number * 10, "/\(number)", daysAgo: 0) }
      try await metered.insert(25, "/1", daysAgo: 1)
      try await metered.insert(79, "/b", daysAgo: 0)
      try await metered.insert(80, "/B", daysAgo: 0)
      let report = try await metered.usages.report(onKey: metered.key, of: metered.account, days: 3)
      #expect(report.endpoints.map(\.endpoint) == ["/12", "/11", "/10", "/9", "/8", "/B", "/b", "/7", "/6", "/5"])
      #expect(report.endpoints[0].totals.successes == 120)
      #expect(report.summary.successes == 780 + 25 + 79 + 80, "the summary includes unlisted endpoints")
    }
  }

  @Test("an account's report adds up and lists its keys, without the usage of other accounts")
  func account() async throws {
    try await withMetered { metered in
      let second = try await metered.world.makeKey(metered.account).key.id
      let other = try await metered.world.makeAccount("eve@example.com")
      try await metered.insert(3, "/", daysAgo: 0)
      try await metered.insert(5, "/", daysAgo: 0, key: second)
      let report = try await metered.usages.report(onAccount: metered.account, days: 2)
      #expect(report.summary.successes == 8 && report.endpoints.map(\.totals.successes) == [8])
      #expect(report.keys.map(\.keyID) == [second, metered.key])
      #expect(report.keys.map(\.totals.successes) == [5, 3])
      let empty = try await metered.usages.report(onAccount: other, days: 2)
      #expect(empty.summary == UsageTotals() && empty.keys.isEmpty && empty.endpoints.isEmpty)
      await #expect(throws: PortalError.notFound) {
        try await metered.usages.report(onKey: metered.key, of: other, days: 2)
      }
      await #expect(throws: PortalError.notFound) {
        try await metered.usages.report(onKey: .version7(), of: metered.account, days: 2)
      }
    }
  }

  // MARK: Outcomes

  @Test("reported outcomes are immediately in the report, and in the key's last use and total")
  func reported() async throws {
    try await withMetered { metered in
      let outcomes = [200, 201, 404, 500].map { metered.outcome($0) } + [metered.outcome(200, age: 3_600)]
      let receipt = try await metered.usages.take(outcomes, batchID: nil, from: metered.token)
      #expect(receipt == Usages.Receipt(accepted: 5))
      let summary = try await metered.usages.report(onKey: metered.key, of: metered.account, days: 3).summary
      #expect(summary.successes == 3 && summary.errors == 2 && summary.denied == 0)
      #expect(summary.averageLatencyMilliseconds == 20 && summary.errorRate == 0.4)
      let key = try await metered.world.keys.find(metered.key, of: metered.account)
      #expect(key.totalRequests == 5)
      #expect(abs(try #require(key.lastUsedAt).timeIntervalSinceNow) < 60)
    }
  }

  @Test("endpoints that only look the same are counted separately")
  func spelledEndpoints() async throws {
    try await withMetered { metered in
      let outcomes = ["/\u{E9}", "/e\u{301}", "/e\u{301}"].map { metered.outcome(200, $0) }
      _ = try await metered.usages.take(outcomes, batchID: nil, from: metered.token)
      let endpoints = try await metered.usages.report(onKey: metered.key, of: metered.account, days: 1).endpoints
      #expect(endpoints.map { Array($0.endpoint.utf8) } == ["/e\u{301}", "/\u{E9}"].map { Array($0.utf8) })
      #expect(endpoints.map(\.totals.successes) == [2, 1])
    }
  }

  @Test("an older report does not set the last use back")
  func lastUse() async throws {
    try await withMetered { metered in
      for age in [600.0, 60, 3_600] {
        _ = try await metered.usages.take([metered.outcome(age: age)], batchID: nil, from: metered.token)
      }
      let key = try await metered.world.keys.find(metered.key, of: metered.account)
      let age = -(try #require(key.lastUsedAt).timeIntervalSinceNow)
      #expect((60..<120).contains(age))
    }
  }

  @Test(
    "events of unknown keys or at impossible times are rejected individually; the others count",
    arguments: [nil, "b1"])
  func rejected(_ batchID: String?) async throws {
    try await withMetered { metered in
      let outcomes = [
        metered.outcome(), metered.outcome(key: .version7()), metered.outcome(age: 47.9 * 3_600),
        metered.outcome(age: 48.1 * 3_600), metered.outcome(age: -290), metered.outcome(age: -310),
      ]
      let receipt = try await metered.usages.take(outcomes, batchID: batchID, from: metered.token)
      #expect(
        receipt
          == Usages.Receipt(accepted: 3, rejected: [(1, "not_found"), (3, "out_of_range"), (5, "out_of_range")]))
      #expect(try await metered.world.pool.number("select sum(reported_count) from key_usage") == 3)
    }
  }

  @Test("a batch sent twenty times concurrently counts once; another token's batch with the same ID counts too")
  func batches() async throws {
    try await withMetered { metered in
      let outcomes = (0..<10).map { metered.outcome(200, "/e\($0 % 3)") }
      let receipts = await concurrently(20) { _ in
        try await metered.usages.take(outcomes, batchID: "batch", from: metered.token)
      }
      #expect(receipts.values.count { $0 == Usages.Receipt(accepted: 10) } == 1)
      #expect(receipts.values.count { $0 == Usages.Receipt(duplicates: 10) } == 19)
      let other = try await metered.world.tokens.create(name: "other", permissions: [.writeUsage], by: World.caller).id
      var token = metered.token
      token.id = other
      #expect(try await metered.usages.take(outcomes, batchID: "batch", from: token).accepted == 10)
      #expect(try await metered.world.pool.number("select sum(reported_count) from key_usage") == 20)
    }
  }

  @Test("a batch that could not be written counts when it is sent again")
  func failedBatch() async throws {
    try await withMetered { metered in
      try await metered.world.pool.script("alter table key_activity rename to away")
      await #expect(throws: PostgresError.self) {
        try await metered.usages.take([metered.outcome()], batchID: "batch", from: metered.token)
      }
      try await metered.world.pool.script("alter table away rename to key_activity")
      #expect(try await metered.usages.take([metered.outcome()], batchID: "batch", from: metered.token).accepted == 1)
      #expect(try await metered.world.pool.number("select sum(reported_count) from key_usage") == 1)
    }
  }

  @Test("endpoints in batches count towards the account's 500 names")
  func endpointShare() async throws {
    try await withMetered { metered in
      let outcomes = (0..<510).map { metered.outcome(200, "/e\($0)") }
      _ = try await metered.usages.take(outcomes, batchID: "batch", from: metered.token)
      let pool = metered.world.pool
      #expect(try await pool.number("select count(distinct endpoint) from key_usage") == 501)
      #expect(try await pool.number("select sum(reported_count) from key_usage where endpoint = 'other'") == 10)
    }
  }
}
