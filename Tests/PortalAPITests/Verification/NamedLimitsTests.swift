import Foundation
import JSON
import Portal
import PortalAPI
import PortalHTTP
import PortalTesting
import Testing

@Suite("Limits that verifications name, and limits of accounts")
struct NamedLimitsTests {
  private static let year = 365 * 86_400_000
  private static let some = #"""
    ,"limits":[{"name":"always","limit":10,"windowMilliseconds":86400001},
    {"name":"asked","limit":5,"windowMilliseconds":316224000000,"autoApply":false}]
    """#

  private func standing(_ answer: TestAnswer, _ name: String) -> [Int?] {
    answer.body["limits"].array.filter { $0["name"].string == name }.map { $0["remaining"].integer }
  }

  @Test("a key shows limits of all kinds in the order in which they were set, keeps them when rolled, and loses them")
  func settings() async throws {
    try await withPortal { portal in
      let customer = try await portal.signUp()
      let (id, _) = try await customer.createKey(Self.some)
      let shown = try await customer.get("/v1/keys/\(id)").body
      let rolled = try await customer.post("/v1/keys/\(id)/roll", #"{"graceSeconds":60}"#).body["newKey"]
      for key in [shown, rolled] {
        #expect(key["limits"].array.map(\.names) == [Contract.limit, Contract.limit])
        #expect(key["limits"].array.map { $0["name"].string } == ["always", "asked"])
        #expect(key["limits"].array.map { $0["windowMilliseconds"].integer } == [86_400_001, 316_224_000_000])
        #expect(key["limits"].array.map { $0["windowSeconds"].integer } == [86_401, 316_224_000])
        #expect(key["limits"].array.map { $0["autoApply"] } == [.bool(true), .bool(false)])
      }
      let newID = try #require(rolled["id"].string)
      // What is shown can be sent back.
      let same = JSONWriter.text(of: rolled["limits"])
      let unchanged = try await customer.patch("/v1/keys/\(newID)", #"{"limits":\#(same)}"#)
      #expect(unchanged.status == 200 && unchanged.body["limits"] == rolled["limits"])
      let many = (1...50).map { #"{"name":"l\#($0)","limit":\#($0),"windowMilliseconds":1500}"# }
      let full = try await customer.patch("/v1/keys/\(newID)", #"{"limits":[\#(many.joined(separator: ","))]}"#)
      #expect(full.body["limits"].array.map { $0["limit"].integer } == Array(1...50))
      let tooMany = #"{"limits":[\#((many + [many[0]]).joined(separator: ","))]}"#
      #expect(try await customer.patch("/v1/keys/\(newID)", tooMany).status == 400)
      let plain = #"{"limits":[{"name":"a","limit":1,"windowSeconds":60}]}"#
      #expect(try await customer.patch("/v1/keys/\(newID)", plain).body["limits"].array.count == 1)
      #expect(try await customer.patch("/v1/keys/\(newID)", #"{"limits":[]}"#).body["limits"] == .array([]))
    }
  }

  @Test(
    "a limit without autoApply applies to verifications that name it, with their cost",
    arguments: [#""rateLimitMode":"fast""#, #""rateLimitMode":"consistent""#])
  func onDemand(_ mode: String) async throws {
    try await withPortal { portal in
      let customer = try await portal.signUp()
      let token = try await portal.makeToken()
      let (_, key) = try await customer.createKey(Self.some + "," + mode)
      let plain = try await portal.verify(key, token: token, #","cost":2"#)
      #expect(plain.body["limits"].array.map { $0["name"].string } == ["default", "always"])
      #expect(
        plain.body["limits"][1].names == [
          "name", "windowSeconds", "windowMilliseconds", "limit", "remaining", "resetSeconds",
        ])
      #expect(standing(plain, "default") == [58] && standing(plain, "always") == [8])
      let asked = try await portal.verify(
        key, token: token, #","cost":2,"limits":[{"name":"asked","cost":4},{"name":"default","cost":0}]"#)
      #expect(asked.body["code"].string == "VALID")
      #expect(asked.body["limits"].array.map { $0["remaining"].integer } == [58, 6, 1])
      let refused = try await portal.verify(key, token: token, #","limits":[{"name":"asked","cost":2}]"#)
      #expect(refused.body["code"].string == "RATE_LIMITED")
      #expect(refused.body["limits"].array.map { $0["remaining"].integer } == [58, 6, 1])
      let retry = try #require(refused.header("Retry-After").flatMap { Int($0) })
      #expect(retry > 86_400 && refused.header("X-RateLimit-Limit") == "5")
      #expect(refused.header("RateLimit-Policy")?.contains(#""asked";q=5;w=316224000"#) == true)
      // Its own cost is above the limit, whatever the others have left.
      let never = try await portal.verify(key, token: token, #","limits":[{"name":"asked","cost":6}]"#)
      #expect(never.body["retryAfterSeconds"] == .null && never.header("X-Latchkey-Retry") == "never")
    }
  }

  @Test(
    "a token bucket is shown as it was set, and admits a burst and then what comes back",
    arguments: [#""rateLimitMode":"fast""#, #""rateLimitMode":"consistent""#])
  func bucket(_ mode: String) async throws {
    try await withPortal { portal in
      let customer = try await portal.signUp()
      let token = try await portal.makeToken()
      let bucket = #"{"name":"burst","bucket":{"size":4,"refill":2,"intervalMilliseconds":3600000}"#
      let (id, key) = try await customer.createKey(#","limits":[\#(bucket)}],"# + mode)
      let shown = try await customer.get("/v1/keys/\(id)").body["limits"]
      #expect(JSONWriter.text(of: shown) == "[" + bucket + #","autoApply":true}]"#)
      for remaining in [3, 2, 1, 0] {
        let answer = try await portal.verify(key, token: token)
        #expect(answer.body["code"].string == "VALID" && standing(answer, "burst") == [remaining])
      }
      let refused = try await portal.verify(key, token: token)
      #expect(refused.body["code"].string == "RATE_LIMITED")
      #expect(refused.body["limits"][1].names == ["name", "windowSeconds", "limit", "remaining", "resetSeconds"])
      #expect(refused.body["limits"][1]["windowSeconds"].integer == 7_200)
      // Half an hour until one comes back, two hours until all have.
      #expect((1_700...1_800).contains(refused.header("Retry-After").flatMap { Int($0) } ?? 0))
      #expect((7_100...7_200).contains(refused.body["rateLimit"]["resetSeconds"].integer ?? 0))
      let never = try await portal.verify(key, token: token, #","limits":[{"name":"burst","cost":5}]"#)
      #expect(never.header("X-Latchkey-Retry") == "never")
      let same = try await customer.patch("/v1/keys/\(id)", #"{"limits":\#(JSONWriter.text(of: shown))}"#)
      #expect(same.status == 200 && same.body["limits"] == shown)
    }
  }

  @Test("a verification brings a limit along, which is counted for the key")
  func brought() async throws {
    try await withPortal { portal in
      let customer = try await portal.signUp()
      let token = try await portal.makeToken()
      let keys = [try await customer.createKey().key, try await customer.createKey().key]
      let limits = #","limits":[{"name":"uploads","limit":2,"windowMilliseconds":31536000000}]"#
      for number in 0..<6 {
        let answer = try await portal.verify(keys[number % 2], token: token, limits)
        #expect(answer.body["code"].string == (number < 4 ? "VALID" : "RATE_LIMITED"))
        #expect(standing(answer, "uploads") == [max(0, 1 - number / 2)])
      }
    }
  }

  @Test("a name that neither the key nor its account has is refused at its place, and nothing is taken or counted")
  func unknown() async throws {
    try await withPortal { portal in
      let customer = try await portal.signUp()
      let token = try await portal.makeToken()
      let (_, key) = try await customer.createKey(Self.some)
      let names = #"{"key":"\#(key)","limits":[{"name":"asked"},{"name":"never"},{"name":"account"}]}"#
      let answer = try await portal.post("/v1/verify", names, token: token)
      #expect(answer.status == 400 && answer.code == "invalid_request")
      #expect(
        answer.body["errors"].array.map { $0["location"].string } == ["body.limits[1].name", "body.limits[2].name"])
      let batch = try await portal.post(
        "/v1/verify/batch", #"{"requests":[{"key":"\#(key)"},\#(names),{"key":"x","limits":[{"name":"never"}]}]}"#,
        token: token)
      let results = batch.body["results"].array
      #expect(results.map { $0["code"].string } == ["VALID", "INVALID_REQUEST", "NOT_FOUND"])
      #expect(
        results[1]["errors"].array.map { $0["location"].string } == [
          "body.requests[1].limits[1].name", "body.requests[1].limits[2].name",
        ])
      #expect(results[0]["limits"].array.map { $0["remaining"].integer } == [59, 9])
    }
  }

  @Test(
    "invalid limits of a verification are refused with their locations",
    arguments: [
      (#"[{}]"#, ["body.limits[0].name"]), (#"[{"name":"A"}]"#, ["body.limits[0].name"]),
      (#"[{"name":"a"},{"name":"a"}]"#, ["body.limits[1].name"]),
      (#"[{"name":"a","cost":-1}]"#, ["body.limits[0].cost"]),
      (#"[{"name":"a","cost":1001}]"#, ["body.limits[0].cost"]),
      (#"[{"name":"a","limit":1}]"#, ["body.limits[0].windowMilliseconds"]),
      (#"[{"name":"a","windowMilliseconds":1000}]"#, ["body.limits[0].limit"]),
      (
        #"[{"name":"a","limit":0,"windowMilliseconds":999}]"#,
        ["body.limits[0].limit", "body.limits[0].windowMilliseconds"]
      ),
      (#"[{"name":"default","limit":1,"windowMilliseconds":1000}]"#, ["body.limits[0].name"]),
      (#"[{"name":"a","windowSeconds":1}]"#, ["body.limits[0].windowSeconds"]), (#""a""#, ["body.limits"]),
    ])
  func refused(_ limits: String, _ locations: [String]) async throws {
    try await withPortal { portal in
      let token = try await portal.makeToken()
      let answer = try await portal.verify("x", token: token, #","limits":\#(limits)"#)
      #expect(answer.status == 400 && answer.code == "invalid_request")
      #expect(answer.body["errors"].array.compactMap { $0["location"].string } == locations)
    }
  }

  @Test("the limits of an account are shared by its keys, and a change takes effect at once")
  func ofAccount() async throws {
    try await withPortal(.live) { portal in
      let token = try await portal.makeToken([.readAccounts, .writeAccounts, .writeKeys, .verifyKeys])
      let made = try await portal.post(
        "/v1/accounts",
        #"""
        {"name":"n","limits":[{"name":"monthly","limit":3,"windowMilliseconds":2678400000},
        {"name":"asked","limit":9,"windowSeconds":3600,"autoApply":false}]}
        """#, token: token)
      #expect(made.status == 201 && made.body["limits"].array.map(\.names) == [Contract.limit, Contract.limit])
      let account = try #require(made.body["id"].string)
      #expect(try await portal.get("/v1/accounts/\(account)", token: token).body == made.body)
      var keys: [String] = []
      for limits in ["", #","limits":[{"name":"asked","limit":4,"windowSeconds":3600}]"#] {
        let key = try await portal.post(
          "/v1/accounts/\(account)/keys", #"{"name":"n","scopes":[]\#(limits)}"#, token: token)
        keys.append(try #require(key.body["key"].string))
      }
      let first = try await portal.verify(keys[0], token: token, #","limits":[{"name":"asked","cost":2}]"#)
      #expect(first.body["limits"].array.map { $0["name"].string } == ["monthly", "asked"])
      #expect(first.body["limits"].array.map { $0["remaining"].integer } == [2, 7])
      #expect(first.body["limits"].array.allSatisfy { $0["shared"] == .bool(true) })
      // The key and its account both have it.
      let second = try await portal.verify(keys[1], token: token, #","limits":[{"name":"asked","cost":3}]"#)
      #expect(second.body["limits"].array.map { $0["name"].string } == ["asked", "monthly", "asked"])
      #expect(second.body["limits"].array.map { $0["remaining"].integer } == [1, 1, 4])
      #expect(try await portal.verify(keys[0], token: token).body["code"].string == "VALID")
      #expect(try await portal.verify(keys[1], token: token).body["code"].string == "RATE_LIMITED")
      let raised = try await portal.patch(
        "/v1/accounts/\(account)", #"{"limits":[{"name":"monthly","limit":4,"windowMilliseconds":2678400000}]}"#,
        token: token)
      #expect(raised.body["limits"].array.count == 1)
      expectPropagation(raised.body["propagation"])
      #expect(try await portal.verify(keys[1], token: token).body["code"].string == "VALID")
      #expect(try await portal.verify(keys[1], token: token).body["code"].string == "RATE_LIMITED")
      let none = try await portal.patch("/v1/accounts/\(account)", #"{"limits":[]}"#, token: token)
      #expect(none.body["limits"] == .array([]))
      #expect(try await portal.verify(keys[0], token: token).body["limits"] == .array([]))
      let refused = try await portal.patch(
        "/v1/accounts/\(account)", #"{"limits":[{"name":"a","limit":1}]}"#, token: token)
      #expect(refused.body["errors"][0]["location"].string == "body.limits[0].windowMilliseconds")
      #expect(try await portal.patch("/v1/accounts/\(account)", #"{"limits":null}"#, token: token).status == 400)
    }
  }
}
