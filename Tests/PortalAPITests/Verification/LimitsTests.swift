import Foundation
import JSON
import Portal
import PortalAPI
import PortalHTTP
import PortalTesting
import Testing

@Suite("Limits of a key")
struct LimitsTests {
  @Test("a key is created with named limits, shows them, and passes them on when it is rolled")
  func made() async throws {
    try await withPortal { portal in
      let customer = try await portal.signUp()
      let (id, _) = try await customer.createKey(
        #","limits":[{"name":"burst","limit":5,"windowSeconds":1},{"name":"daily","limit":1000,"windowSeconds":86400}]"#
          + #","rateLimitMode":"consistent""#)
      let shown = try await customer.get("/v1/keys/\(id)").body
      let rolled = try await customer.post("/v1/keys/\(id)/roll", "").body["newKey"]
      for key in [shown, rolled] {
        #expect(key["limits"].array.map { $0["name"].string } == ["burst", "daily"])
        #expect(key["limits"].array.map { $0["limit"].integer } == [5, 1_000])
        #expect(key["limits"].array.map { $0["windowSeconds"].integer } == [1, 86_400])
        #expect(key["limits"].array.map { $0["windowMilliseconds"].integer } == [1_000, 86_400_000])
        #expect(key["limits"].array.allSatisfy { $0["autoApply"] == .bool(true) && $0.names == Contract.limit })
        #expect(key["rateLimitMode"].string == "consistent")
      }
    }
  }

  @Test(
    "an invalid limit is refused with its location",
    arguments: [
      (#"[{"name":"default","limit":1,"windowSeconds":1}]"#, ["body.limits[0].name"]),
      (
        #"[{"name":"Daily","limit":0,"windowSeconds":316224001}]"#,
        ["body.limits[0].name", "body.limits[0].limit", "body.limits[0].windowSeconds"]
      ),
      (
        #"[{"name":"a","limit":1,"windowSeconds":1},{"name":"a","limit":2,"windowSeconds":1}]"#, ["body.limits[1].name"]
      ),
      (#"[{"name":"a"}]"#, ["body.limits[0].limit", "body.limits[0].windowMilliseconds"]),
      (#"[{"name":"a","limit":1,"windowMilliseconds":999}]"#, ["body.limits[0].windowMilliseconds"]),
      (#"[{"name":"a","limit":1,"windowMilliseconds":316224000001}]"#, ["body.limits[0].windowMilliseconds"]),
      (#"[{"name":"a","limit":1,"windowMilliseconds":null}]"#, ["body.limits[0].windowMilliseconds"]),
      (#"[{"name":"a","limit":1,"windowMilliseconds":1500,"windowSeconds":1}]"#, ["body.limits[0].windowSeconds"]),
      (#"[{"name":"a","limit":1,"windowSeconds":1,"autoApply":"no"}]"#, ["body.limits[0].autoApply"]),
      (#"[{"name":"a","bucket":1}]"#, ["body.limits[0].bucket"]),
      (
        #"[{"name":"a","bucket":{"size":0,"refill":1000001,"x":1}}]"#,
        [
          "body.limits[0].bucket.size", "body.limits[0].bucket.refill", "body.limits[0].bucket.intervalMilliseconds",
          "body.limits[0].bucket.x",
        ]
      ),
      (
        #"[{"name":"a","bucket":{"size":2,"refill":1,"intervalMilliseconds":316224000000}}]"#,
        ["body.limits[0].bucket"]
      ),
      (
        #"[{"name":"a","limit":1,"bucket":{"size":2,"refill":1,"intervalMilliseconds":1000}}]"#,
        ["body.limits[0].limit"]
      ),
      (#"[{"name":"a","limit":1,"windowSeconds":1,"burst":2}]"#, ["body.limits[0].burst"]),
      (#""all""#, ["body.limits"]),
    ])
  func refused(_ limits: String, _ locations: [String]) async throws {
    try await withPortal { portal in
      let customer = try await portal.signUp()
      let answer = try await customer.post("/v1/keys", #"{"name":"n","scopes":["a"],"limits":\#(limits)}"#)
      #expect(answer.status == 400 && answer.code == "invalid_request")
      #expect(answer.body["errors"].array.compactMap { $0["location"].string } == locations)
    }
  }

  @Test("the verdict on a key without limits has none, and no headers about limits, whatever the cost")
  func none() async throws {
    try await withPortal { portal in
      let token = try await portal.makeToken([.writeAccounts, .writeKeys, .verifyKeys])
      let account = try await portal.post("/v1/accounts", #"{"name":"n"}"#, token: token).body["id"].string ?? ""
      let made = try await portal.post("/v1/accounts/\(account)/keys", #"{"name":"n","scopes":[]}"#, token: token)
      let key = try #require(made.body["key"].string)
      func expectNone(_ answer: TestAnswer) {
        for name in ["RateLimit", "RateLimit-Policy", "X-RateLimit-Limit", "X-RateLimit-Remaining", "Retry-After"] {
          #expect(answer.header(name) == nil, "\(name)")
        }
      }
      for more in ["", #","cost":1000"#, #","scope":"a""#] {
        let answer = try await portal.verify(key, token: token, more)
        #expect(answer.body["code"].string == (more.contains("scope") ? "INSUFFICIENT_SCOPE" : "VALID"))
        #expect(answer.body.names == Contract.verdict && answer.body["scopes"] == .array([]))
        #expect(answer.body["rateLimit"] == .null && answer.body["limits"] == .array([]))
        expectNone(answer)
      }
      let authorized = try await portal.get("/v1/authorize", token: key, headers: ["X-Latchkey-Token": token])
      #expect(authorized.status == 200 && authorized.header("X-Latchkey-Scopes") == "")
      expectNone(authorized)
    }
  }

  @Test("a verdict lists every limit, and the X-RateLimit headers have the binding one")
  func told() async throws {
    try await withPortal { portal in
      let customer = try await portal.signUp()
      let token = try await portal.makeToken()
      let (_, key) = try await customer.createKey(
        #","rateLimitPerMinute":50,"limits":[{"name":"hourly","limit":7,"windowSeconds":3600}]"#)
      try await portal.services.accounts.setSharedLimit(
        30, .consistent, of: customer.accountID, by: Caller(actor: .command(name: "test")))
      let answer = try await portal.verify(key, token: token, #","cost":3"#)
      #expect(answer.body["code"].string == "VALID")
      #expect(answer.body["limits"].array.map { $0["name"].string } == ["default", "hourly", "account"])
      #expect(answer.body["limits"].array.map { $0["remaining"].integer } == [47, 4, 27])
      #expect(answer.body["limits"].array.map { $0["windowSeconds"].integer } == [60, 3_600, 60])
      #expect(answer.body["rateLimit"]["limit"].integer == 7 && answer.body["rateLimit"]["remaining"].integer == 4)
      #expect(
        answer.header("RateLimit-Policy") == #""default";q=50;w=60, "hourly";q=7;w=3600, "account";q=30;w=60"#)
      let told = try #require(answer.header("RateLimit"))
      #expect(told.contains(#""default";r=47;t="#) && told.contains(#""hourly";r=4;t="#))
      #expect(answer.header("X-RateLimit-Limit") == "7" && answer.header("Retry-After") == nil)

      let limited = try await portal.verify(key, token: token, #","cost":5"#)
      #expect(limited.body["code"].string == "RATE_LIMITED")
      #expect(limited.body["limits"].array.map { $0["remaining"].integer } == [47, 4, 27])
      let retry = try #require(limited.header("Retry-After").flatMap { Int($0) })
      #expect((1...7_200).contains(retry))
      #expect(try await portal.verify(key, token: token, #","cost":4"#).body["code"].string == "VALID")
    }
  }

  @Test("the account's limit is shared by its keys, and applies from when it is set until it is removed")
  func shared() async throws {
    try await withPortal { portal in
      let customer = try await portal.signUp()
      let token = try await portal.makeToken()
      let keys = [try await customer.createKey().key, try await customer.createKey().key]
      func codes(_ count: Int) async throws -> [String?] {
        var codes: [String?] = []
        for number in 0..<count {
          codes.append(try await portal.verify(keys[number % 2], token: token).body["code"].string)
        }
        return codes
      }
      func setLimit(_ limit: Int?) async throws {
        try await portal.services.accounts.setSharedLimit(
          limit, .fast, of: customer.accountID, by: Caller(actor: .command(name: "test")))
        // A synchronization in progress may have started before the change.
        for _ in 0..<2 { await portal.observations.next { $0 == .synced } }
      }
      #expect(try await codes(2) == ["VALID", "VALID"])
      try await setLimit(3)
      #expect(try await codes(5) == ["VALID", "VALID", "VALID", "RATE_LIMITED", "RATE_LIMITED"])
      try await setLimit(nil)
      #expect(try await codes(2) == ["VALID", "VALID"])
    }
  }
}
