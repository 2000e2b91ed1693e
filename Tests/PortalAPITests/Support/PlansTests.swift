import Foundation
import JSON
import Portal
import PortalAPI
import PortalHTTP
import PortalTesting
import PostgresTesting
import Testing

@Suite("/v1/support/plans")
struct PlansTests {
  private static let small =
    #"{"keyCap":3,"scopes":["orders:*"],"rateLimitPerMinuteMax":100,"maxKeyLifetimeDays":30}"#

  @Test("an admin creates, changes and assigns a plan, with the reason in the trail")
  func admin() async throws {
    try await withPortal(.live) { portal in
      let admin = try await portal.logInStaff(role: .admin)
      let customer = try await portal.signUp()
      let made = try await portal.put("/v1/support/plans/small", Self.small, token: admin)
      #expect(made.status == 200 && made.body.names == Contract.plan + ["propagation"])
      expectPropagation(made.body["propagation"])
      let changed = try await portal.put(
        "/v1/support/plans/small", Self.small.replacing("\"keyCap\":3", with: "\"keyCap\":1"), token: admin)
      #expect(changed.body["keyCap"].integer == 1)
      let list = try await portal.get("/v1/support/plans", token: admin)
      #expect(list.body["plans"].array.map { $0["name"].string } == ["default", "external", "small"])
      for plan in list.body["plans"].array { #expect(plan.names == Contract.plan) }

      let body = #"{"plan":"small","reason":"asked for it","ticket":"SUP-1"}"#
      let assigned = try await portal.post(
        "/v1/support/accounts/\(customer.accountID)/plan", body, token: admin)
      #expect(assigned.status == 200 && assigned.body.names == ["id", "name", "plan", "propagation"])
      #expect(assigned.body["plan"]["name"].string == "small")
      #expect(try await customer.get("/v1/me").body["account"]["plan"]["maxKeyLifetimeDays"].integer == 30)
      let event = try await customer.get("/v1/audit").body["events"][0]
      #expect(event["action"].string == "account.plan_changed")
      #expect(event["reason"].string == "asked for it" && event["ticket"].string == "SUP-1")
      #expect(event["actor"]["kind"].string == "staff")
    }
  }

  @Test("a plan may be without a cap and without a limit, which have to be null then, not left out")
  func unlimited() async throws {
    try await withPortal { portal in
      let admin = try await portal.logInStaff(role: .admin)
      let body = #"{"keyCap":null,"scopes":["*"],"rateLimitPerMinuteMax":null}"#
      let made = try await portal.put("/v1/support/plans/large", body, token: admin)
      #expect(made.status == 200 && made.body["keyCap"] == .null && made.body["rateLimitPerMinuteMax"] == .null)
      for (body, location) in [
        (#"{"scopes":["*"],"rateLimitPerMinuteMax":null}"#, "body.keyCap"),
        (#"{"keyCap":null,"scopes":["*"]}"#, "body.rateLimitPerMinuteMax"),
      ] {
        expectProblem(
          try await portal.put("/v1/support/plans/large", body, token: admin), 400, "invalid_request", at: location)
      }
    }
  }

  @Test("the role support can read plans, but not change them; invalid values are refused with their location")
  func refused() async throws {
    try await withPortal { portal in
      let support = try await portal.logInStaff()
      let admin = try await portal.logInStaff("ann@example.com", role: .admin)
      let customer = try await portal.signUp()
      let assign = "/v1/support/accounts/\(customer.accountID)/plan"
      let rows = try await portal.rowCount()
      #expect(try await portal.get("/v1/support/plans", token: support).status == 200)
      expectProblem(try await portal.put("/v1/support/plans/small", Self.small, token: support), 403, "forbidden")
      expectProblem(
        try await portal.post(assign, #"{"plan":"default","reason":"abc"}"#, token: support), 403, "forbidden")
      for name in ["Small", "-a", "a%20b", "%00", "a%2fb", String(repeating: "x", count: 33)] {
        let answer = try await portal.put("/v1/support/plans/" + name, Self.small, token: admin)
        expectProblem(answer, 400, "invalid_request", at: "path.name", "\(name)")
      }
      for (member, value) in [
        ("keyCap", "0"), ("keyCap", "10001"), ("keyCap", "\"3\""), ("scopes", "[]"), ("scopes", "null"),
        ("rateLimitPerMinuteMax", "0"), ("rateLimitPerMinuteMax", "10001"), ("maxKeyLifetimeDays", "0"),
        ("maxKeyLifetimeDays", "36501"), ("name", "\"x\""),
        ("apiIds", "[]"), ("apiIds", "[\"nonsense\"]"), ("apiIds", "\"orders\""), ("roleIds", "[\"nonsense\"]"),
        ("roleIds", "{}"),
      ] {
        let members = ["keyCap": "3", "scopes": "[\"*\"]", "rateLimitPerMinuteMax": "5"].merging([member: value]) { $1 }
        let body = "{" + members.map { "\"\($0)\":\($1)" }.joined(separator: ",") + "}"
        let answer = try await portal.put("/v1/support/plans/small", body, token: admin)
        let place = value == #"["nonsense"]"# ? member + "[0]" : member
        expectProblem(answer, 400, "invalid_request", at: "body." + place, "\(body)")
      }
      for (body, location) in [
        (#"{"reason":"abc"}"#, "body.plan"), (#"{"plan":"big","reason":"abc"}"#, "body.plan"),
        (#"{"plan":"","reason":"abc"}"#, "body.plan"), (#"{"plan":"default"}"#, "body.reason"),
        (#"{"plan":"default","reason":"ab"}"#, "body.reason"),
        (#"{"plan":"default","reason":"abc","x":1}"#, "body.x"),
      ] {
        expectProblem(
          try await portal.post(assign, body, token: admin), 400, "invalid_request", at: location, "\(body)")
      }
      for id in ["018f4e6a-0000-7000-8000-000000000000", "x"] {
        let answer = try await portal.post(
          "/v1/support/accounts/\(id)/plan", #"{"plan":"default","reason":"abc"}"#, token: admin)
        expectProblem(answer, 404, "not_found")
      }
      #expect(try await portal.rowCount() == rows)
    }
  }

  @Test("a plan lowered by a bare UPDATE applies to every cached key: scopes, limit and lifetime; so does the reverse")
  func lowered() async throws {
    try await withPortal(.live) { portal in
      let token = try await portal.makeToken()
      var keys: [String] = []
      for number in 0..<3 {
        let customer = try await portal.signUp("ada\(number)@example.com")
        for _ in 0..<10 {
          let answer = try await customer.post(
            "/v1/keys", #"{"name":"n","scopes":["a:*","c"],"rateLimitPerMinute":1000}"#)
          keys.append(try #require(answer.body["key"].string))
        }
      }
      func answers(_ scope: String) async throws -> [JSONValue] {
        let requests = keys.map { "{\"key\":\"\($0)\",\"scope\":\"\(scope)\"}" }.joined(separator: ",")
        return try await portal.post("/v1/verify/batch", "{\"requests\":[\(requests)]}", token: token)
          .body["results"].array
      }
      func codes(_ scope: String) async throws -> Set<String?> {
        Set(try await answers(scope).map { $0["code"].string })
      }
      for scope in ["a:b", "a:x", "c"] { #expect(try await codes(scope) == ["VALID"]) }

      try await portal.script("update plans set scopes = '{a:b}', rate_limit_per_minute_max = 500")
      try await eventually("the lowered scopes apply") { try await codes("a:x") == ["INSUFFICIENT_SCOPE"] }
      #expect(try await codes("c") == ["INSUFFICIENT_SCOPE"])
      let valid = try await answers("a:b")
      #expect(valid.allSatisfy { $0["code"].string == "VALID" && $0["scopes"] == .array([.string("a:b")]) })
      #expect(valid.allSatisfy { $0["rateLimit"]["limit"].integer == 500 })
      // A single request, which takes the fast path.
      let single = try await portal.verify(keys[0], token: token, #","scope":"a:x""#)
      #expect(single.body["code"].string == "INSUFFICIENT_SCOPE")

      try await portal.script(
        "update api_keys set created_at = now() - interval '25 hours'; update plans set max_key_lifetime_days = 1")
      try await eventually("the lowered lifetime applies") { try await codes("a:b") == ["EXPIRED"] }
      let expiry = try #require(try await answers("a:b")[0]["expiresAt"].string.flatMap { Timestamp.date(from: $0) })
      #expect(abs(expiry.timeIntervalSinceNow + 3_600) < 120)
      try await portal.script(
        "update plans set max_key_lifetime_days = null, scopes = '{*}', rate_limit_per_minute_max = 10000")
      try await eventually("the change is undone") { try await codes("a:x") == ["VALID"] }
      #expect(
        try await answers("c").allSatisfy { $0["expiresAt"] == .null && $0["rateLimit"]["limit"].integer == 1_000 })
    }
  }

  @Test("a key shows its effective settings under the plan, and a plan with a lifetime requires an expiry within it")
  func effective() async throws {
    try await withPortal { portal in
      let customer = try await portal.signUp()
      let id = try await customer.createKey(#","rateLimitPerMinute":1000"#).id
      try await portal.script(
        "update plans set scopes = '{orders:*}', rate_limit_per_minute_max = 100, max_key_lifetime_days = 2")
      let key = try await customer.get("/v1/keys/" + id).body
      #expect(
        key["effective"].names == [
          "scopes", "rateLimitPerMinute", "expiresAt", "permissions", "resources", "roles", "apiIds",
        ])
      #expect(key["effective"]["scopes"] == .array([.string("orders:read")]))
      #expect(key["effective"]["rateLimitPerMinute"].integer == 100 && key["effective"]["expiresAt"].isTime)
      #expect(key["rateLimitPerMinute"].integer == 1_000 && key["expiresAt"] == .null)
      #expect(key["policyViolations"] == .array([]))
      let refused = try await customer.post("/v1/keys", #"{"name":"n","scopes":["x"],"rateLimitPerMinute":101}"#)
      expectProblem(refused, 403, "scope_not_allowed")
      #expect(refused.locations == ["body.scopes[0]", "body.rateLimitPerMinute", "body.expiresAt"])
      for expiry in ["null", "\"2099-01-01T00:00:00Z\""] {
        let answer = try await customer.post(
          "/v1/keys", "{\"name\":\"n\",\"scopes\":[\"orders:a\"],\"expiresAt\":\(expiry)}")
        expectProblem(answer, 403, "limit_not_allowed", at: "body.expiresAt")
      }
      let soon = Timestamp.text(of: Date().addingTimeInterval(86_400))
      #expect(
        try await customer.post("/v1/keys", "{\"name\":\"n\",\"scopes\":[\"orders:a\"],\"expiresAt\":\"\(soon)\"}")
          .status == 201)
      expectProblem(try await customer.post("/v1/keys/\(id)/roll"), 403, "limit_not_allowed", at: "key.expiresAt")
    }
  }
}
