import Foundation
import JSON
import PortalAPI
import PortalHTTP
import PortalTesting
import Testing

@Suite("PATCH /v1/keys/{id}")
struct UpdateKeyTests {
  @Test("named members change, others stay, and the response is the key with the propagation")
  func change() async throws {
    try await withPortal(.live) { portal in
      let customer = try await portal.signUp()
      let id = try await customer.createKey(
        #","rateLimitPerMinute":7,"allowedIPs":["10.0.0.0/8"],"expiresAt":"2099-01-01T00:00:00Z","tags":["a"]"#
      ).id
      let before = try await customer.get("/v1/keys/" + id)
      let answer = try await customer.patch("/v1/keys/" + id, #"{"name":"Other","scopes":["x","y:*"]}"#)
      #expect(answer.status == 200)
      expectKey(answer.body, ["propagation"])
      expectPropagation(answer.body["propagation"])
      #expect(answer.body["name"].string == "Other")
      #expect(answer.body["scopes"] == .array([.string("x"), .string("y:*")]))
      #expect(answer.body["effective"]["scopes"] == answer.body["scopes"])
      for name in Contract.key where !["name", "scopes", "effective"].contains(name) {
        #expect(answer.body[name] == before.body[name], "\(name)")
      }

      let all = try await customer.patch(
        "/v1/keys/" + id,
        """
        {"rateLimitPerMinute":8,"limits":[{"name":"day","limit":9,"windowSeconds":3600}],"rateLimitMode":"consistent",
         "allowedIPs":null,"expiresAt":null,"description":"d","tags":["b","c"],"metadata":{"z":1.0,"a":[]},
           "enabled":false}
        """)
      #expect(all.status == 200)
      #expect(all.body["rateLimitPerMinute"].integer == 8)
      #expect(all.body["limits"][0]["name"].string == "day")
      #expect(all.body["rateLimitMode"].string == "consistent")
      #expect(all.body["allowedIPs"] == .null && all.body["expiresAt"] == .null)
      #expect(all.body["description"].string == "d")
      #expect(all.body["tags"] == .array([.string("b"), .string("c")]))
      #expect(all.body["metadata"] == .object([("z", .number("1.0")), ("a", .array([]))]))
      #expect(all.body["status"].string == "disabled")

      let removed = try await customer.patch("/v1/keys/" + id, #"{"description":null,"tags":[],"metadata":null}"#)
      #expect(removed.body["description"] == .null && removed.body["metadata"] == .null)
      #expect(removed.body["tags"] == .array([]))
    }
  }

  @Test("the trail has one event per change, of its kind, and none if nothing changed")
  func trail() async throws {
    try await withPortal { portal in
      let customer = try await portal.signUp()
      let id = try await customer.createKey().id
      for body in [
        "{}", #"{"name":"Key"}"#, #"{"name":"New"}"#, #"{"enabled":true}"#, #"{"enabled":false,"name":"Newer"}"#,
        #"{"enabled":false}"#, #"{"enabled":true}"#,
      ] {
        #expect(try await customer.patch("/v1/keys/" + id, body).status == 200, "\(body)")
      }
      let events = try await customer.get("/v1/audit").body["events"].array
      #expect(
        events.compactMap { $0["action"].string }
          == ["key.enabled", "key.disabled", "key.updated", "key.created", "session.opened", "account.created"])
      #expect(events[0]["target"]["id"].string == id && events[0]["actor"]["kind"].string == "user")
    }
  }

  @Test("another spelling of the same letters is a change")
  func spelling() async throws {
    try await withPortal { portal in
      let customer = try await portal.signUp()
      let path = "/v1/keys/" + (try await customer.createKey().id)
      for (member, first, second) in [
        ("name", "\"\u{E9}\"", "\"e\u{301}\""), ("description", "\"\u{E9}\"", "\"e\u{301}\""),
        ("metadata", "{\"\u{E9}\":1}", "{\"e\u{301}\":1}"),
      ] {
        _ = try await customer.patch(path, "{\"\(member)\":\(first)}")
        let before = try #require(try await customer.get(path).header("ETag"))
        let changed = try await customer.patch(path, "{\"\(member)\":\(second)}")
        #expect(changed.header("ETag") != before, "\(member)")
        let wanted = try JSONParser.parse(second.utf8)
        #expect(try await customer.get(path).body[member] == wanted, "\(member)")
        let again = try await customer.patch(path, "{\"\(member)\":\(second)}")
        #expect(again.header("ETag") == changed.header("ETag"), "\(member)")
      }
    }
  }

  @Test("every change sets a new ETag, and If-Match refuses a change that names another than the current one")
  func precondition() async throws {
    try await withPortal { portal in
      let customer = try await portal.signUp()
      let made = try await customer.post("/v1/keys", #"{"name":"Key","scopes":["a"]}"#)
      let path = "/v1/keys/" + (try #require(made.body["id"].string))
      let first = try #require(made.header("ETag"))
      #expect(first.wholeMatch(of: /"[0-9]+"/) != nil)
      #expect(try await customer.get(path).header("ETag") == first)

      let changed = try await customer.patch(path, #"{"name":"b"}"#, headers: ["If-Match": first])
      #expect(changed.status == 200)
      let second = try #require(changed.header("ETag"))
      #expect(second != first)
      #expect(try await customer.get(path).header("ETag") == second)
      let unchanged = try await customer.patch(path, #"{"name":"b"}"#, headers: ["If-Match": second])
      #expect(unchanged.header("ETag") == second)

      let digits = second.dropFirst().dropLast()
      for stale in [
        first, "W/" + second, "\"+\(digits)\"", "\"00\(digits)\"", "\"x\"", "\"\"", "\"1\", \"99\", W/\(second)",
      ] where stale != second {
        let refused = try await customer.patch(path, #"{"name":"c"}"#, headers: ["If-Match": stale])
        expectProblem(refused, 412, "precondition_failed", "\(stale)")
      }
      for malformed in ["1", "", "\"1", "1\"", "* , *", "\"1\" \"2\"", ","] {
        let refused = try await customer.patch(path, #"{"name":"c"}"#, headers: ["If-Match": malformed])
        expectProblem(refused, 400, "invalid_request", at: "header.If-Match", "\(malformed)")
      }
      #expect(try await customer.get(path).body["name"].string == "b")
      for (index, good) in ["*", second + ", \"7777\""].enumerated() {
        let before = try #require(try await customer.get(path).header("ETag"))
        let header = good == "*" ? good : good.replacing(second, with: before)
        let answer = try await customer.patch(path, "{\"name\":\"n\(index)\"}", headers: ["If-Match": header])
        #expect(answer.status == 200, "\(good)")
      }
      try await portal.script("update api_keys set rate_limit_per_minute = 3")
      let behindItsBack = try #require(try await customer.get(path).header("ETag"))
      try await portal.script("update api_keys set rate_limit_per_minute = 3")
      #expect(try await customer.get(path).header("ETag") == behindItsBack)
      #expect(behindItsBack != second)
      #expect(try await customer.patch(path, #"{"name":"last"}"#).status == 200)
    }
  }

  @Test("verification applies a change immediately: scopes, addresses, limits, expiry, disabling and enabling")
  func verification() async throws {
    try await withPortal(.live) { portal in
      let customer = try await portal.signUp()
      let token = try await portal.makeToken()
      let (id, key) = try await customer.createKey()
      func code(_ more: String = "") async throws -> String? {
        try await portal.verify(key, token: token, more).body["code"].string
      }
      func change(_ body: String) async throws {
        #expect(try await customer.patch("/v1/keys/" + id, body).status == 200, "\(body)")
      }
      #expect(try await code(#","scope":"orders:read""#) == "VALID")
      try await change(#"{"scopes":["users:read"]}"#)
      #expect(try await code(#","scope":"orders:read""#) == "INSUFFICIENT_SCOPE")
      try await change(#"{"allowedIPs":["192.0.2.0/24"]}"#)
      #expect(try await code() == "FORBIDDEN_ADDRESS")
      #expect(try await code(#","clientIP":"192.0.2.9""#) == "VALID")
      try await change(#"{"allowedIPs":null,"enabled":false}"#)
      #expect(try await code() == "DISABLED")
      try await change(#"{"enabled":true,"rateLimitPerMinute":1234}"#)
      let answer = try await portal.verify(key, token: token)
      #expect(answer.body["code"].string == "VALID")
      #expect(answer.body["rateLimit"]["limit"].integer == 1_234)
    }
  }

  @Test("a revoked, unknown or foreign key cannot be changed, nor any key by a viewer or in a suspended account")
  func refused() async throws {
    try await withPortal { portal in
      let customer = try await portal.signUp()
      let other = try await portal.signUp("eve@example.com")
      let (id, revoked, rolled) = (
        try await customer.createKey().id, try await customer.createKey().id, try await customer.createKey().id
      )
      _ = try await customer.delete("/v1/keys/" + revoked)
      _ = try await customer.post("/v1/keys/\(rolled)/roll", #"{"graceSeconds":600}"#)
      let rows = try await portal.rowCount()
      for body in [#"{"name":"x"}"#, #"{"enabled":true}"#, "{}"] {
        expectProblem(try await customer.patch("/v1/keys/" + revoked, body), 409, "key_not_active")
      }
      // Otherwise the grace period could be extended at will, and the key would not count toward the cap.
      for body in [#"{"expiresAt":null}"#, #"{"expiresAt":"2099-01-01T00:00:00Z"}"#] {
        expectProblem(try await customer.patch("/v1/keys/" + rolled, body), 409, "key_not_active")
      }
      expectProblem(try await other.patch("/v1/keys/" + id, #"{"name":"x"}"#), 404, "not_found")
      for wrong in ["018f4e6a-0000-7000-8000-000000000000", "x", "%00"] {
        expectProblem(try await customer.patch("/v1/keys/" + wrong, #"{"name":"x"}"#), 404, "not_found")
      }
      try await portal.script("update accounts set suspended_at = now()")
      expectProblem(try await customer.patch("/v1/keys/" + id, #"{"name":"x"}"#), 403, "forbidden")
      try await portal.script("update accounts set suspended_at = null")
      try await customer.becomeViewer()
      expectProblem(try await customer.patch("/v1/keys/" + id, #"{"name":"x"}"#), 403, "forbidden")
      #expect(try await portal.rowCount() == rows)
    }
  }

  @Test("all problems are reported together with their locations: forbidden nulls, unknown and invalid members")
  func allProblems() async throws {
    try await withPortal { portal in
      let customer = try await portal.signUp()
      let path = "/v1/keys/" + (try await customer.createKey().id)
      let rows = try await portal.rowCount()
      let answer = try await customer.patch(
        path,
        """
        {"name":null,"scopes":null,"rateLimitPerMinute":null,"limits":null,"rateLimitMode":null,"tags":null,
         "enabled":null,"environment":"test","id":"x"}
        """)
      expectProblem(answer, 400, "invalid_request")
      #expect(
        Set(answer.locations)
          == Set(
            [
              "name", "scopes", "rateLimitPerMinute", "limits", "rateLimitMode", "tags", "enabled", "environment", "id",
            ].map { "body." + $0 }))
      for (body, location) in KeySettingsCases.bad + [
        (#"{"enabled":"yes"}"#, "body.enabled"), (#"{"enabled":1}"#, "body.enabled"), (#"{"name":""}"#, "body.name"),
        (#"{"name":" \n"}"#, "body.name"), (#"{"name":"\u200B"}"#, "body.name"),
        (#"{"name":"a\u202Eb"}"#, "body.name"), (#"{"scopes":[]}"#, "body.scopes"),
        (#"{"scopes":["A"]}"#, "body.scopes[0]"),
        (#"{"rateLimitPerMinute":0}"#, "body.rateLimitPerMinute"), (#"{"rateLimitMode":"slow"}"#, "body.rateLimitMode"),
        (#"{"limits":[{"name":"day"}]}"#, "body.limits[0].limit"), (#"{"allowedIPs":[]}"#, "body.allowedIPs"),
        (#"{"allowedIPs":["x"]}"#, "body.allowedIPs[0]"), (#"{"expiresAt":"2020-01-01T00:00:00Z"}"#, "body.expiresAt"),
        (#"{"expiresAt":7}"#, "body.expiresAt"), (#"{"expires":null}"#, "body.expires"), ("[]", "body"), ("", "body"),
      ] {
        expectProblem(try await customer.patch(path, body), 400, "invalid_request", at: location, "\(body)")
      }
      #expect(try await portal.rowCount() == rows)
    }
  }

  @Test("an expired key becomes active again with a later expiry, but not beyond the cap")
  func revival() async throws {
    try await withPortal { portal in
      let customer = try await portal.signUp()
      let (id, other) = (try await customer.createKey().id, try await customer.createKey().id)
      try await portal.script(
        "update api_keys set expires_at = now() - interval '1 s' where id = '\(id)'; update plans set key_cap = 1")
      expectProblem(
        try await customer.patch("/v1/keys/" + id, #"{"expiresAt":null}"#), 409, "key_cap_reached")
      #expect(try await customer.patch("/v1/keys/" + id, #"{"name":"still expired"}"#).status == 200)
      _ = try await customer.delete("/v1/keys/" + other)
      let answer = try await customer.patch("/v1/keys/" + id, #"{"expiresAt":"2099-01-01T00:00:00Z"}"#)
      #expect(answer.body["status"].string == "active")
    }
  }

  @Test("of fifty concurrent changes to the same version, one succeeds")
  func race() async throws {
    try await withPortal { portal in
      let customer = try await portal.signUp()
      let path = "/v1/keys/" + (try await customer.createKey().id)
      for _ in 0..<3 {
        let tag = try #require(try await customer.get(path).header("ETag"))
        let answers = try await withThrowingTaskGroup { group in
          for number in 0..<50 {
            group.addTask {
              try await customer.patch(
                path, "{\"name\":\"\(tag.count)-\(number)-\(UUID())\"}", headers: ["If-Match": tag])
            }
          }
          return try await group.reduce(into: [TestAnswer]()) { $0.append($1) }
        }
        #expect(answers.count { $0.status == 200 } == 1)
        #expect(answers.count { $0.status == 412 } == 49)
        let winner = try #require(answers.first { $0.status == 200 })
        #expect(try await customer.get(path).body["name"] == winner.body["name"])
      }
    }
  }
}

/// Bodies with one invalid setting, for both creation and change, each with its location.
enum KeySettingsCases {
  static let bad = [
    ("{\"description\":\"\(String(repeating: "x", count: 501))\"}", "body.description"),
    (#"{"description":7}"#, "body.description"), (#"{"description":"a\u0001b"}"#, "body.description"),
    (#"{"description":"a\u202Eb"}"#, "body.description"), (#"{"description":"\u200B"}"#, "body.description"),
    (#"{"description":"a\u2028b"}"#, "body.description"), (#"{"tags":"a"}"#, "body.tags"),
    ("{\"tags\":[\((0..<17).map { "\"t\($0)\"" }.joined(separator: ","))]}", "body.tags"),
    (#"{"tags":["A"]}"#, "body.tags[0]"), (#"{"tags":["a","a"]}"#, "body.tags[1]"), (#"{"tags":[""]}"#, "body.tags[0]"),
    (#"{"tags":["a*"]}"#, "body.tags[0]"), (#"{"tags":["-a"]}"#, "body.tags[0]"), (#"{"tags":[7]}"#, "body.tags[0]"),
    ("{\"tags\":[\"\(String(repeating: "x", count: 33))\"]}", "body.tags[0]"), (#"{"metadata":[]}"#, "body.metadata"),
    (#"{"metadata":"{}"}"#, "body.metadata"), (#"{"metadata":{"a":[[[[[[[[]]]]]]]]}}"#, "body.metadata"),
    ("{\"metadata\":{\"a\":\"\(String(repeating: "x", count: 4_089))\"}}", "body.metadata"),
    (#"{"metadata":{"a":1,"a":2}}"#, "body"), (#"{"metadata":{"a":"\u0000"}}"#, "body"),
  ]
}
