import Foundation
import JSON
import Portal
import PortalAPI
import PortalHTTP
import PortalTesting
import Testing

@Suite("/v1/apis/{api}/keys and /v1/keys/{id}/move: keys for an api, for a customer or for nobody")
struct APIKeysTests {
  private static let body = #"{"name":"Key","scopes":[]"#

  private func backend(_ portal: TestPortal) async throws -> String {
    try await portal.makeCatalog()
    return try await portal.makeToken([.readAccounts, .writeAccounts, .readKeys, .writeKeys, .verifyKeys])
  }

  @Test("a key without an external id is in the api's house account, and works")
  func house() async throws {
    try await withPortal { portal in
      let token = try await backend(portal)
      var accounts: Set<String> = []
      for _ in 1...2 {
        let answer = try await portal.post("/v1/apis/orders/keys", Self.body + "}", token: token)
        #expect(answer.status == 201)
        expectKey(answer.body, ["key", "accountId", "warning"])
        #expect(answer.body["apiId"].isUUID && answer.body["rateLimitPerMinute"] == .null)
        let (account, id) = (answer.body["accountId"].string ?? "", answer.body["id"].string ?? "")
        accounts.insert(account)
        #expect(answer.header("Location") == "/v1/accounts/\(account)/keys/\(id)")
        #expect(answer.header("ETag") == "\"1\"")
        let verdict = try await portal.verify(answer.body["key"].string ?? "", token: token, #","api":"orders""#)
        #expect(verdict.body["code"].string == "VALID" && verdict.body["accountId"].string == account)
      }
      #expect(accounts.count == 1)
      let house = try #require(accounts.first)
      #expect(try await portal.get("/v1/accounts", token: token).body["accounts"] == .array([]))
      let listed = try await portal.get("/v1/accounts?kind=house", token: token).body["accounts"].array
      #expect(listed.map { $0["id"].string } == [house] && listed[0]["kind"].string == "house")
      #expect(try await portal.get("/v1/accounts/\(house)/keys", token: token).body["keys"].array.count == 2)
      for answer in [
        try await portal.patch("/v1/accounts/" + house, #"{"name":"x"}"#, token: token),
        try await portal.delete("/v1/accounts/" + house, token: token),
        try await portal.post(
          "/v1/accounts/\(house)/invitations", #"{"email":"a@example.com","role":"owner"}"#, token: token),
      ] { expectProblem(answer, 403, "forbidden") }
    }
  }

  @Test("an external id finds or makes the account; a repeat with an Idempotency-Key gets the same key")
  func external() async throws {
    try await withPortal { portal in
      let token = try await backend(portal)
      let body = Self.body + #","externalId":"cus_1"}"#
      let first = try await portal.post("/v1/apis/orders/keys", body, token: token, headers: ["Idempotency-Key": "1"])
      let again = try await portal.post("/v1/apis/orders/keys", body, token: token, headers: ["Idempotency-Key": "1"])
      let next = try await portal.post("/v1/apis/orders/keys", body, token: token)
      #expect(first.status == 201 && first.body == again.body && next.body["id"] != first.body["id"])
      let listed = try await portal.get("/v1/accounts?externalId=cus_1", token: token).body["accounts"].array
      #expect(listed.count == 1 && listed[0]["kind"].string == "external" && listed[0]["name"].string == "cus_1")
      #expect(first.body["accountId"] == listed[0]["id"] && next.body["accountId"] == listed[0]["id"])
    }
  }

  @Test("a refused request leaves no account behind")
  func refused() async throws {
    try await withPortal { portal in
      let token = try await backend(portal)
      for (more, place) in [
        (#","externalId":" x""#, "body.externalId"), (#","externalId":7"#, "body.externalId"),
        (#","apiId":"orders""#, "body.apiId"), (#","prefix":"A""#, "body.prefix"),
        (#","byteLength":15"#, "body.byteLength"), (#","byteLength":256"#, "body.byteLength"),
        (#","externalId":"cus_1","tags":["A"]"#, "body.tags[0]"),
      ] {
        let answer = try await portal.post("/v1/apis/orders/keys", Self.body + more + "}", token: token)
        expectProblem(answer, 400, "invalid_request", at: place, "\(more)")
      }
      try await portal.script("update plans set scopes = '{x}' where name = 'external'")
      let answer = try await portal.post(
        "/v1/apis/orders/keys", #"{"name":"Key","scopes":["a"],"externalId":"cus_1"}"#, token: token)
      expectProblem(answer, 403, "scope_not_allowed", at: "body.scopes[0]")
      expectProblem(try await portal.post("/v1/apis/nobody/keys", Self.body + "}", token: token), 404, "not_found")
      #expect(try await portal.get("/v1/accounts", token: token).body["accounts"] == .array([]))
    }
  }

  @Test("a backend chooses a key's prefix and length, which its successor has as well; a customer cannot")
  func material() async throws {
    try await withPortal { portal in
      let token = try await backend(portal)
      let made = try await portal.post(
        "/v1/apis/orders/keys", Self.body + #","prefix":"shop","byteLength":16}"#, token: token)
      #expect(made.status == 201 && made.body["prefix"].string == "shop")
      #expect(made.body["byteLength"] == .number("16"))
      let key = try #require(made.body["key"].string)
      #expect(key.hasPrefix("shop_live_") && key.utf8.count == 10 + 22 + 6)
      #expect(made.body["start"].string == String(key.prefix(14)))
      let path = try #require(made.header("Location"))
      let longer = try await portal.patch(path, #"{"byteLength":255,"prefix":null}"#, token: token)
      #expect(longer.status == 200 && longer.body["start"] == made.body["start"])
      #expect(longer.body["prefix"] == .null && longer.body["byteLength"] == .number("255"))
      let rolled = try await portal.post(path + "/roll", "{}", token: token)
      let successor = try #require(rolled.body["newKey"]["key"].string)
      #expect(successor.hasPrefix("lk_live_") && successor.utf8.count == 8 + 343 + 6)
      #expect(rolled.body["newKey"]["start"].string == String(successor.prefix(12)))
      #expect(try await portal.verify(successor, token: token).body["code"].string == "VALID")
      let customer = try await portal.signUp()
      let refused = try await customer.post("/v1/keys", #"{"name":"n","scopes":["a"],"prefix":"shop"}"#)
      expectProblem(refused, 400, "invalid_request", at: "body.prefix")
    }
  }

  @Test("a moved key is the other account's; the customers see it in their lists and trails")
  func move() async throws {
    try await withPortal { portal in
      let token = try await backend(portal)
      let customer = try await portal.signUp()
      let (id, key) = try await customer.createKey()
      let path = "/v1/keys/\(id)/move"
      for (body, place) in [
        ("{}", "body.accountId"), (#"{"accountId":"x"}"#, "body.accountId"),
        (#"{"accountId":"\#(id)","externalId":"cus_1"}"#, "body.accountId"),
        (#"{"externalId":"cus_1"}"#, "body.externalId"),
        (#"{"accountId":"018f4e6a-0000-7000-8000-000000000000"}"#, "body.accountId"),
      ] {
        expectProblem(try await portal.post(path, body, token: token), 400, "invalid_request", at: place, "\(body)")
      }
      let other = try await portal.post("/v1/accounts", #"{"name":"n","externalId":"cus_1"}"#, token: token)
      let moved = try await portal.post(path, #"{"externalId":"cus_1"}"#, token: token)
      #expect(moved.status == 200 && moved.body["accountId"] == other.body["id"])
      expectKey(moved.body, ["accountId", "propagation"])
      #expect(moved.header("ETag") != nil)
      #expect(try await customer.get("/v1/keys").body["keys"] == .array([]))
      #expect(try await customer.get("/v1/audit").body["events"][0]["action"].string == "key.moved")
      let verdict = try await portal.verify(key, token: token)
      #expect(verdict.body["code"].string == "VALID" && verdict.body["accountId"] == other.body["id"])
      let nobody = "/v1/keys/018f4e6a-0000-7000-8000-000000000000/move"
      expectProblem(try await portal.post(nobody, #"{"externalId":"cus_1"}"#, token: token), 404, "not_found")
    }
  }
}

extension JSONValue {
  fileprivate var isUUID: Bool { string.flatMap { UUID(uuidString: $0) } != nil }
}
