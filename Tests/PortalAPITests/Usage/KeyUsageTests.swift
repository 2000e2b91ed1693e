import Foundation
import JSON
import Portal
import PortalAPI
import PortalHTTP
import PortalTesting
import Testing

@Suite("GET /v1/keys/{id}/usage")
struct KeyUsageTests {
  @Test("an unused key has an entry per day up to today, with zeros and nulls")
  func unused() async throws {
    try await withPortal { portal in
      let customer = try await portal.signUp()
      let id = try await customer.createKey().id
      for (query, count) in [("", 30), ("?days=1", 1), ("?days=7", 7), ("?days=366", 366)] {
        let before = Day(containing: Date())
        let answer = try await customer.get("/v1/keys/\(id)/usage" + query)
        let after = Day(containing: Date())
        #expect(answer.status == 200)
        #expect(answer.body.names == ["keyId"] + Contract.usage)
        #expect(answer.body["keyId"].string == id)
        let today = [before, after].first { $0.description == answer.body["to"].string }
        let last = try #require(today, "the report ends with \(answer.body["to"])")
        let days = (0..<count).map { last.advanced(by: $0 + 1 - count).description }
        #expect(answer.body["from"].string == days.first)
        #expect(answer.body["daily"].array.compactMap { $0["date"].string } == days)
        for entry in answer.body["daily"].array { expectZeros(entry, Contract.daily) }
        expectZeros(answer.body["summary"], Contract.summary)
        #expect(answer.body["endpoints"] == .array([]))
      }
    }
  }

