import Foundation
import JSON
import Portal
import PortalAPI
import PortalApplication
import PortalHTTP
import PortalTesting
import Testing

@Suite("Verification of scopes for a resource")
struct ResourcesTests {
  private static let resources = #"{"project:1":["orders:write","files:*"],"project:2":["orders:delete"]}"#

  private func makeKey(
    _ portal: TestPortal, _ customer: TestCustomer, _ resources: String = Self.resources
  ) async throws -> (id: String, key: String, body: JSONValue) {
    let backend = try await portal.makeToken([.writeKeys])
    let made = try await portal.post(
      "/v1/accounts/\(customer.accountID.text)/keys",
      #"{"name":"Key","scopes":["orders:read"],"rateLimitPerMinute":1000,"resources":\#(resources)}"#, token: backend)
    return (try #require(made.body["id"].string), try #require(made.body["key"].string), made.body)
  }

  @Test(
    "scopes for the resource count, all of them or any; single, in a batch and in headers", arguments: [true, false])
  func verify(hasFastPath: Bool) async throws {
    try await withPortal(.live, configure: { $0.hasFastPath = hasFastPath }) { portal in
      let customer = try await portal.signUp()
      let key = try await makeKey(portal, customer).key
      let plain = try await customer.createKey().key
      let token = try await portal.makeToken()
      // The scopes, the resource, `match`, and whether each key has what is required.
      let questions: [(String, String?, String?, Bool, Bool)] = [
        ("orders:read", nil, nil, true, true), ("orders:read", "project:9", nil, true, true),
        ("orders:write", nil, nil, false, false), ("orders:write", "project:1", nil, true, false),
        ("orders:write", "project:2", "all", false, false),
        ("orders:read orders:write files:a", "project:1", "all", true, false),
        ("orders:read x", "project:1", nil, false, false), ("orders:read x", nil, "any", true, true),
        ("x orders:delete", "project:2", "any", true, false), ("x y", "project:2", "any", false, false),
      ]
      for _ in 1...2 {
        for (scopes, resource, match, isCovered, isCoveredByPlain) in questions {
          let list = scopes.split(separator: " ").map { "\"\($0)\"" }.joined(separator: ",")
          let more =
            #","scopes":[\#(list)]"# + (resource.map { #","resource":"\#($0)""# } ?? "")
            + (match.map { #","match":"\#($0)""# } ?? "")
          var headers = ["X-Latchkey-Token": token, "X-Required-Scope": scopes]
          headers["X-Resource"] = resource
          headers["X-Scope-Match"] = match
          for (key, isCovered) in [(key, isCovered), (plain, isCoveredByPlain)] {
            let code = isCovered ? "VALID" : "INSUFFICIENT_SCOPE"
            let answer = try await portal.verify(key, token: token, more)
            #expect(answer.body["code"].string == code, "\(more)")
            #expect(answer.body.names == Contract.verdict)
            let batch = try await portal.post(
              "/v1/verify/batch", #"{"requests":[{"key":"\#(key)"\#(more)}]}"#, token: token)
            #expect(batch.body["results"][0]["code"].string == code, "\(more)")
            let gate = try await portal.get("/v1/authorize", token: key, headers: headers)
            #expect(gate.status == (isCovered ? 200 : 403) && gate.header("X-Latchkey-Code") == code, "\(headers)")
          }
        }
      }
    }
  }

  @Test("a resource without scopes, and odd values, are refused with their place, and in a batch alone")
  func invalid() async throws {
    try await withPortal { portal in
      let key = try await portal.signUp().createKey().key
      let token = try await portal.makeToken()
      for (more, location) in [
        (#","resource":"project:1""#, "body.resource"), (#","resource":"project:1","scopes":[]"#, "body.resource"),
        (#","resource":"","scope":"a""#, "body.resource"), (#","resource":"a b","scope":"a""#, "body.resource"),
        (#","resource":1,"scope":"a""#, "body.resource"), (#","match":"some""#, "body.match"),
        (#","match":"ALL""#, "body.match"), (#","match":1"#, "body.match"),
      ] {
        let answer = try await portal.verify(key, token: token, more)
        expectProblem(answer, 400, "invalid_request", at: location, "\(more)")
        let batch = try await portal.post(
          "/v1/verify/batch", #"{"requests":[{"key":"\#(key)"\#(more)},{"key":"\#(key)"}]}"#, token: token)
        #expect(batch.body["results"].array.map { $0["code"].string } == ["INVALID_REQUEST", "VALID"], "\(more)")
      }
      for (headers, location) in [
        (["X-Resource": "project:1"], "X-Resource"), (["X-Resource": "a b", "X-Required-Scope": "a"], "X-Resource"),
        (["X-Scope-Match": "Any"], "X-Scope-Match"), (["X-Required-Scope": "a,b"], "X-Required-Scope"),
      ] {
        let answer = try await portal.get(
          "/v1/authorize", token: key, headers: headers.merging(["X-Latchkey-Token": token]) { $1 })
        expectProblem(answer, 400, "invalid_request", at: "header." + location)
      }
    }
  }

  @Test("backends set them on create and with PATCH; a customer reads them, and cannot name them")
  func settings() async throws {
    try await withPortal { portal in
      let customer = try await portal.signUp()
      let (id, _, body) = try await makeKey(portal, customer, #"{"b":["x"],"a":["y"]}"#)
      #expect(body["resources"].names == ["a", "b"] && body["effective"]["resources"] == body["resources"])
      #expect(try await customer.get("/v1/keys/\(id)").body["resources"] == body["resources"])
      for more in ["null", "{}", #"{"a":["x"]}"#] {
        let created = try await customer.post("/v1/keys", #"{"name":"Key","scopes":["a"],"resources":\#(more)}"#)
        expectProblem(created, 400, "invalid_request", at: "body.resources")
        let changed = try await customer.patch("/v1/keys/\(id)", #"{"resources":\#(more)}"#)
        expectProblem(changed, 400, "invalid_request", at: "body.resources")
      }
      let backend = try await portal.makeToken([.writeKeys])
      let path = "/v1/accounts/\(customer.accountID.text)/keys/\(id)"
      let changed = try await portal.patch(path, #"{"resources":{"c":["x","y:*"]}}"#, token: backend)
      #expect(changed.status == 200)
      #expect(changed.body["resources"] == .object([("c", .array([.string("x"), .string("y:*")]))]))
      let long = String(repeating: "x", count: 64)
      let many = (0..<101).map { #""r\#($0)":["a"]"# }.joined(separator: ",")
      let large = (0..<4).map { number in
        #""r\#(number)":[\#(Array(repeating: "\"\(long)\"", count: 32).joined(separator: ","))]"#
      }.joined(separator: ",")
      for (value, location) in [
        ("null", "resources"), ("[]", "resources"), ("{\(many)}", "resources"), ("{\(large)}", "resources"),
        (#"{"a b":["x"]}"#, "resources.a b"), (#"{"a":[]}"#, "resources.a"), (#"{"a":"x"}"#, "resources.a"),
        (#"{"a":["x","X"]}"#, "resources.a[1]"), (#"{"a":[1]}"#, "resources.a[0]"),
      ] {
        let answer = try await portal.patch(path, #"{"resources":\#(value)}"#, token: backend)
        expectProblem(answer, 400, "invalid_request", at: "body." + location, "\(value.prefix(40))")
      }
      #expect(try await portal.patch(path, #"{"resources":{}}"#, token: backend).body["resources"] == .object([]))
    }
  }

  @Test("staff with the role admin set them with a reason, which the customer reads; it takes effect at once")
  func staff() async throws {
    try await withPortal(.live) { portal in
      let customer = try await portal.signUp()
      let (id, key, _) = try await makeKey(portal, customer)
      let token = try await portal.makeToken()
      let more = #","scope":"orders:write","resource":"project:1""#
      #expect(try await portal.verify(key, token: token, more).body["code"].string == "VALID")
      let admin = try await portal.logInStaff(role: .admin)
      let path = "/v1/keys/\(id)/resources"
      expectProblem(
        try await portal.put(path, #"{"resources":{}}"#, token: admin), 400, "invalid_request", at: "body.reason")
      expectProblem(
        try await portal.put(path, #"{"reason":"because"}"#, token: admin), 400, "invalid_request",
        at: "body.resources")
      let set = try await portal.put(
        path, #"{"resources":{"project:2":["a"]},"reason":"because","ticket":"SUP-1"}"#, token: admin)
      #expect(set.status == 200 && set.body.names == Contract.key + ["accountId", "propagation"])
      #expect(set.header("ETag") != nil)
      #expect(try await portal.verify(key, token: token, more).body["code"].string == "INSUFFICIENT_SCOPE")
      let event = try await customer.get("/v1/audit?action=key.resources_changed").body["events"][0]
      #expect(event["reason"].string == "because" && event["ticket"].string == "SUP-1")
      #expect(
        event["detail"].string
          == "+project:2 (a), -project:1 (orders:write files:*), -project:2 (orders:delete)")
    }
  }

  @Test("a member cannot take a key to other apis than the company chose, nor with what was granted for one api")
  func apiOfTheCompany() async throws {
    try await withPortal(.live) { portal in
      try await portal.makeCatalog()
      let customer = try await portal.signUp()
      let backend = try await portal.makeToken([.writeKeys, .grantKeys])
      let keys = "/v1/accounts/\(customer.accountID.text)/keys"
      let made = try await portal.post(keys, #"{"name":"Key","scopes":["a"],"apiId":"orders"}"#, token: backend)
      let id = try #require(made.body["id"].string)
      for change in [#"{"apiId":null}"#, #"{"apiId":"orders"}"#] {
        expectProblem(
          try await customer.patch("/v1/keys/\(id)", change), 400, "invalid_request", at: "body.apiId", "\(change)")
      }
      #expect(try await customer.get("/v1/keys/\(id)").body["apiId"] == made.body["apiId"])
      let admin = try await portal.logInStaff(role: .admin)
      let plan = #"{"keyCap":25,"scopes":["*"],"rateLimitPerMinuteMax":10000,"apiIds":["orders"]}"#
      #expect(try await portal.put("/v1/support/plans/default", plan, token: admin).status == 200)
      let granted = try await portal.post("/v1/keys/\(id)/roles", #"{"add":["pro"]}"#, token: backend)
      #expect(granted.status == 200)
      expectProblem(
        try await customer.patch("/v1/keys/\(id)", #"{"apiId":null}"#), 400, "invalid_request", at: "body.apiId")
      let freed = try await portal.patch("\(keys)/\(id)", #"{"apiId":null}"#, token: backend)
      #expect(freed.status == 200 && freed.body["apiId"] == .null)
    }
  }

  @Test("a member chooses among the apis of the plan, and sees the roles that it gives")
  func plans() async throws {
    try await withPortal(.live) { portal in
      try await portal.makeCatalog()
      let customer = try await portal.signUp()
      let admin = try await portal.logInStaff(role: .admin)
      let body =
        #"{"keyCap":9,"scopes":["*"],"rateLimitPerMinuteMax":600,"apiIds":["orders"],"roleIds":["pro"]}"#
      let set = try await portal.put("/v1/support/plans/default", body, token: admin)
      #expect(set.status == 200 && set.body["apiIds"].array.count == 1 && set.body["roleIds"].array.count == 1)
      #expect(try await customer.get("/v1/me").body["account"]["plan"]["apiIds"] == set.body["apiIds"])
      let made = try await customer.post("/v1/keys", #"{"name":"Key","scopes":["a"],"apiId":"orders"}"#)
      #expect(made.status == 201 && .array([made.body["apiId"]]) == set.body["apiIds"])
      #expect(made.body["roles"] == .array([]))
      #expect(made.body["effective"]["roles"] == .array([.string("pro")]))
      #expect(made.body["effective"]["permissions"] == .array([.string("b")]))
      let key = try #require(made.body["key"].string)
      let answer = try await portal.verify(key, token: try await portal.makeToken(), #","permissions":"b""#)
      #expect(answer.body["code"].string == "VALID" && answer.body["roles"] == .array([.string("pro")]))
      let id = try #require(made.body["id"].string)
      let freed = try await customer.patch("/v1/keys/\(id)", #"{"apiId":null}"#)
      #expect(freed.body["apiId"] == .null && freed.body["effective"]["apiIds"] == set.body["apiIds"])
    }
  }
}
