import Foundation
import JSON
import Portal
import PortalAPI
import PortalApplication
import PortalHTTP
import PortalTesting
import Testing

@Suite("GET and DELETE /v1/self")
struct SelfTests {
  private static let names = [
    "id", "name", "environment", "apiIds", "status", "createdAt", "expiresAt", "revokedAt", "rolledAt", "rollBy",
    "scopes", "roles", "permissions", "resources", "rateLimit", "limits", "credits", "usage",
  ]

  @Test("a key shows its holder what it is good for and what is left, in both places of a key")
  func view() async throws {
    try await withPortal(.live) { portal in
      try await portal.makeCatalog()
      let customer = try await portal.signUp()
      let key = try await customer.createKey(
        #","rateLimitPerMinute":10,"limits":[{"name":"day","limit":100,"windowSeconds":86400}]"#)
      let company = try await portal.makeToken([.grantKeys])
      _ = try await portal.post("/v1/keys/\(key.id)/roles", #"{"add":["pro"]}"#, token: company)
      let gateway = try await portal.makeToken()
      #expect(try await portal.verify(key.key, token: gateway, #","cost":3"#).body["code"].string == "VALID")
      try await portal.flushUsage()
      for answer in [
        try await portal.get("/v1/self", token: key.key),
        try await portal.get("/v1/self", headers: ["X-API-Key": key.key]),
      ] {
        #expect(answer.status == 200 && answer.body.names == Self.names)
        #expect(answer.body["id"].string == key.id && answer.body["status"].string == "active")
        #expect(answer.body["scopes"].array == [.string("orders:read")])
        #expect(answer.body["roles"].array == [.string("pro")] && answer.body["permissions"].array == [.string("b")])
        #expect(answer.body["rateLimit"]["remaining"].integer == 7)
        #expect(answer.body["limits"].array.map { $0["name"].string } == ["default", "day"])
        #expect(answer.body["limits"][1]["remaining"].integer == 97)
        #expect(answer.body["usage"]["totalRequests"].integer == 1 && answer.body["usage"]["successes"].integer == 1)
        #expect(answer.body["rollBy"] == .null && answer.body["expiresAt"] == .null)
        #expect(!"\(answer)".contains(key.key))
      }
    }
  }

  @Test("a view takes nothing from a limit and counts as no use, however often it is asked for")
  func takesNothing() async throws {
    try await withPortal(.live) { portal in
      let customer = try await portal.signUp()
      let key = try await customer.createKey(#","rateLimitPerMinute":2"#)
      let rows = try await portal.rowCount()
      for _ in 0..<20 { #expect(try await portal.get("/v1/self", token: key.key).status == 200) }
      let last = try await portal.get("/v1/self", token: key.key)
      #expect(last.body["rateLimit"]["remaining"].integer == 2)
      #expect(last.body["usage"]["totalRequests"].integer == 0)
      try await portal.flushUsage()
      let shown = try await customer.get("/v1/keys/" + key.id).body
      #expect(shown["lastUsedAt"] == .null && shown["totalRequests"].integer == 0)
      #expect(try await portal.rowCount() == rows)
    }
  }

  @Test("the status is told for keys that no longer work, too")
  func status() async throws {
    try await withPortal { portal in
      let customer = try await portal.signUp()
      let key = try await customer.createKey()
      func status() async throws -> String? {
        try await portal.get("/v1/self", token: key.key).body["status"].string
      }
      #expect(try await status() == "active")
      _ = try await customer.patch("/v1/keys/" + key.id, #"{"enabled":false}"#)
      #expect(try await status() == "disabled")
      try await portal.script("update accounts set suspended_at = now()")
      #expect(try await status() == "suspended")
      try await portal.script("update api_keys set revoked_at = now()")
      #expect(try await status() == "revoked")
    }
  }

  @Test("a key has to be rolled before it expires, by its own date, its plan's or the policy's, and only once")
  func rollBy() async throws {
    try await withPortal { portal in
      let customer = try await portal.signUp()
      let key = try await customer.createKey()
      try await portal.script("update api_keys set created_at = '2026-01-01T00:00:00Z'")
      func rollBy() async throws -> String? { try await portal.get("/v1/self", token: key.key).body["rollBy"].string }
      #expect(try await rollBy() == nil)
      try await portal.script("update api_keys set expires_at = '2099-01-01T00:00:00Z'")
      #expect(try await rollBy() == "2099-01-01T00:00:00.000Z")
      #expect(try await customer.put("/v1/account/policy", #"{"maxLifetimeDays":3650}"#).status == 200)
      #expect(try await rollBy() == "2035-12-30T00:00:00.000Z")
      try await portal.script("update plans set max_key_lifetime_days = 3640")
      #expect(try await rollBy() == "2035-12-20T00:00:00.000Z")
      try await portal.script("update api_keys set rolled_at = now()")
      let answer = try await portal.get("/v1/self", token: key.key)
      #expect(answer.body["rollBy"] == .null && answer.body["rolledAt"].isTime)
      #expect(answer.body["expiresAt"].string == "2035-12-20T00:00:00.000Z")
    }
  }

  @Test("a key with a list of addresses is shown only there, and can be revoked from anywhere")
  func addresses() async throws {
    let proxies = try #require(TrustedProxies("127.0.0.1"))
    try await withPortal(.live, configure: { $0.trustedProxies = proxies }) { portal in
      let customer = try await portal.signUp()
      let key = try await customer.createKey(#","allowedIPs":["192.0.2.0/24"]"#)
      func get(_ address: String) async throws -> TestAnswer {
        try await portal.get("/v1/self", token: key.key, headers: ["X-Forwarded-For": address])
      }
      #expect(try await get("192.0.2.9").status == 200)
      for address in ["192.0.3.9", "2001:db8::1"] { expectProblem(try await get(address), 403, "forbidden") }
      #expect(try await portal.delete("/v1/self", token: key.key).status == 200)
      #expect(try await customer.get("/v1/keys/" + key.id).body["status"].string == "revoked")
    }
  }

  @Test("without a key, with an unknown or malformed one, and with other credentials, the request is unauthenticated")
  func unknown() async throws {
    try await withPortal { portal in
      let customer = try await portal.signUp()
      let key = try await customer.createKey()
      let rows = try await portal.rowCount()
      for method in ["GET", "DELETE"] {
        expectProblem(try await portal.request(method, "/v1/self"), 401, "unauthenticated")
        for token in [
          Secret.random(prefix: "lk_live").reveal(), key.key + "x", String(key.key.dropLast()), "sk_12345",
          customer.token, "a b", String(repeating: "k", count: 600),
        ] {
          expectProblem(try await portal.request(method, "/v1/self", token: token), 401, "unauthenticated", "\(token)")
        }
        expectProblem(
          try await portal.request(method, "/v1/self?key=\(key.key)", token: key.key), 400, "invalid_request",
          at: "query.key")
      }
      #expect(try await portal.rowCount() == rows)
      #expect(try await portal.request("HEAD", "/v1/self", token: key.key).status == 200)
    }
  }

  @Test("unknown keys are limited by the client's address, and a key by itself")
  func limits() async throws {
    let proxies = try #require(TrustedProxies("127.0.0.1"))
    try await withPortal(
      .live,
      configure: {
        $0.requestsPerMinute = RequestLimits.PerMinute(session: 3, address: 2)
        $0.trustedProxies = proxies
      }
    ) { portal in
      let customer = try await portal.signUp()
      let (one, other) = (try await customer.createKey(), try await customer.createKey())
      func get(_ key: String) async throws -> TestAnswer {
        try await portal.get("/v1/self", token: key, headers: ["X-Forwarded-For": "192.0.2.7"])
      }
      for _ in 0..<2 {
        expectProblem(try await get(Secret.random(prefix: "lk_live").reveal()), 401, "unauthenticated")
      }
      let refused = try await get(Secret.random(prefix: "lk_live").reveal())
      expectProblem(refused, 429, "rate_limited")
      #expect(refused.header("RateLimit-Policy") == #""address";q=2;w=60"#)
      for _ in 0..<3 { #expect(try await get(one.key).status == 200) }
      let beyond = try await get(one.key)
      expectProblem(beyond, 429, "rate_limited")
      #expect(beyond.header("RateLimit-Policy") == #""session";q=3;w=60"#)
      #expect(try await get(other.key).status == 200)
    }
  }

  @Test("a key that its holder revokes is refused everywhere; the trail has the key as the actor")
  func revoke() async throws {
    try await withPortal(.live) { portal in
      let customer = try await portal.signUp()
      let key = try await customer.createKey()
      let gateway = try await portal.makeToken()
      #expect(try await portal.verify(key.key, token: gateway).body["code"].string == "VALID")
      let answer = try await portal.delete("/v1/self", headers: ["X-API-Key": key.key])
      #expect(answer.status == 200 && answer.body.names == ["id", "revokedAt", "propagation"])
      #expect(answer.body["id"].string == key.id)
      expectPropagation(answer.body["propagation"])
      #expect(try await portal.verify(key.key, token: gateway).body["code"].string == "REVOKED")
      let rows = try await portal.rowCount()
      let again = try await portal.delete("/v1/self", token: key.key)
      #expect(again.status == 200 && again.body["revokedAt"] == answer.body["revokedAt"])
      #expect(try await portal.rowCount() == rows)
      let events = try await customer.get("/v1/audit?actor=key").body["events"].array
      #expect(events.count == 1)
      let event = try #require(events.first)
      #expect(event["action"].string == "key.revoked" && event["target"]["id"].string == key.id)
      #expect(event["actor"]["kind"].string == "key" && event["actor"]["id"].string == key.id)
      #expect(event["actor"]["name"].string == "Key")
    }
  }

  @Test("a key of a deleted account is not found")
  func deletedAccount() async throws {
    try await withPortal { portal in
      let customer = try await portal.signUp()
      let key = try await customer.createKey()
      try await portal.script("update accounts set suspended_at = now(), deleted_at = now()")
      expectProblem(try await portal.get("/v1/self", token: key.key), 404, "not_found")
      expectProblem(try await portal.delete("/v1/self", token: key.key), 404, "not_found")
    }
  }
}