  @Test("means weigh every request equally, and percentiles are within 5 %, across days and endpoints")
  func sums() async throws {
    try await withPortal { portal in
      let customer = try await portal.signUp()
      let token = try await portal.makeToken()
      let id = try await customer.createKey().id
      let yesterday = Timestamp.text(of: Date(timeIntervalSinceNow: -86_400))
      let events =
        (0..<90).map { _ in event(id, endpoint: "/fast", latency: "10", at: yesterday) }
        + (0..<9).map { _ in event(id, endpoint: "/slow", status: 503, latency: "100") }
        + [event(id, endpoint: "/slow", latency: "1000")]
      #expect(try await portal.report(events, token: token).body["accepted"].integer == 100)

      let usage = try await customer.usage(of: id)
      let summary = usage["summary"]
      #expect(summary.names == Contract.summary)
      #expect(summary["totalRequests"].integer == 100)
      #expect(summary["successes"].integer == 91)
      #expect(summary["errors"].integer == 9)
      #expect(summary["denied"].integer == 0)
      #expect(summary["errorRate"].double == 0.09)
      #expect(summary["averageLatencyMs"].double == 28)
      expectAbout(10, summary["p50LatencyMs"])
      expectAbout(100, summary["p95LatencyMs"])
      expectAbout(100, summary["p99LatencyMs"])

      let used = usage["daily"].array.filter { $0["successes"].integer != 0 }
      #expect(used.map { $0["successes"].integer } == [90, 1])
      #expect(used.map { $0["errors"].integer } == [0, 9])
      #expect(used.map { $0["averageLatencyMs"].double } == [10, 190])
      for (entry, p99) in zip(used, [10.0, 1_000]) { expectAbout(p99, entry["p99LatencyMs"]) }
      for entry in usage["daily"].array { #expect(entry.names == Contract.daily) }

      #expect(usage["endpoints"].array.compactMap { $0["endpoint"].string } == ["/fast", "/slow"])
      for entry in usage["endpoints"].array { #expect(entry.names == Contract.endpoint) }
      #expect(usage["endpoints"][1]["errors"].integer == 9)
      #expect(usage["endpoints"][1]["averageLatencyMs"].double == 190)
    }
  }

  @Test("VALID counts as a success, any other verdict on the key as denied, and NOT_FOUND counts for no key")
  func verdicts() async throws {
    try await withPortal { portal in
      let customer = try await portal.signUp()
      let token = try await portal.makeToken()
      let (id, key) = try await customer.createKey(",\"rateLimitPerMinute\":10")
      for _ in 0..<3 { _ = try await portal.verify(key, token: token, #","endpoint":"/orders""#) }
      for question in [#","endpoint":"/orders","scope":"users:read""#, ",\"cost\":11", ",\"cost\":0"] {
        _ = try await portal.verify(key, token: token, question)
      }
      _ = try await portal.verify(key + "x", token: token)
      _ = try await customer.delete("/v1/keys/" + id)
      _ = try await portal.verify(key, token: token)

      let usage = try await customer.usage(of: id)
      #expect(usage["summary"]["successes"].integer == 3)
      #expect(usage["summary"]["denied"].integer == 3)
      #expect(usage["summary"]["errors"].integer == 0)
      #expect(usage["summary"]["errorRate"].double == 0)
      #expect(usage["summary"]["averageLatencyMs"] == .null)
      let endpoints = usage["endpoints"].array.map { [$0["endpoint"], $0["successes"], $0["denied"]] }
      #expect(
        endpoints == [
          [.string("/orders"), .number("3"), .number("1")], [.string("unspecified"), .number("0"), .number("2")],
        ])
      let read = try await customer.get("/v1/keys/" + id).body
      #expect(read["totalRequests"].integer == 6)
      #expect(read["lastUsedAt"].isTime)
    }
  }

  @Test("a request that is both verified and reported counts once")
  func verifiedAndReported() async throws {
    try await withPortal { portal in
      let customer = try await portal.signUp()
      let token = try await portal.makeToken()
      let (id, key) = try await customer.createKey()
      for _ in 0..<4 { _ = try await portal.verify(key, token: token, #","endpoint":"/orders""#) }
      _ = try await portal.report([event(id), event(id, status: 404), event(id, status: 500)], token: token)
      let summary = try await customer.usage(of: id)["summary"]
      #expect(summary["successes"].integer == 2)
      #expect(summary["errors"].integer == 2)
      #expect(summary["totalRequests"].integer == 4)
      #expect(summary["errorRate"].double == 0.5)
    }
  }

  @Test("the ten endpoints with most requests are listed, most used first")
  func endpoints() async throws {
    try await withPortal { portal in
      let customer = try await portal.signUp()
      let token = try await portal.makeToken()
      let id = try await customer.createKey().id
      let events = (1...12).flatMap { number in
        (0..<number).map { event(id, endpoint: "/e\(number)", status: $0 % 2 == 0 ? 200 : 500) }
      }
      _ = try await portal.report(events, token: token)
      let usage = try await customer.usage(of: id)
      #expect(
        usage["endpoints"].array.compactMap { $0["endpoint"].string }
          == (3...12).reversed().map { "/e\($0)" })
      #expect(usage["summary"]["totalRequests"].integer == 78)
    }
  }

  @Test("usage before the first day of the range is not in the report")
  func range() async throws {
    try await withPortal { portal in
      let customer = try await portal.signUp()
      let id = try await customer.createKey().id
      let today = try #require(try await customer.get("/v1/keys/\(id)/usage").body["to"].string)
      try await portal.script(
        """
        insert into key_usage (account_id, key_id, day, endpoint, verified_count)
        select '\(customer.accountID)', '\(id)', date '\(today)' - ago, '/', 1 from generate_series(1, 400) ago
        """)
      for (days, count) in [(1, 0), (2, 1), (30, 29), (365, 364)] {
        let usage = try await customer.get("/v1/keys/\(id)/usage?days=\(days)").body
        // One more if midnight has passed during the test.
        #expect([count, count + 1].contains(usage["summary"]["successes"].integer ?? -1))
        #expect(usage["daily"].array.count == days)
        #expect(usage["daily"].array.count { $0["successes"].integer == 1 } == usage["summary"]["successes"].integer)
      }
    }
  }

  @Test("an invalid number of days is refused with its location, and a viewer can read usage")
  func days() async throws {
    try await withPortal { portal in
      let customer = try await portal.signUp()
      let id = try await customer.createKey().id
      for path in ["/v1/keys/\(id)/usage", "/v1/usage"] {
        for days in ["0", "-1", "367", "1.5", "abc", "", "1e1", "Infinity", "9223372036854775808", "%00", "0x1", "7,8"]
        {
          expectProblem(
            try await customer.get("\(path)?days=\(days)"), 400, "invalid_request", at: "query.days", "\(days)")
        }
      }
      try await customer.becomeViewer()
      #expect(try await customer.get("/v1/keys/\(id)/usage?days=7").status == 200)
      #expect(try await customer.get("/v1/usage?days=7").status == 200)
    }
  }

  private func expectZeros(_ entry: JSONValue, _ names: [String]) {
    #expect(entry.names == names)
    for name in names where name != "date" {
      let isLatency = name.hasSuffix("LatencyMs")
      #expect(isLatency ? entry[name] == .null : entry[name].double == 0, "\(name)")
    }
  }

  private func expectAbout(_ expected: Double, _ value: JSONValue, sourceLocation: SourceLocation = #_sourceLocation) {
    let value = value.double ?? -1
    #expect(abs(value - expected) <= 0.05 * expected + 0.001, "\(value)", sourceLocation: sourceLocation)
  }
}
