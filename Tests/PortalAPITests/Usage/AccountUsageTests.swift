import Foundation
import JSON
import PortalAPI
import PortalHTTP
import PortalTesting
import Testing

@Suite("GET /v1/usage")
struct AccountUsageTests {
  @Test("an account without keys has a report of zeros")
  func unused() async throws {
    try await withPortal { portal in
      let answer = try await portal.signUp().get("/v1/usage")
      #expect(answer.status == 200)
      #expect(answer.body.names == Contract.usage + ["keys", "hourly"])
      #expect(answer.body["daily"].array.count == 30)
      #expect(answer.body["summary"].names == Contract.summary)
      #expect(answer.body["summary"]["totalRequests"].integer == 0)
      #expect(answer.body["summary"]["averageLatencyMs"] == .null)
      #expect(answer.body["keys"] == .array([]))
      #expect(answer.body["endpoints"] == .array([]))
      #expect(answer.body["hourly"].array.count == 48)
      #expect(answer.body["completeThrough"].isTime)
    }
  }

  @Test("the sums cover all keys, including revoked ones, and each key is listed, most used first")
  func sums() async throws {
    try await withPortal { portal in
      let customer = try await portal.signUp()
      let token = try await portal.makeToken()
      let (first, second) = (try await customer.createKey(), try await customer.createKey())
      for _ in 0..<2 { _ = try await portal.verify(first.key, token: token, #","endpoint":"/a""#) }
      _ = try await portal.verify(first.key, token: token, #","endpoint":"/b","scope":"users:read""#)
      let events = [
        event(second.id, endpoint: "/a", latency: "10"), event(second.id, endpoint: "/a", latency: "20"),
        event(second.id, endpoint: "/c", status: 500, latency: "90"), event(second.id, endpoint: "/c"),
      ]
      _ = try await portal.report(events, token: token)
      _ = try await customer.delete("/v1/keys/" + first.id)

      let usage = try await customer.usage("?days=2")
      #expect(usage["daily"].array.count == 2)
      let summary = usage["summary"]
      #expect(summary["totalRequests"].integer == 7)
      #expect(summary["successes"].integer == 5)
      #expect(summary["errors"].integer == 1)
      #expect(summary["denied"].integer == 1)
      #expect(summary["averageLatencyMs"].double == 40)
      #expect(summary["errorRate"].double == 0.167)
      for name in ["successes", "errors", "denied"] {
        for list in ["daily", "endpoints", "keys"] {
          let sum = usage[list].array.reduce(0) { $0 + ($1[name].integer ?? 0) }
          #expect(sum == summary[name].integer, "\(name) of \(list)")
        }
      }
      #expect(usage["endpoints"].array.compactMap { $0["endpoint"].string } == ["/a", "/c", "/b"])
      #expect(usage["endpoints"][0]["averageLatencyMs"].double == 15)
      #expect(usage["keys"].array.compactMap { $0["keyId"].string } == [second.id, first.id])
      for entry in usage["keys"].array {
        #expect(entry.names == ["keyId", "successes", "errors", "denied", "averageLatencyMs"])
      }
    }
  }

  @Test("a report has no usage of other tenants, and other tenants cannot read it")
  func otherTenant() async throws {
    try await withPortal { portal in
      let (ada, eve) = (try await portal.signUp(), try await portal.signUp("eve@example.com"))
      let token = try await portal.makeToken()
      let (id, key) = try await ada.createKey()
      let evesID = try await eve.createKey().id
      _ = try await portal.verify(key, token: token)
      _ = try await portal.report([event(id), event(id), event(evesID)], token: token)
      #expect(try await ada.usage()["summary"]["totalRequests"].integer == 3)
      let eves = try await eve.usage()
      #expect(eves["summary"]["totalRequests"].integer == 1)
      #expect(eves["keys"].array.compactMap { $0["keyId"].string } == [evesID])
      expectProblem(try await eve.get("/v1/keys/\(id)/usage"), 404, "not_found")
    }
  }

  @Test("at most a hundred keys are listed, and the sums cover all")
  func manyKeys() async throws {
    try await withPortal { portal in
      let customer = try await portal.signUp()
      try await portal.script(
        """
        insert into key_usage (account_id, key_id, day, endpoint, denied_count)
        select '\(customer.accountID)', gen_random_uuid(), (now() at time zone 'utc')::date, '/', number
        from generate_series(1, 120) number
        """)
      let usage = try await customer.get("/v1/usage?days=2").body
      #expect(usage["keys"].array.compactMap { $0["denied"].integer } == (21...120).reversed())
      #expect(usage["summary"]["denied"].integer == 7_260)
    }
  }

  @Test("the last forty-eight hours are listed, oldest first, including those without use and no other account's usage")
  func hours() async throws {
    try await withPortal { portal in
      let customer = try await portal.signUp()
      let key = UUID()
      // Counts requests of each outcome some hours ago, as the flush does.
      func count(_ account: UUID, _ ago: Int, _ verified: Int, _ denied: Int, _ errors: Int) async throws {
        let hour = "date_trunc('hour', now()) - interval '\(ago) hours'"
        try await portal.script(
          """
          select count_usage(array['\(account)']::uuid[], array['\(key)']::uuid[], array[\(hour)], array['/'],
            array[\(verified)]::bigint[], array[\(denied)]::bigint[], array[now()], array[\(errors)]::bigint[],
            array[\(errors)]::bigint[], array[0]::double precision[], array[0]::bigint[], array[''])
          """)
      }
      let before = Date()
      try await count(customer.accountID, 0, 10, 2, 3)
      try await count(customer.accountID, 0, 1, 0, 0)
      try await count(customer.accountID, 5, 7, 0, 0)
      try await count(customer.accountID, 47, 1, 1, 0)
      try await count(customer.accountID, 48, 1_000, 0, 0)
      try await count(UUID(), 5, 1_000, 0, 0)
      let hourly = try await customer.get("/v1/usage").body["hourly"].array
      let hour = Int(before.timeIntervalSince1970) / 3_600
      // The next hour may have begun meanwhile.
      guard Int(Date().timeIntervalSince1970) / 3_600 == hour else { return }
      #expect(
        hourly.map { $0["hour"].string }
          == (0..<48).map { Timestamp.text(of: Date(timeIntervalSince1970: Double(hour - 47 + $0) * 3_600)) })
      for entry in hourly { #expect(entry.names == ["hour", "successes", "errors", "denied"]) }
      var counts = Array(repeating: [0, 0, 0], count: 48)
      (counts[47], counts[42], counts[0]) = ([8, 3, 2], [7, 0, 0], [1, 0, 1])
      for (entry, count) in zip(hourly, counts) {
        #expect([entry["successes"], entry["errors"], entry["denied"]].map(\.integer) == count)
      }
    }
  }
}
