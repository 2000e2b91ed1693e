import Portal
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

  @Test("each request has its answer, in their order, as it would have alone")
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

  @Test("a thousand questions about a hundred keys that are in no cache cost a few statements")
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
      // Beside the look-ups, what the portal does every second.
      #expect(portal.application.gatewayPool.statistics.batchCount - before < 30)
    }
  }

  @Test("what is wrong in one of them refuses all, at its place, and nothing was counted")
  func refused() async throws {
    try await withPortal { portal in
      let customer = try await portal.signUp()
      let token = try await portal.makeToken()
      let (id, key) = try await customer.createKey()
      let good = "{\"key\":\"\(key)\"}"
      for (requests, location) in [
        ([good, "{}"], "body.requests[1].key"), ([good, good, #"{"key":"a","cost":0}"#], "body.requests[2].cost"),
        ([good, "1"], "body.requests[1]"), ([#"{"key":"a","x":1}"#], "body.requests[0].x"), ([], "body.requests"),
        (Array(repeating: #"{"key":"a"}"#, count: 1_001), "body.requests"),
      ] {
        expectProblem(try await batch(portal, requests, token: token), 400, "invalid_request", at: location)
      }
      expectProblem(
        try await portal.post("/v1/verify/batch", #"{"requests":[],"more":1}"#, token: token), 400, "invalid_request",
        at: "body.more")
      expectProblem(
        try await batch(portal, [String(repeating: " ", count: 1 << 20)], token: token), 413, "body_too_large")
      try await portal.flushUsage()
      #expect(try await customer.get("/v1/keys/" + id).body["totalRequests"].integer == 0)
      expectProblem(
        try await batch(portal, [good], token: try await portal.makeToken([.writeUsage])), 403, "forbidden")
    }
  }
}
