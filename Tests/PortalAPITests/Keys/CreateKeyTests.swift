import Foundation
import PortalAPI
import PortalHTTP
import PortalTesting
import Testing

@Suite("POST /v1/keys")
struct CreateKeyTests {
  @Test("a key is created with the defaults, and its secret is shown once and not cached")
  func defaults() async throws {
    try await withPortal { portal in
      let customer = try await portal.signUp()
      let answer = try await customer.post("/v1/keys", #"{"name":"Billing","scopes":["orders:read","batch:*"]}"#)
      #expect(answer.status == 201)
      expectKey(answer.body, ["key", "warning"])
      let (id, key) = (try #require(answer.body["id"].string), try #require(answer.body["key"].string))
      #expect(answer.header("Location") == "/v1/keys/" + id)
      #expect(answer.header("Cache-Control") == "no-store")
      #expect(answer.header("Content-Type") == "application/json")
      #expect(key.wholeMatch(of: /lk_live_[0-9A-Za-z]{49}/) != nil)
      #expect(answer.body["start"].string == String(key.prefix(12)))
      #expect(answer.body["warning"].string == Contract.warning)
      #expect(answer.body["name"].string == "Billing")
      #expect(answer.body["environment"].string == "live")
      #expect(answer.body["scopes"] == .array([.string("orders:read"), .string("batch:*")]))
      #expect(answer.body["rateLimitPerMinute"].integer == 60)
      for name in ["allowedIPs", "expiresAt", "revokedAt", "lastUsedAt"] { #expect(answer.body[name] == .null) }
      #expect(answer.body["totalRequests"].integer == 0)
      #expect(answer.body["status"].string == "active")

      let read = try await customer.get("/v1/keys/" + id)
      #expect(read.body["key"] == .null)
      #expect(!"\(read.body)".contains(key))
    }
  }

  @Test("every setting is stored, addresses in canonical form, and null is the same as an omitted member")
  func settings() async throws {
    try await withPortal { portal in
      let customer = try await portal.signUp()
      let answer = try await customer.post(
        "/v1/keys",
        """
        {"name":"n","scopes":["a"],"rateLimitPerMinute":10000,"expiresAt":"2099-12-31T23:59:59.123+02:00",
         "allowedIPs":["192.0.2.7","10.1.2.3/8","2001:DB8:0::1","2001:db8::/32","::ffff:192.0.2.9"],
           "environment":"test"}
        """)
      #expect(answer.status == 201)
      #expect(answer.body["rateLimitPerMinute"].integer == 10_000)
      #expect(answer.body["expiresAt"].string == "2099-12-31T21:59:59.123Z")
      #expect(
        answer.body["allowedIPs"].array.compactMap(\.string)
          == ["192.0.2.7", "10.0.0.0/8", "2001:db8::1", "2001:db8::/32", "192.0.2.9"])
      #expect(answer.body["environment"].string == "test")
      #expect(answer.body["key"].string?.hasPrefix("lk_test_") == true)

      let nulls = try await customer.post(
        "/v1/keys",
        #"{"name":"n","scopes":["a"],"rateLimitPerMinute":null,"expiresAt":null,"allowedIPs":null,"environment":null}"#)
      #expect(nulls.status == 201)
      #expect(nulls.body["rateLimitPerMinute"].integer == 60)
    }
  }

  @Test("the largest allowed values are accepted")
  func largest() async throws {
    try await withPortal { portal in
      let customer = try await portal.signUp()
      let scopes = (1...64).map { "\"s\(String(repeating: "x", count: 61))\($0 % 10)\($0 / 10)\"" }
      let addresses = (1...64).map { "\"2001:db8:ffff:ffff:ffff:ffff:255.255.255.\($0)\"" }
      let answer = try await customer.post(
        "/v1/keys",
        """
        {"name":"\(String(repeating: "😀", count: 100))","scopes":[\(scopes.joined(separator: ","))],
         "allowedIPs":[\(addresses.joined(separator: ","))],"expiresAt":"9999-12-31T23:59:59.999Z"}
        """)
      #expect(answer.status == 201)
      #expect(answer.body["scopes"].array.count == 64)
      #expect(answer.body["allowedIPs"].array.count == 64)
      #expect(answer.body["expiresAt"].string == "9999-12-31T23:59:59.999Z")
      #expect(answer.body["name"].string?.count == 100)
    }
  }

  @Test("a name in any script is returned as it was sent, byte for byte")
  func names() async throws {
    try await withPortal { portal in
      let customer = try await portal.signUp()
      for name in [
        "Żółć", "日本語", "👩‍👩‍👧‍👦 🇩🇪", "שלום עולם", "e\u{301}", "ﷺ", "'; drop table api_keys; --", "<b>&amp;", "\\",
        "%s${x}{{y}}", "می\u{200C}خواهم", "a\u{A0}b", "=1+1",
      ] {
        let answer = try await customer.post("/v1/keys", TypedNames.body(name, #","scopes":["a"]"#))
        #expect(answer.status == 201, "\(name)")
        let id = try #require(answer.body["id"].string)
        let read = try await customer.get("/v1/keys/" + id).body["name"].string
        #expect(read.map { Array($0.utf8) } == Array(name.utf8))
      }
    }
  }

  @Test(
    "a name without visible characters, or with invisible ones, is refused with its location, and creates nothing")
  func hiddenNames() async throws {
    try await withPortal { portal in
      let customer = try await portal.signUp()
      for name in TypedNames.bad {
        let answer = try await customer.post("/v1/keys", TypedNames.body(name, #","scopes":["a"]"#))
        expectProblem(answer, 400, "invalid_request", at: "body.name", "\(name.debugDescription)")
      }
      #expect(try await portal.keyCount() == 0)
    }
  }

  @Test("surrounding white space is not part of a name, and does not count toward its length")
  func paddedNames() async throws {
    try await withPortal { portal in
      let customer = try await portal.signUp()
      let longest = String(repeating: "😀", count: 100)
      for (name, kept) in [(" Billing\n", "Billing"), ("\u{3000}a  b\u{A0}", "a  b"), (" \(longest) ", longest)] {
        let answer = try await customer.post("/v1/keys", TypedNames.body(name, #","scopes":["a"]"#))
        #expect(answer.status == 201 && answer.body["name"].string == kept)
        let id = try #require(answer.body["id"].string)
        let again = try await customer.patch("/v1/keys/" + id, TypedNames.body("\t\(name)"))
        #expect(again.body["name"].string == kept && again.header("ETag") == answer.header("ETag"))
      }
    }
  }

  @Test("the 26th key is key_cap_reached; revoked, expired and rolled keys do not count")
  func cap() async throws {
    try await withPortal { portal in
      let customer = try await portal.signUp()
      var ids: [String] = []
      for _ in 0..<25 { ids.append(try await customer.createKey().id) }
      let body = #"{"name":"26","scopes":["a"]}"#
      expectProblem(try await customer.post("/v1/keys", body), 409, "key_cap_reached")

      #expect(try await customer.delete("/v1/keys/" + ids[0]).status == 200)
      #expect(try await customer.post("/v1/keys", body).status == 201)
      expectProblem(try await customer.post("/v1/keys", body), 409, "key_cap_reached")

      try await portal.script("update api_keys set expires_at = now() - interval '1 s' where id = '\(ids[1])'")
      #expect(try await customer.post("/v1/keys", body).status == 201)
      expectProblem(try await customer.post("/v1/keys", body), 409, "key_cap_reached")

      // A roll at the cap works, and the key in its grace period does not count: there are still 25.
      #expect(try await customer.post("/v1/keys/\(ids[2])/roll", #"{"graceSeconds":3600}"#).status == 201)
      expectProblem(try await customer.post("/v1/keys", body), 409, "key_cap_reached")
      #expect(try await portal.signUp("other@example.com").post("/v1/keys", body).status == 201)
    }
  }

  @Test("200 concurrent requests, with 20 of 25 keys in use, create exactly five more")
  func concurrent() async throws {
    try await withPortal { portal in
      let customer = try await portal.signUp()
      for _ in 0..<20 { _ = try await customer.createKey() }
      let answers = try await withThrowingTaskGroup { group in
        for number in 0..<200 {
          group.addTask { try await customer.post("/v1/keys", "{\"name\":\"\(number)\",\"scopes\":[\"a\"]}") }
        }
        return try await group.reduce(into: [TestAnswer]()) { $0.append($1) }
      }
      #expect(answers.count { $0.status == 201 } == 5)
      #expect(answers.count { $0.status == 409 && $0.code == "key_cap_reached" } == 195)
      #expect(try await portal.keyCount() == 25)
    }
  }

  @Test("settings beyond the plan are scope_not_allowed or limit_not_allowed, and create nothing")
  func plan() async throws {
    try await withPortal { portal in
      let customer = try await portal.signUp()
      try await portal.script(
        """
        insert into plans (name, key_cap, scopes, rate_limit_per_minute_max) values ('small', 2, '{orders:*,me}', 100);
        update accounts set plan = 'small'
        """)
      let refused = try await customer.post("/v1/keys", #"{"name":"n","scopes":["orders:read","users:read"]}"#)
      expectProblem(refused, 403, "scope_not_allowed")
      #expect(refused.body["detail"].string?.contains("users:read") == true)
      #expect(refused.body["detail"].string?.contains("orders:read") == false)
      expectProblem(
        try await customer.post("/v1/keys", #"{"name":"n","scopes":["me"],"rateLimitPerMinute":101}"#), 403,
        "limit_not_allowed")
      #expect(try await portal.keyCount() == 0)
      #expect(
        try await customer.post("/v1/keys", #"{"name":"n","scopes":["me","orders:read"],"rateLimitPerMinute":100}"#)
          .status == 201)
    }
  }

  @Test("neither a viewer nor a suspended account can create a key")
  func forbidden() async throws {
    try await withPortal { portal in
      let customer = try await portal.signUp()
      let body = #"{"name":"n","scopes":["a"]}"#
      try await portal.script("update accounts set suspended_at = now()")
      expectProblem(try await customer.post("/v1/keys", body), 403, "forbidden")
      try await portal.script("update accounts set suspended_at = null")
      try await customer.becomeViewer()
      expectProblem(try await customer.post("/v1/keys", body), 403, "forbidden")
      #expect(try await portal.keyCount() == 0)
    }
  }

  @Test("all problems are reported together, each with its location")
  func allProblems() async throws {
    try await withPortal { portal in
      let customer = try await portal.signUp()
      let answer = try await customer.post(
        "/v1/keys",
        """
        {"name":"","scopes":["ok","Not ok",7],"rateLimitPerMinute":0,"expiresAt":"2020-01-01T00:00:00Z",
         "allowedIPs":["1.2.3.4","1.2.3.4/33"],"environment":"staging","owner":"me"}
        """)
      expectProblem(answer, 400, "invalid_request")
      #expect(
        Set(answer.locations) == [
          "body.name", "body.scopes[1]", "body.scopes[2]", "body.rateLimitPerMinute", "body.expiresAt",
          "body.allowedIPs[1]", "body.environment", "body.owner",
        ])
    }
  }
}
