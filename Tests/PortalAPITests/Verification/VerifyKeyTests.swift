import Foundation
import JSON
import Portal
import PortalAPI
import PortalHTTP
import PortalTesting
import PostgresTesting
import Testing

@Suite("POST /v1/verify")
struct VerifyKeyTests {
  private static let rateLimitHeaders = [
    "RateLimit-Policy", "RateLimit", "X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset",
  ]

  @Test("a valid key is VALID, with its settings and the remainder of its limit")
  func valid() async throws {
    try await withPortal { portal in
      let customer = try await portal.signUp()
      let token = try await portal.makeToken()
      let (id, key) = try await customer.createKey(
        #","environment":"test","expiresAt":"2099-01-01T00:00:00Z","rateLimitPerMinute":120"#)
      let answer = try await portal.verify(key, token: token, ",\"scope\":\"orders:read\"")
      #expect(answer.status == 200)
      #expect(answer.header("Content-Type") == "application/json")
      #expect(answer.header("Cache-Control") == "no-store")
      #expect(answer.body.names == Contract.verdict)
      #expect(answer.body["valid"] == .bool(true))
      #expect(answer.body["code"].string == "VALID")
      #expect(answer.body["keyId"].string == id)
      #expect(answer.body["accountId"].string == customer.accountID.text)
      #expect(answer.body["name"].string == "Key")
      #expect(answer.body["environment"].string == "test")
      #expect(answer.body["scopes"] == .array([.string("orders:read")]))
      #expect(answer.body["expiresAt"].string == "2099-01-01T00:00:00.000Z")
      #expect(answer.body["rateLimit"].names == ["limit", "remaining", "resetSeconds"])
      #expect(answer.body["rateLimit"]["limit"].integer == 120)
      #expect(answer.body["rateLimit"]["remaining"].integer == 119)
      let reset = try #require(answer.body["rateLimit"]["resetSeconds"].integer)
      #expect((1...60).contains(reset))
      #expect(answer.header("RateLimit-Policy") == "\"default\";q=120;w=60")
      #expect(answer.header("RateLimit") == "\"default\";r=119;t=\(reset)")
      #expect(answer.header("X-RateLimit-Limit") == "120")
      #expect(answer.header("X-RateLimit-Remaining") == "119")
      #expect(answer.header("X-RateLimit-Reset") == "\(reset)")
      #expect(answer.header("Retry-After") == nil)
    }
  }

  @Test(
    "an unknown key, and text that cannot be a key, is NOT_FOUND without further details",
    arguments: [false, true])
  func notFound(isLive: Bool) async throws {
    try await withPortal(isLive ? .live : .router) { portal in
      let token = try await portal.makeToken()
      let unknown = Secret.random(prefix: "lk_live").reveal()
      let keys: [String] = [
        unknown, String(unknown.dropLast()), "\(unknown)x", "lk_live_", "x", " ", "🔑", "' or true --", token,
        String(repeating: "k", count: 512), "", String(repeating: "k", count: 513),
        String(repeating: "k", count: 60_000),
        String(repeating: "é", count: 129), String(repeating: "\u{301}", count: 300), "\\n", "\\u007f",
      ]
      for key in keys {
        let answer = try await portal.verify(key, token: token)
        #expect(answer.status == 200)
        #expect(
          answer.body == .object([("valid", .bool(false)), ("code", .string("NOT_FOUND"))]), "\(key.prefix(300))")
        for name in Self.rateLimitHeaders + ["Retry-After"] { #expect(answer.header(name) == nil) }
      }
    }
  }

  @Test("a key that is not valid is refused with 200, the reason and all of its details")
  func refusals() async throws {
    try await withPortal { portal in
      let token = try await portal.makeToken()
      let key = "api_keys set rate_limit_per_minute = 60"
      for (code, change, question) in [
        ("REVOKED", "\(key), revoked_at = now()", ""),
        ("SUSPENDED", "accounts set suspended_at = now()", ""),
        ("DISABLED", "\(key), disabled_at = now()", ""),
        ("EXPIRED", "\(key), expires_at = now()", ""),
        ("FORBIDDEN_ADDRESS", "\(key), allowed_ips = '{192.0.2.0/24}'", ""),
        ("FORBIDDEN_ADDRESS", "\(key), allowed_ips = '{192.0.2.0/24}'", #","clientIP":"192.0.3.1""#),
        ("INSUFFICIENT_SCOPE", "\(key), scopes = '{orders:write}'", #","scope":"orders:read""#),
        ("RATE_LIMITED", "\(key)", #","cost":60"#),
      ] {
        let customer = try await portal.signUp("\(UUID())@example.com")
        let (id, key) = try await customer.createKey()
        // The key is not in the cache yet, so the change applies.
        let column = change.hasPrefix("accounts") ? "id" : "account_id"
        try await portal.script("update \(change) where \(column) = '\(customer.accountID)'")
        let isLimited = code == "RATE_LIMITED"
        if isLimited { _ = try await portal.verify(key, token: token) }
        let answer = try await portal.verify(key, token: token, question)
        #expect(answer.status == 200)
        #expect(answer.body.names == Contract.verdict + (isLimited ? ["retryAfterSeconds"] : []), "\(code)")
        #expect(answer.body["valid"] == .bool(false))
        #expect(answer.body["code"].string == code)
        #expect(answer.body["keyId"].string == id)
        #expect(answer.body["rateLimit"]["remaining"].integer == (isLimited ? 59 : 60), "\(code)")
        for name in Self.rateLimitHeaders { #expect(answer.header(name) != nil, "\(code)") }
        #expect((answer.header("Retry-After") != nil) == isLimited, "\(code)")
        #expect(answer.header("Retry-After") == answer.body["retryAfterSeconds"].integer.map { "\($0)" }, "\(code)")
        #expect(answer.header("X-Latchkey-Retry") == nil)
      }
    }
  }

  @Test("the first of several reasons counts, and the next one appears when it is undone")
  func precedence() async throws {
    try await withPortal { portal in
      let customer = try await portal.signUp()
      let token = try await portal.makeToken()
      let (_, key) = try await customer.createKey()
      try await portal.script(
        """
        update accounts set suspended_at = now();
        update api_keys set revoked_at = now(), disabled_at = now(), expires_at = now(), allowed_ips = '{10.0.0.0/8}',
          scopes = '{a}', rate_limit_per_minute = 1
        """)
      var before = "REVOKED"
      for (undo, after) in [
        ("api_keys set revoked_at = null", "SUSPENDED"), ("accounts set suspended_at = null", "DISABLED"),
        ("api_keys set disabled_at = null", "EXPIRED"), ("api_keys set expires_at = null", "FORBIDDEN_ADDRESS"),
        ("api_keys set allowed_ips = null", "INSUFFICIENT_SCOPE"),
        ("api_keys set scopes = '{orders:*}'", "RATE_LIMITED"),
        ("api_keys set rate_limit_per_minute = 60", "VALID"),
      ] {
        let question = #","scope":"orders:read","clientIP":"192.0.2.1","cost":2"#
        #expect(try await portal.verify(key, token: token, question).body["code"].string == before)
        try await portal.script("update " + undo)
        try await eventually("\(before) gives way to \(after)") {
          let code = try await portal.verify(key, token: token, question).body["code"].string
          #expect(code == before || code == after)
          return code == after
        }
        before = after
      }
    }
  }

  @Test("the remainder decreases by the cost, and a refusal takes nothing")
  func remaining() async throws {
    try await withPortal { portal in
      let customer = try await portal.signUp()
      let token = try await portal.makeToken()
      let (_, key) = try await customer.createKey(",\"rateLimitPerMinute\":5")
      for (question, code, remaining) in [
        ("", "VALID", 4), (",\"cost\":2", "VALID", 2), (",\"cost\":3", "RATE_LIMITED", 2),
        (#","scope":"users:read""#, "INSUFFICIENT_SCOPE", 2), (",\"cost\":5", "RATE_LIMITED", 2),
        (",\"cost\":2.0", "VALID", 0), ("", "RATE_LIMITED", 0),
      ] {
        let answer = try await portal.verify(key, token: token, question)
        #expect(answer.status == 200)
        #expect(answer.body["code"].string == code, "\(question)")
        #expect(answer.body["rateLimit"]["remaining"].integer == remaining, "\(question)")
        #expect(answer.header("X-RateLimit-Remaining") == "\(remaining)")
        let retryAfter = answer.header("Retry-After").flatMap { Int($0) }
        #expect(code == "RATE_LIMITED" ? (1...120).contains(retryAfter ?? 0) : retryAfter == nil)
      }
    }
  }

  @Test(
    "a cost above any limit is refused with the hint that waiting does not help, on every route",
    arguments: [false, true], [RateLimitMode.fast, .consistent])
  func costAboveLimit(isLive: Bool, mode: RateLimitMode) async throws {
    try await withPortal(isLive ? .live : .router) { portal in
      let customer = try await portal.signUp()
      let token = try await portal.makeToken()
      let more = ",\"rateLimitMode\":\"\(mode.rawValue)\""
      let own = try await customer.createKey(",\"rateLimitPerMinute\":5" + more)
      let named = try await customer.createKey(
        #","limits":[{"name":"hourly","limit":7,"windowSeconds":3600}]"# + more)
      // Twice: the second time, the key is in the cache.
      for (key, limit) in [(own.key, 5), (named.key, 7), (own.key, 5), (named.key, 7)] {
        for cost in [limit + 1, 60] {
          let answer = try await portal.verify(key, token: token, ",\"cost\":\(cost)")
          #expect(answer.body["code"].string == "RATE_LIMITED")
          #expect(answer.body.names == Contract.verdict + ["retryAfterSeconds"])
          #expect(answer.body["retryAfterSeconds"] == .null)
          #expect(answer.body["rateLimit"]["remaining"].integer == limit)
          #expect(answer.header("Retry-After") == nil)
          #expect(answer.header("X-Latchkey-Retry") == "never")
          #expect(answer.header("X-RateLimit-Limit") == "\(limit)")
        }
        let batch = try await portal.post(
          "/v1/verify/batch", "{\"requests\":[{\"key\":\"\(key)\",\"cost\":\(limit + 1)}]}", token: token)
        #expect(batch.body["results"][0]["retryAfterSeconds"] == .null)
        #expect(batch.body["results"][0].names.last == "retryAfterSeconds")
      }
      // A cost of the whole limit is accepted once; after that, waiting helps.
      #expect(try await portal.verify(own.key, token: token, ",\"cost\":5").body["code"].string == "VALID")
      let limited = try await portal.verify(own.key, token: token, ",\"cost\":5")
      #expect((1...120).contains(limited.body["retryAfterSeconds"].integer ?? 0))
      #expect(limited.header("X-Latchkey-Retry") == nil)
      let unlimited = try await portal.verify(own.key, token: token, ",\"cost\":6")
      #expect(unlimited.body["retryAfterSeconds"] == .null && unlimited.header("Retry-After") == nil)
    }
  }

  @Test("of a hundred concurrent requests, no more pass than the limit allows")
  func concurrent() async throws {
    try await withPortal { portal in
      let customer = try await portal.signUp()
      let token = try await portal.makeToken()
      let (_, key) = try await customer.createKey(",\"rateLimitPerMinute\":5")
      let codes = try await withThrowingTaskGroup { group in
        for _ in 0..<100 { group.addTask { try await portal.verify(key, token: token).body["code"].string } }
        return try await group.reduce(into: [String?]()) { $0.append($1) }
      }
      #expect(codes.count { $0 == "VALID" } == 5)
      #expect(codes.count { $0 == "RATE_LIMITED" } == 95)
    }
  }

  @Test("every required scope must be covered: by itself, by a:* or by *")
  func scopes() async throws {
    try await withPortal { portal in
      let customer = try await portal.signUp()
      let token = try await portal.makeToken()
      let (_, key) = try await customer.createKey()
      try await portal.script("update api_keys set scopes = '{orders:*,users:read}'")
      for (question, code) in [
        (#""scope":"orders:read""#, "VALID"), (#""scope":"orders:a:b""#, "VALID"), (#""scope":"users:read""#, "VALID"),
        (#""scope":"users:write""#, "INSUFFICIENT_SCOPE"), (#""scope":"orders""#, "INSUFFICIENT_SCOPE"),
        (#""scope":"orderss:read""#, "INSUFFICIENT_SCOPE"), (#""scopes":["orders:read","users:read"]"#, "VALID"),
        (#""scopes":["orders:read","users:write"]"#, "INSUFFICIENT_SCOPE"), (#""scopes":[],"scope":null"#, "VALID"),
        (#""scopes":["orders:read"],"scope":"users:write""#, "INSUFFICIENT_SCOPE"), (#""scopes":null"#, "VALID"),
      ] {
        #expect(try await portal.verify(key, token: token, "," + question).body["code"].string == code, "\(question)")
      }
      try await portal.script("update api_keys set scopes = '{*}'")
      try await eventually("the key may do everything") {
        try await portal.verify(key, token: token, #","scope":"users:write""#).body["code"].string == "VALID"
      }
    }
  }

  @Test("an address must be in one of the key's blocks, in any notation")
  func addresses() async throws {
    try await withPortal { portal in
      let customer = try await portal.signUp()
      let token = try await portal.makeToken()
      let (_, key) = try await customer.createKey(#","allowedIPs":["192.0.2.0/24","2001:db8::/32","::1"]"#)
      for (address, code) in [
        ("192.0.2.0", "VALID"), ("192.0.2.255", "VALID"), ("::ffff:192.0.2.1", "VALID"), ("2001:DB8:0::1", "VALID"),
        ("0:0:0:0:0:0:0:1", "VALID"), ("192.0.3.0", "FORBIDDEN_ADDRESS"), ("::2", "FORBIDDEN_ADDRESS"),
        ("2001:db9::", "FORBIDDEN_ADDRESS"), ("::192.0.2.1", "FORBIDDEN_ADDRESS"),
      ] {
        let answer = try await portal.verify(key, token: token, ",\"clientIP\":\"\(address)\"")
        #expect(answer.body["code"].string == code, "\(address)")
      }
    }
  }
}
