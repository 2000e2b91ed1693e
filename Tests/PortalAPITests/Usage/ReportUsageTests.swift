import Foundation
import JSON
import Portal
import PortalAPI
import PortalHTTP
import PortalTesting
import Testing

@Suite("POST /v1/usage")
struct ReportUsageTests {
  private static let nobody = "018f4e6a-0000-7000-8000-000000000000"

  @Test("outcomes are counted by status: below 400 as a success, otherwise as an error")
  func outcomes() async throws {
    try await withPortal { portal in
      let customer = try await portal.signUp()
      let token = try await portal.makeToken()
      let id = try await customer.createKey().id
      let answer = try await portal.report(
        [100, 200, 399, 400, 599].map { event(id, status: $0, latency: "50") }, token: token)
      #expect(answer.status == 202)
      #expect(answer.header("Content-Type") == "application/json")
      #expect(
        answer.body
          == .object([("accepted", .number("5")), ("duplicates", .number("0")), ("rejected", .array([]))]))
      let summary = try await customer.usage(of: id)["summary"]
      #expect(summary["successes"].integer == 3)
      #expect(summary["errors"].integer == 2)
      #expect(summary["denied"].integer == 0)
      #expect(summary["averageLatencyMs"].double == 50)
      let key = try await customer.get("/v1/keys/" + id).body
      #expect(key["totalRequests"].integer == 5)
      #expect(key["lastUsedAt"].isTime)
    }
  }

  @Test("events of unknown keys, too old or in the future are rejected with their index, and the others are counted")
  func rejected() async throws {
    try await withPortal { portal in
      let customer = try await portal.signUp()
      let token = try await portal.makeToken()
      let id = try await customer.createKey().id
      let at = { (hours: Double) in Timestamp.text(of: Date(timeIntervalSinceNow: hours * 3_600)) }
      for batch in [nil, "a batch"] {
        let answer = try await portal.report(
          [
            event(id, at: at(-49)), event(id, at: at(-47)), event(Self.nobody), event(id, at: at(0.002)),
            event(id, at: at(0.2)), event(id.uppercased()), event(id, at: "1970-01-01T00:00:00Z"),
            event(id, at: "9999-12-31T23:59:59Z"),
          ], batch: batch, token: token)
        #expect(answer.status == 202)
        #expect(answer.body["accepted"].integer == 3)
        #expect(
          answer.body["rejected"].array.map { [$0["index"].integer.map(String.init), $0["code"].string] } == [
            ["0", "out_of_range"], ["2", "not_found"], ["4", "out_of_range"], ["6", "out_of_range"],
            ["7", "out_of_range"],
          ])
      }
      let usage = try await customer.usage(of: id)
      #expect(usage["summary"]["successes"].integer == 6)
      // 47 hours ago was yesterday, or the day before.
      #expect(usage["daily"].array.suffix(3).dropLast().contains { $0["successes"].integer == 2 })
    }
  }

  @Test("a batch counts once, even if sent again or concurrently; batch ids of another token are separate")
  func batches() async throws {
    try await withPortal { portal in
      let customer = try await portal.signUp()
      let (token, other) = (try await portal.makeToken(), try await portal.makeToken())
      let id = try await customer.createKey().id
      let events = [event(id), event(id, status: 500), event(Self.nobody)]
      let answers = try await withThrowingTaskGroup { group in
        for _ in 0..<20 { group.addTask { try await portal.report(events, batch: "b-1", token: token).body } }
        return try await group.reduce(into: [JSONValue]()) { $0.append($1) }
      }
      #expect(answers.count { $0["accepted"].integer == 2 && $0["duplicates"].integer == 0 } == 1)
      #expect(answers.count { $0["accepted"].integer == 0 && $0["duplicates"].integer == 2 } == 19)
      for answer in answers { #expect(answer["rejected"].array.count == 1) }
      #expect(try await portal.report(events, batch: "b-2", token: token).body["accepted"].integer == 2)
      #expect(try await portal.report(events, batch: "b-1", token: other).body["accepted"].integer == 2)
      let summary = try await customer.usage(of: id)["summary"]
      #expect(summary["successes"].integer == 3)
      #expect(summary["errors"].integer == 3)
    }
  }

  @Test("a malformed request is refused with its location, and nothing in it is counted")
  func refused() async throws {
    try await withPortal { portal in
      let customer = try await portal.signUp()
      let token = try await portal.makeToken()
      let id = try await customer.createKey().id
      let rows = try await portal.rowCount()
      let good = event(id)
      for (body, location) in [
        ("{}", "body.events"), ("{\"events\":null}", "body.events"), ("{\"events\":\(good)}", "body.events"),
        ("[\(good)]", "body"), ("{\"events\":[\(good)],\"batchID\":\"b\"}", "body.batchID"),
        ("{\"events\":[\(good)],\"batchId\":\"\"}", "body.batchId"),
        ("{\"events\":[\(good)],\"batchId\":7}", "body.batchId"),
        ("{\"events\":[\(good)],\"batchId\":\"\(String(repeating: "b", count: 256))\"}", "body.batchId"),
        ("{\"events\":[\(good)],\"batchId\":\"\\u0000\"}", "body"), ("{\"events\":[\(good),]}", "body"),
      ] {
        expectProblem(
          try await portal.post("/v1/usage", body, token: token), 400, "invalid_request", at: location, "\(body)")
      }
      #expect(try await customer.usage(of: id)["summary"]["totalRequests"].integer == 0)
      #expect(try await portal.rowCount() == rows)
      #expect(try await portal.report([good], batch: "b", token: token).body["accepted"].integer == 1)
    }
  }

  @Test("an invalid event is rejected with its index and its problem, and the others are counted")
  func wrongEvents() async throws {
    try await withPortal { portal in
      let customer = try await portal.signUp()
      let token = try await portal.makeToken()
      let id = try await customer.createKey().id
      let rest = "\"keyId\":\"\(id)\",\"endpoint\":\"/\",\"status\":200,\"latencyMs\":1"
      func status(_ json: String) -> String { "{\"keyId\":\"\(id)\",\"endpoint\":\"/\",\"status\":\(json)}" }
      let long = String(repeating: "a", count: 201)
      let wrong: [(event: String, name: String)] = [
        ("{\"endpoint\":\"/\",\"status\":200}", ".keyId"), (event("1"), ".keyId"),
        ("{\"keyId\":1,\"endpoint\":\"/\",\"status\":200}", ".keyId"),
        ("{\"keyId\":\"\(id)\",\"status\":200}", ".endpoint"), (event(id, endpoint: ""), ".endpoint"),
        (event(id, endpoint: long), ".endpoint"), ("{\"keyId\":\"\(id)\",\"endpoint\":\"/\"}", ".status"),
        (event(id, status: 1), ".status"), (event(id, status: 99), ".status"), (event(id, status: 600), ".status"),
        (event(id, status: 999), ".status"), (event(id, status: -200), ".status"), (status("null"), ".status"),
        (status("200.5"), ".status"), (status("true"), ".status"), (status(#""""#), ".status"),
        (status(#""999""#), ".status"), (status(#""0200""#), ".status"), (status(#""+20""#), ".status"),
        (status(#"" 20""#), ".status"), (status(#""OK""#), ".status"), (event(id, latency: "-1"), ".latencyMs"),
        (event(id, latency: "\"1\""), ".latencyMs"), (event(id, latency: "1e999"), ".latencyMs"),
        (event(id, latency: "86400001"), ".latencyMs"), (event(id, at: "yesterday"), ".at"),
        (event(id, at: "2026-02-30T00:00:00Z"), ".at"), ("{\(rest),\"at\":1700000000}", ".at"),
        ("{\(rest),\"path\":\"/\"}", ".path"), ("1", ""), ("[]", ""), ("null", ""),
      ]
      for (number, (item, name)) in wrong.enumerated() {
        let answer = try await portal.report([event(id), item, event(id)], batch: "b\(number)", token: token)
        #expect(answer.status == 202)
        #expect(answer.body["accepted"].integer == 2)
        let rejected = answer.body["rejected"]
        #expect(rejected.array.count == 1 && rejected[0].names == ["index", "code", "message"])
        #expect(rejected[0]["index"].integer == 1 && rejected[0]["code"].string == "invalid_request")
        #expect(rejected[0]["message"].string?.hasPrefix("body.events[1]\(name) ") == true, "\(item)")
      }
      #expect(try await customer.usage(of: id)["summary"]["totalRequests"].integer == 2 * wrong.count)
    }
  }

  @Test("the status of a client that went away, 0 in Envoy and 000 in nginx, is counted as an error")
  func clientWentAway() async throws {
    try await withPortal { portal in
      let customer = try await portal.signUp()
      let token = try await portal.makeToken()
      let id = try await customer.createKey().id
      let events = ["0", #""000""#, #""0""#, "0.0", #""499""#, #""200""#, "200"].map {
        "{\"keyId\":\"\(id)\",\"endpoint\":\"/\",\"status\":\($0),\"latencyMs\":7}"
      }
      let answer = try await portal.report(events, token: token)
      #expect(answer.body["accepted"].integer == 7 && answer.body["rejected"] == .array([]))
      let summary = try await customer.usage(of: id)["summary"]
      #expect(summary["errors"].integer == 5 && summary["successes"].integer == 2)
      #expect(summary["averageLatencyMs"].double == 7)
    }
  }

  @Test("rejected events are listed in the order of the events, whatever the reason")
  func mixed() async throws {
    try await withPortal { portal in
      let customer = try await portal.signUp()
      let token = try await portal.makeToken()
      let id = try await customer.createKey().id
      let answer = try await portal.report(
        [
          event(Self.nobody), event(id), "1", event(id, at: "1970-01-01T00:00:00Z"), event(id, status: 600), event(id),
          event(Self.nobody),
        ], batch: "b", token: token)
      #expect(answer.body["accepted"].integer == 2)
      let rejected = answer.body["rejected"].array
      #expect(rejected.compactMap { $0["index"].integer } == [0, 2, 3, 4, 6])
      #expect(
        rejected.map { $0["code"].string }
          == ["not_found", "invalid_request", "out_of_range", "invalid_request", "not_found"])
      for entry in rejected {
        let index = try #require(entry["index"].integer)
        #expect(entry["message"].string?.hasPrefix("body.events[\(index)]") == true)
      }
      // In a repeat, the same events are rejected, and counted ones are not counted again.
      let again = try await portal.report([event(id), "1"], batch: "b", token: token)
      #expect(again.body["accepted"].integer == 0 && again.body["duplicates"].integer == 1)
      #expect(again.body["rejected"][0]["index"].integer == 1)
    }
  }

  @Test("a batch without a valid event can be sent again under the same batch id once it is corrected")
  func mended() async throws {
    try await withPortal { portal in
      let customer = try await portal.signUp()
      let token = try await portal.makeToken()
      let id = try await customer.createKey().id
      let broken = try await portal.report([event(id, status: 600), "1"], batch: "b", token: token)
      #expect(broken.status == 202 && broken.body["accepted"].integer == 0)
      #expect(broken.body["rejected"].array.count == 2)
      let mended = try await portal.report([event(id), event(id)], batch: "b", token: token)
      #expect(mended.body["accepted"].integer == 2 && mended.body["duplicates"].integer == 0)
    }
  }

  @Test("a batch has at most ten thousand events, and the message of each rejected event is short")
  func limits() async throws {
    try await withPortal { portal in
      let customer = try await portal.signUp()
      let token = try await portal.makeToken()
      let id = try await customer.createKey().id
      #expect(try await portal.report([], token: token).body["accepted"].integer == 0)
      let events = Array(repeating: event(id, latency: "1"), count: 10_000)
      let answer = try await portal.report(events, batch: String(repeating: "é", count: 255), token: token)
      #expect(answer.body["accepted"].integer == 10_000)
      expectProblem(
        try await portal.report(events + [event(id)], token: token), 400, "invalid_request", at: "body.events")
      let unknown = "{\"\(String(repeating: "x", count: 200))\":1,\(event(id).dropFirst())"
      for wrong in [event(id, status: 600), "1", unknown] {
        let rejected = try await portal.report(Array(repeating: wrong, count: 10_000), token: token).body["rejected"]
        #expect(rejected.array.count == 10_000, "\(wrong)")
        #expect(rejected.array.allSatisfy { $0["message"].string?.unicodeScalars.count ?? .max <= 200 }, "\(wrong)")
      }
      #expect(try await customer.usage(of: id)["summary"]["totalRequests"].integer == 10_000)
    }
  }

  @Test("the largest allowed values are accepted, and an outcome without latency is not part of the means")
  func largest() async throws {
    try await withPortal { portal in
      let customer = try await portal.signUp()
      let token = try await portal.makeToken()
      let id = try await customer.createKey().id
      let endpoint = String(repeating: "😀", count: 200)
      let answer = try await portal.report(
        [
          event(id, endpoint: endpoint, latency: "86400000"), event(id, endpoint: endpoint, latency: "null"),
          event(id, endpoint: "/'; drop table key_usage; --", latency: "0"),
        ], token: token)
      #expect(answer.body["accepted"].integer == 3)
      let usage = try await customer.usage(of: id)
      #expect(usage["endpoints"][0]["endpoint"].string == endpoint)
      #expect(usage["endpoints"][0]["successes"].integer == 2)
      #expect(usage["endpoints"][0]["averageLatencyMs"].double == 86_400_000)
      #expect(usage["endpoints"][1]["averageLatencyMs"].double == 0)
    }
  }

  @Test("requires a service token with the permission usage.write")
  func tokens() async throws {
    try await withPortal { portal in
      let customer = try await portal.signUp()
      let id = try await customer.createKey().id
      for token in [nil, "x", customer.token, Secret.random(prefix: "lk_svc").reveal()] {
        expectProblem(try await portal.report([event(id)], token: token), 401, "unauthenticated")
      }
      let others = ServiceToken.Permission.allCases.filter { $0 != .writeUsage }
      let refused = try await portal.report([event(id)], token: try await portal.makeToken(others))
      expectProblem(refused, 403, "forbidden")
      #expect(refused.body["detail"].string?.contains("usage.write") == true)
      #expect(try await portal.report([event(id)], token: try await portal.makeToken([.writeUsage])).status == 202)
      #expect(try await customer.usage(of: id)["summary"]["totalRequests"].integer == 1)
    }
  }
}
