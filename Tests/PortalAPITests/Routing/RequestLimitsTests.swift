import Foundation
import Portal
import PortalAPI
import PortalHTTP
import PortalTesting
import Postgres
import PostgresTesting
import Testing

/// Expects that a limit refused the request, with the same headers as a key's limit.
private func expectLimited(
  _ answer: TestAnswer, _ name: String, _ limit: Int, sourceLocation: SourceLocation = #_sourceLocation
) {
  expectProblem(answer, 429, "rate_limited", sourceLocation: sourceLocation)
  #expect(answer.header("RateLimit-Policy") == "\"\(name)\";q=\(limit);w=60", sourceLocation: sourceLocation)
  #expect(answer.header("RateLimit")?.hasPrefix("\"\(name)\";r=0;t=") == true, sourceLocation: sourceLocation)
  #expect(answer.header("X-RateLimit-Limit") == "\(limit)", sourceLocation: sourceLocation)
  #expect(answer.header("X-RateLimit-Remaining") == "0", sourceLocation: sourceLocation)
  #expect((0...60).contains(Int(answer.header("X-RateLimit-Reset") ?? "") ?? -1), sourceLocation: sourceLocation)
  #expect((1...120).contains(Int(answer.header("Retry-After") ?? "") ?? -1), sourceLocation: sourceLocation)
}

/// Runs `body` with a portal that has these limits and trusts 127.0.0.1 as a proxy.
private func withLimits(
  _ limits: RequestLimits.PerMinute, _ transport: TestTransport = .router, hasFastPath: Bool = true,
  _ body: @escaping @Sendable (TestPortal) async throws -> Void
) async throws {
  let proxies = try #require(TrustedProxies("127.0.0.1"))
  try await withPortal(
    transport,
    configure: {
      $0.requestsPerMinute = limits
      $0.trustedProxies = proxies
      $0.hasFastPath = hasFastPath
    }, body)
}

