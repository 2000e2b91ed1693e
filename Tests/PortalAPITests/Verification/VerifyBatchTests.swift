import JSON
import Portal
import PortalAPI
import PortalApplication
import PortalHTTP
import PortalTesting
import Postgres
import PostgresTesting
import Testing

@Suite("POST /v1/verify/batch")
struct VerifyBatchTests {
  private func batch(_ portal: TestPortal, _ requests: [String], token: String) async throws -> TestAnswer {
    try await portal.post(
      "/v1/verify/batch", "{\"requests\":[\(requests.joined(separator: ","))]}", token: token)
  }

  @Test("each request has its result, in order, the same as on its own")
  func order() async throws {
    try await withPortal { portal in
      let customer = try await portal.signUp()
      let token = try await portal.makeToken()
      let (first, second) = (try await customer.createKey(), try await customer.createKey())
      _ = try await customer.delete("/v1/keys/" + second.id)
      let requests = [
        "{\"key\":\"\(first.key)\"}", #"{"key":"nonsense"}"#, "{\"key\":\"\(second.key)\"}",
        "{\"key\":\"\(first.key)\",\"scope\":\"orders:write\"}", "{\"key\":\"\(first.key)\",\"cost\":59}",
        "{\"key\":\"\(first.key)\"}",
      ]
      let answer = try await batch(portal, requests, token: token)
      #expect(answer.status == 200)
      #expect(answer.body.names == ["results"])
      let results = answer.body["results"].array
      #expect(
        results.compactMap { $0["code"].string } == [
          "VALID", "NOT_FOUND", "REVOKED", "INSUFFICIENT_SCOPE", "VALID", "RATE_LIMITED",
        ])
      #expect(results[0].names == Contract.verdict && results[1].names == ["valid", "code"])
      #expect(results[0]["keyId"].string == first.id)
      #expect(results.compactMap { $0["rateLimit"]["remaining"].integer } == [59, 60, 59, 0, 0])
      try await portal.flushUsage()
      let key = try await customer.get("/v1/keys/" + first.id).body
      #expect(key["totalRequests"].integer == 4)
    }
  }

  @Test("a thousand questions about a hundred uncached keys take few statements")
  func gathered() async throws {
    try await withPortal(configure: { $0.lease = .seconds(30) }) { portal in
      let customer = try await portal.signUp()
      let token = try await portal.makeToken()
      try await portal.script("update plans set key_cap = 10000")
      var requests: [String] = []
      for _ in 0..<100 { requests.append("{\"key\":\"\(try await customer.createKey().key)\"}") }
      let all = (0..<10).flatMap { _ in requests }
      _ = try await portal.verify("x", token: token)
      let before = portal.application.gatewayPool.statistics.batchCount
      let answer = try await batch(portal, all, token: token)
      #expect(answer.body["results"].array.count { $0["code"].string == "VALID" } == 1_000)
      // Besides the look-ups, this counts the periodic work of the portal.
      #expect(portal.application.gatewayPool.statistics.batchCount - before < 30)
    }
  }

  @Test(
    "an invalid request has its problems as its result, and the others are answered and counted",
    arguments: [false, true])
  func invalidItems(isLive: Bool) async throws {
    try await withPortal(isLive ? .live : .router) { portal in
      let customer = try await portal.signUp()
      let token = try await portal.makeToken()
      let (id, key) = try await customer.createKey(",\"rateLimitPerMinute\":1000")
      let good = "{\"key\":\"\(key)\"}"
      let wrong: [(item: String, locations: [String])] = [
        ("{}", [".key"]), (#"{"key":null}"#, [".key"]), (#"{"key":1}"#, [".key"]), ("1", [""]), ("null", [""]),
        ("[]", [""]),
        ("{\"key\":\"\(key)\",\"clientIP\":\"unknown\"}", [".clientIP"]),
        ("{\"key\":\"\(key)\",\"clientIP\":\"203.0.113.7:51234\"}", [".clientIP"]),
        (#"{"key":"","clientIP":"unknown"}"#, [".clientIP"]), (#"{"key":"a","cost":0}"#, [".cost"]),
        (#"{"key":"a","x":1}"#, [".x"]), (#"{"key":"a","endpoint":""}"#, [".endpoint"]),
        (#"{"key":"a","scope":"A","cost":-1,"clientIP":""}"#, [".scope", ".clientIP", ".cost"]),
        (#"{"key":"a","scopes":["a","B"]}"#, [".scopes[1]"]),
        ("{\"key\":\"a\"\((0..<100).map { ",\"x\($0)\":1" }.joined())}", []),
      ]
      // Twice: the second time, the key is in the cache.
      for _ in 0..<2 {
        for (item, locations) in wrong {
          let answer = try await batch(portal, [good, item, good], token: token)
          #expect(answer.status == 200)
          let results = answer.body["results"].array
          #expect(results.map { $0["code"].string } == ["VALID", "INVALID_REQUEST", "VALID"], "\(item)")
          #expect(results[1].names == ["valid", "code", "errors"] && results[1]["valid"] == .bool(false))
          let errors = results[1]["errors"].array
          #expect((1...8).contains(errors.count))
          for error in errors { #expect(error.names == ["location", "message"]) }
          if !locations.isEmpty {
            #expect(errors.map { $0["location"].string } == locations.map { "body.requests[1]" + $0 }, "\(item)")
          }
        }
        // A batch of only invalid requests.
        let answer = try await batch(portal, wrong.map(\.item), token: token)
        #expect(answer.body["results"].array.allSatisfy { $0["code"].string == "INVALID_REQUEST" })
      }
      try await portal.flushUsage()
      #expect(try await customer.get("/v1/keys/" + id).body["totalRequests"].integer == 4 * wrong.count)
      let metrics = try await portal.text("/metrics").text
      #expect(metrics.contains("latchkey_verifications_total{code=\"INVALID_REQUEST\"} \(4 * wrong.count)"))
    }
  }

  @Test("text that cannot be a key is NOT_FOUND, and the others are answered", arguments: [false, true])
  func notFound(isLive: Bool) async throws {
    try await withPortal(isLive ? .live : .router) { portal in
      let customer = try await portal.signUp()
      let token = try await portal.makeToken()
      let key = try await customer.createKey().key
      let keys = ["", String(repeating: "k", count: 513), String(repeating: "k", count: 10_000), " ", "ü", "lk_live_x"]
      let items = ([key] + keys + [key]).map { "{\"key\":\"\($0)\"}" }
      for _ in 0..<2 {
        let results = try await batch(portal, items, token: token).body["results"].array
        #expect(
          results.map { $0["code"].string }
            == ["VALID"] + Array(repeating: "NOT_FOUND", count: keys.count) + ["VALID"])
        for result in results.dropFirst().dropLast() { #expect(result.names == ["valid", "code"]) }
      }
    }
  }

  @Test("a malformed batch is refused as a whole, and nothing is counted")
  func refused() async throws {
    try await withPortal { portal in
      let customer = try await portal.signUp()
      let token = try await portal.makeToken()
      let (id, key) = try await customer.createKey()
      let good = "{\"key\":\"\(key)\"}"
      let many = Array(repeating: good, count: 1_001).joined(separator: ",")
      for (body, location) in [
        (#"{"requests":[]}"#, "body.requests"), ("{}", "body.requests"), (#"{"requests":null}"#, "body.requests"),
        ("{\"requests\":\(good)}", "body.requests"), ("{\"requests\":[\(good)],\"more\":1}", "body.more"),
        ("[\(good)]", "body"), ("{\"requests\":[\(good),]}", "body"), ("{\"requests\":[\(good)]", "body"),
        ("{\"requests\":[\(many)]}", "body.requests"),
      ] {
        let answer = try await portal.post("/v1/verify/batch", body, token: token)
        expectProblem(answer, 400, "invalid_request", at: location, "\(body.prefix(100))")
      }
      expectProblem(
        try await batch(portal, [String(repeating: " ", count: 1 << 20)], token: token), 413, "body_too_large")
      try await portal.flushUsage()
      #expect(try await customer.get("/v1/keys/" + id).body["totalRequests"].integer == 0)
      expectProblem(
        try await batch(portal, [good], token: try await portal.makeToken([.writeUsage])), 403, "forbidden")
    }
  }
}
