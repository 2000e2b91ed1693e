import Foundation
import JSON
import Portal
import PortalAPI
import PortalApplication
import PortalHTTP
import PortalTesting
import Testing

@Suite("Verification of keys with an api, roles and permissions")
struct GrantedKeysTests {
  private static let notFound = JSONValue.object([("valid", .bool(false)), ("code", .string("NOT_FOUND"))])

  @Test(
    "a key must meet the query, and the answer has its roles and permissions; a change of a role takes effect",
    arguments: [true, false])
  func permissions(hasFastPath: Bool) async throws {
    try await withPortal(.live, configure: { $0.hasFastPath = hasFastPath }) { portal in
      try await portal.makeCatalog()
      let customer = try await portal.signUp()
      let (key, plain) = (try await customer.createKey(), try await customer.createKey())
      let company = try await portal.makeToken([.grantKeys, .writeCatalog])
      let token = try await portal.makeToken()
      let granted = try await portal.post("/v1/keys/\(key.id)/roles", #"{"add":["pro"]}"#, token: company)
      #expect(granted.status == 200)
      #expect(granted.body.names == Contract.key + ["accountId", "propagation"])
      #expect(granted.header("ETag") != nil)
      let more = try await portal.post("/v1/keys/\(key.id)/permissions", #"{"add":["a"]}"#, token: company)
      #expect(more.body["permissions"].array == [.string("a")])
      #expect(more.body["effective"]["permissions"].array == [.string("a"), .string("b")])
      for _ in 1...2 {
        for (query, code) in [
          ("a", "VALID"), ("b", "VALID"), ("a AND b", "VALID"), ("x OR (a AND b)", "VALID"),
          ("x", "INSUFFICIENT_PERMISSIONS"), ("a AND x", "INSUFFICIENT_PERMISSIONS"),
          ("pro", "INSUFFICIENT_PERMISSIONS"), ("*", "INSUFFICIENT_PERMISSIONS"),
        ] {
          let answer = try await portal.verify(key.key, token: token, #","permissions":"\#(query)""#)
          #expect(answer.body["code"].string == code, "\(query)")
          #expect(answer.body.names == Contract.verdict + ["roles", "permissions"])
          #expect(answer.body["roles"].array == [.string("pro")])
          #expect(answer.body["permissions"].array == [.string("a"), .string("b")])
          let gate = try await portal.get(
            "/v1/authorize", token: key.key,
            headers: ["X-Latchkey-Token": token, "X-Required-Permission": query])
          #expect(gate.status == (code == "VALID" ? 200 : 403) && gate.header("X-Latchkey-Code") == code)
        }
        let ordinary = try await portal.verify(plain.key, token: token, #","permissions":"a""#)
        #expect(ordinary.body["code"].string == "INSUFFICIENT_PERMISSIONS")
        #expect(ordinary.body.names == Contract.verdict)
        #expect(try await portal.verify(plain.key, token: token).body["code"].string == "VALID")
      }
      let changed = try await portal.patch("/v1/roles/pro", #"{"permissions":[]}"#, token: company)
      #expect(changed.status == 200)
      expectPropagation(changed.body["propagation"])
      let after = try await portal.verify(key.key, token: token, #","permissions":"b""#)
      #expect(after.body["code"].string == "INSUFFICIENT_PERMISSIONS")
      #expect(after.body["permissions"].array == [.string("a")])
      #expect(try await customer.get("/v1/keys/\(key.id)").body["roles"].array == [.string("pro")])
      let event = try await customer.get("/v1/audit?action=key.roles_changed").body["events"][0]
      #expect(event["detail"].string == "+pro" && event["actor"]["kind"].string == "token")
    }
  }

  @Test("the verdict on a key without limits has its roles and permissions, too", arguments: [true, false])
  func unlimited(hasFastPath: Bool) async throws {
    try await withPortal(.live, configure: { $0.hasFastPath = hasFastPath }) { portal in
      try await portal.makeCatalog()
      let backend = try await portal.makeToken([.writeAccounts, .writeKeys, .grantKeys])
      let account = try await portal.post("/v1/accounts", #"{"name":"n"}"#, token: backend)
      let path = "/v1/accounts/\(try #require(account.body["id"].string))/keys"
      let made = try await portal.post(path, #"{"name":"n","scopes":[]}"#, token: backend)
      let (id, key) = (try #require(made.body["id"].string), try #require(made.body["key"].string))
      _ = try await portal.post("/v1/keys/\(id)/roles", #"{"add":["pro"]}"#, token: backend)
      let token = try await portal.makeToken()
      for _ in 1...2 {
        let answer = try await portal.verify(key, token: token)
        #expect(answer.body["code"].string == "VALID")
        #expect(answer.body["rateLimit"] == .null && answer.body["limits"] == .array([]))
        #expect(answer.body["roles"].array == [.string("pro")])
        #expect(answer.body["permissions"].array == [.string("b")])
      }
    }
  }

  @Test(
    "a key for another api is NOT_FOUND, by the question and by the token, and nothing is told, taken or counted",
    arguments: [true, false])
  func apis(hasFastPath: Bool) async throws {
    try await withPortal(.live, configure: { $0.hasFastPath = hasFastPath }) { portal in
      try await portal.makeCatalog()
      try await portal.script("insert into apis (id, slug, name) values (gen_random_uuid(), 'other', 'Other')")
      let customer = try await portal.signUp()
      let backend = try await portal.makeToken([.readKeys, .writeKeys, .readCatalog])
      let catalog = try await portal.makeToken([.readCatalog])
      let id = try #require(try await portal.get("/v1/apis/orders", token: catalog).body["id"].string)
      let path = "/v1/accounts/\(customer.accountID.text)/keys"
      let made = try await portal.post(
        path, #"{"name":"Key","scopes":["a"],"rateLimitPerMinute":4,"apiId":"orders"}"#, token: backend)
      #expect(made.status == 201 && made.body["apiId"].string == id)
      let (key, keyID) = (try #require(made.body["key"].string), try #require(made.body["id"].string))
      let token = try await portal.makeToken()
      let bound = try await portal.makeToken([.verifyKeys, .writeUsage, .readKeys], for: [.name("other")])
      for _ in 1...2 {
        for (token, more) in [(token, #","api":"other""#), (bound, ""), (bound, #","api":"orders""#)] {
          let answer = try await portal.verify(key, token: token, more)
          #expect(answer.body == Self.notFound && answer.header("RateLimit") == nil, "\(more)")
        }
        let batch = try await portal.post(
          "/v1/verify/batch", #"{"requests":[{"key":"\#(key)"}]}"#, token: bound)
        #expect(batch.body["results"][0] == Self.notFound)
        let gate = try await portal.get("/v1/authorize", token: key, headers: ["X-Latchkey-Token": bound])
        #expect(gate.status == 401 && gate.header("X-Latchkey-Code") == "NOT_FOUND")
        #expect(try await portal.verify(key, token: token, #","api":"orders""#).body["code"].string == "VALID")
        #expect(try await portal.verify(key, token: token, #","api":"\#(id)""#).body["code"].string == "VALID")
      }
      #expect(try await portal.verify(key, token: token).body["code"].string == "RATE_LIMITED")
      expectProblem(try await portal.get("\(path)/\(keyID)", token: bound), 404, "not_found")
      #expect(try await portal.get(path, token: bound).body["keys"].array.isEmpty)
      expectProblem(
        try await customer.post("/v1/keys", #"{"name":"Key","scopes":["a"],"apiId":"orders"}"#), 400, "invalid_request",
        at: "body.apiId")
      expectProblem(
        try await portal.post(path, #"{"name":"Key","scopes":["a"],"apiId":"nonsense"}"#, token: backend), 400,
        "invalid_request", at: "body.apiId")
    }
  }

  @Test("an invalid query or api is refused with its place, and in a batch alone")
  func invalid() async throws {
    try await withPortal { portal in
      let customer = try await portal.signUp()
      let key = try await customer.createKey().key
      let token = try await portal.makeToken()
      for (more, location) in [
        (#","permissions":"""#, "body.permissions"), (#","permissions":"a b""#, "body.permissions"),
        (#","permissions":"(a""#, "body.permissions"), (#","permissions":["a"]"#, "body.permissions"),
        (#","api":"a b""#, "body.api"), (#","api":1"#, "body.api"),
      ] {
        let answer = try await portal.verify(key, token: token, more)
        expectProblem(answer, 400, "invalid_request", at: location, "\(more)")
      }
      let batch = try await portal.post(
        "/v1/verify/batch", #"{"requests":[{"key":"\#(key)","permissions":"OR"},{"key":"\#(key)"}]}"#, token: token)
      #expect(batch.body["results"].array.map { $0["code"].string } == ["INVALID_REQUEST", "VALID"])
      let gate = try await portal.get(
        "/v1/authorize", token: key, headers: ["X-Latchkey-Token": token, "X-Required-Permission": "a,b"])
      expectProblem(gate, 400, "invalid_request", at: "header.X-Required-Permission")
    }
  }
}