@Suite("Request limits")
struct RequestLimitsTests {
  @Test("a session has a limit per minute for requests of any kind, and requests beyond it do nothing")
  func session() async throws {
    try await withLimits(RequestLimits.PerMinute(session: 3, address: 0)) { portal in
      let customer = try await portal.signUp()
      let other = try await portal.signUp("other@example.com")
      let staff = try await portal.logInStaff()
      _ = try await customer.createKey()
      expectProblem(try await customer.get("/v1/keys/nothing"), 404, "not_found")
      #expect(try await customer.get("/v1/me").status == 200)
      let rows = try await portal.rowCount()
      expectLimited(
        try await customer.post("/v1/keys", #"{"name":"Key","scopes":["orders:read"]}"#), "session", 3)
      expectLimited(try await customer.get("/v1/keys"), "session", 3)
      #expect(try await portal.request("HEAD", "/v1/keys", token: customer.token).status == 429)
      #expect(try await portal.rowCount() == rows)

      #expect(try await other.get("/v1/keys").status == 200)
      for _ in 0..<3 { #expect(try await portal.get("/v1/support/me", token: staff).status == 200) }
      expectLimited(try await portal.get("/v1/support/me", token: staff), "session", 3)
      expectLimited(try await portal.get("/v1/analytics/growth", token: staff), "session", 3)
      #expect(try await portal.text("/metrics").text.contains(#"latchkey_requests_refused_total{limit="session"} 5"#))
    }
  }

  @Test("requests without a session count by address, IPv6 by its /64, and guesses count like any other")
  func address() async throws {
    try await withLimits(RequestLimits.PerMinute(session: 0, address: 4), .live) { portal in
      let customer = try await portal.signUp()
      func send(
        _ method: String, _ path: String, from address: String, _ headers: [String: String] = [:],
        token: String? = nil
      ) async throws -> TestAnswer {
        try await portal.request(
          method, path, token: token, headers: ["X-Forwarded-For": address].merging(headers) { $1 })
      }
      let cookie = ["Cookie": "latchkey=" + Secret.random(prefix: "lk_session").reveal()]
      // The first four get their ordinary answers.
      expectProblem(try await send("GET", "/v1/keys", from: "2001:db8::1", cookie), 401, "unauthenticated")
      expectProblem(try await send("POST", "/v1/keys", from: "2001:db8::2", cookie), 403, "origin_not_allowed")
      expectProblem(try await send("GET", "/v1/nothing", from: "2001:db8::3"), 404, "not_found")
      expectProblem(
        try await send(
          "GET", "/v1/support/keys", from: "2001:db8::4", token: Secret.random(prefix: "lk_staff").reveal()),
        401, "unauthenticated")
      for (method, path) in [
        ("GET", "/v1/keys"), ("GET", "/v1/nothing"), ("DELETE", "/v1/login"), ("POST", "/v1/login"),
        ("POST", "/v1/verify"), ("GET", "/v1/authorize"), ("GET", "/v1/support/keys"), ("GET", "/v1/analytics/growth"),
        ("POST", "/v1/password/forgot"), ("POST", "/v1/accept-invitation"),
      ] {
        expectLimited(try await send(method, path, from: "2001:db8::5", cookie), "address", 4)
      }
      expectProblem(try await send("GET", "/v1/keys", from: "2001:db8:0:1::1", cookie), 401, "unauthenticated")
      expectProblem(try await send("GET", "/v1/keys", from: "192.0.2.1"), 401, "unauthenticated")
      // Sessions at the same address are not limited, and health is not counted.
      for _ in 0..<6 {
        #expect(try await send("GET", "/v1/keys", from: "2001:db8::1", token: customer.token).status == 200)
        #expect(try await send("GET", "/healthz", from: "2001:db8::1").status == 200)
        #expect(try await send("GET", "/readyz", from: "2001:db8::1").status == 200)
      }
      #expect(try await portal.text("/metrics").status == 200)
    }
  }

  @Test("each service token has a limit for verification and another for everything else")
  func tokens() async throws {
    try await withLimits(RequestLimits.PerMinute(session: 0, address: 0, token: 2, verification: 3)) { portal in
      let customer = try await portal.signUp()
      let (_, key) = try await customer.createKey()
      let token = try await portal.makeToken([.verifyKeys, .writeUsage, .readKeys])
      let other = try await portal.makeToken()
      #expect(try await portal.post("/v1/usage", #"{"events":[]}"#, token: token).status == 202)
      let keys = "/v1/accounts/\(customer.accountID.uuidString)/keys"
      #expect(try await portal.get(keys, token: token).status == 200)
      expectLimited(try await portal.get(keys, token: token), "token", 2)
      expectLimited(try await portal.post("/v1/usage", #"{"events":[]}"#, token: token), "token", 2)

      #expect(try await portal.verify(key, token: token).status == 200)
      let batch = try await portal.post("/v1/verify/batch", "{\"requests\":[{\"key\":\"\(key)\"}]}", token: token)
      #expect(batch.status == 200)
      let headers = ["X-Latchkey-Token": token, "X-API-Key": key]
      #expect(try await portal.get("/v1/authorize", headers: headers).status == 200)
      expectLimited(try await portal.verify(key, token: token), "verification", 3)
      expectLimited(try await portal.get("/v1/authorize", headers: headers), "verification", 3)
      #expect(try await portal.verify(key, token: other).status == 200)
    }
  }

  @Test(
    "requests answered before the decoder count like those that the ordinary route answers", arguments: [true, false])
  func fastPath(hasFastPath: Bool) async throws {
    let limit = 30
    try await withLimits(
      RequestLimits.PerMinute(session: 0, address: 0, verification: limit), .live, hasFastPath: hasFastPath
    ) { portal in
      let customer = try await portal.signUp()
      let (_, key) = try await customer.createKey(#","rateLimitPerMinute":1000"#)
      let token = try await portal.makeToken()
      #expect(try await portal.verify(key, token: token).status == 200)
      let body = "{\"key\":\"\(key)\"}"
      func request(_ more: String = "") -> String {
        "POST /v1/verify HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer \(token)\r\nContent-Type: application/json\r\n"
          + "\(more)Content-Length: \(body.utf8.count)\r\n\r\n\(body)"
      }
      let count = limit + 10
      let sent = String(repeating: request(), count: count - 1) + request("Connection: close\r\n")
      let received = try await answers(portal, sent)
      // One was let through before.
      let expected = Array(repeating: 200, count: limit - 1) + Array(repeating: 429, count: count - limit + 1)
      #expect(received.map(\.status) == expected)
      expectProblem(received.last, 429, "rate_limited")
      #expect(received.last?.headers["x-ratelimit-limit"] == "\(limit)")
      // The framework's ids begin differently from those of the fast path.
      let prefixes = received.map { $0.headers["x-request-id"]?.dropLast(16) }
      #expect(prefixes.contains { $0 != prefixes.last } == hasFastPath)
      #expect(portal.observations.count(.requestRefused(.verification)) == count - limit + 1)
    }
  }

  @Test("an account's reads wait for each other and are refused if too many wait; another account's are answered")
  func accountTurns() async throws {
    try await withPortal { portal in
      let customer = try await portal.signUp()
      let other = try await portal.signUp("other@example.com")
      let waiting = AccountTurns.waitingCountMax
      let statuses = try await portal.pool.withConnection { connection in
        // Reads of keys wait until the commit.
        try await connection.executeScript("begin; lock table api_keys in access exclusive mode")
        return try await withThrowingTaskGroup(of: Int.self) { group in
          for _ in 0..<AccountTurns.servedCountMax + waiting {
            group.addTask { try await customer.get("/v1/keys?q=orders").status }
          }
          try await eventually("all the others wait") { portal.observations.count(.accountWaits) == waiting }
          let refused = try await customer.get("/v1/members")
          expectProblem(refused, 429, "account_busy")
          #expect(refused.header("Retry-After") == "1")
          #expect(try await other.get("/v1/members").status == 200)
          #expect(try await other.get("/v1/audit").status == 200)
          // A change is not a read.
          #expect(try await customer.delete("/v1/me/sessions").status == 200)
          try await connection.executeScript("commit")
          return try await group.reduce(into: []) { $0.append($1) }
        }
      }
      #expect(statuses == Array(repeating: 200, count: AccountTurns.servedCountMax + waiting))
      #expect(portal.observations.count(.requestRefused(.account)) == 1)
    }
  }
}
