import Foundation
import JSON
import Portal
import PortalAPI
import PortalHTTP
import PortalTesting
import Testing

@Suite("/v1/accounts/{id}/keys: an account's keys, managed by a company's own backend")
struct AccountKeysTests {
  private static let nobody = "018f4e6a-0000-7000-8000-000000000000"
  private static let body = #"{"name":"Key","scopes":["orders:read"]}"#

  private func keys(_ customer: TestCustomer, _ more: String = "") -> String {
    "/v1/accounts/\(customer.accountID.uuidString.lowercased())/keys" + more
  }

  @Test("a created key names the backend as its creator, in the response and in the customer's trail, and is valid")
  func create() async throws {
    try await withPortal { portal in
      let customer = try await portal.signUp()
      let token = try await portal.makeToken([.writeKeys, .verifyKeys])
      let answer = try await portal.post(keys(customer), Self.body, token: token)
      #expect(answer.status == 201 && answer.header("Cache-Control") == "no-store")
      expectKey(answer.body, ["key", "warning"])
      let id = try #require(answer.body["id"].string)
      #expect(answer.header("Location") == keys(customer, "/" + id))
      #expect(answer.header("ETag") == "\"1\"")
      #expect(answer.body["createdBy"]["kind"].string == "token")
      #expect(answer.body["createdBy"]["name"].string == "gateway")
      let key = try #require(answer.body["key"].string)
      #expect(try await portal.verify(key, token: token).body["code"].string == "VALID")
      let events = try await customer.get("/v1/audit?actor=token").body["events"].array
      #expect(events.map { $0["action"].string } == ["key.created"])
      #expect(events.first?["actor"]["id"] == answer.body["createdBy"]["id"])
      #expect(events.first?["actor"]["id"].isID == true)

      expectProblem(
        try await portal.post(keys(customer), #"{"name":"Key"}"#, token: token), 400, "invalid_request",
        at: "body.scopes")
      try await portal.script("update plans set key_cap = 1")
      expectProblem(try await portal.post(keys(customer), Self.body, token: token), 409, "key_cap_reached")
      try await portal.script("update accounts set suspended_at = now()")
      expectProblem(try await portal.post(keys(customer), Self.body, token: token), 403, "forbidden")
    }
  }

  @Test("a backend's key may be without scopes and without a limit; what is usual depends on the account")
  func unlimited() async throws {
    try await withPortal { portal in
      let token = try await portal.makeToken([.writeAccounts, .writeKeys])
      let customer = try await portal.signUp()
      let external = try await portal.post("/v1/accounts", #"{"name":"n"}"#, token: token).body["id"].string ?? ""
      let paths = [(keys(customer), JSONValue.number("60")), ("/v1/accounts/\(external)/keys", .null)]
      for (path, usual) in paths {
        let key = try await portal.post(path, #"{"name":"n","scopes":[]}"#, token: token)
        #expect(key.status == 201 && key.body["scopes"] == .array([]))
        #expect(key.body["rateLimitPerMinute"] == usual)
        for (limit, value) in [("null", JSONValue.null), ("7", .number("7"))] {
          let key = try await portal.post(
            path, #"{"name":"n","scopes":["a"],"rateLimitPerMinute":\#(limit)}"#, token: token)
          #expect(key.status == 201 && key.body["rateLimitPerMinute"] == value)
          let changed = try await portal.patch(
            path + "/" + (key.body["id"].string ?? ""), #"{"rateLimitPerMinute":null,"scopes":[]}"#, token: token)
          #expect(changed.body["rateLimitPerMinute"] == .null && changed.body["scopes"] == .array([]))
          // Without a limit of its own, a key has the plan's.
          let effective = changed.body["effective"]["rateLimitPerMinute"]
          #expect(effective == (usual == .null ? .null : .number("10000")))
          let rolled = try await portal.post(
            path + "/" + (key.body["id"].string ?? "") + "/roll", token: token)
          #expect(rolled.status == 201 && rolled.body["newKey"]["rateLimitPerMinute"] == .null)
        }
        for body in [#"{"name":"n"}"#, #"{"name":"n","scopes":[],"rateLimitPerMinute":0}"#] {
          expectProblem(try await portal.post(path, body, token: token), 400, "invalid_request")
        }
      }
      for body in [#"{"name":"n","scopes":[]}"#, #"{"name":"n","scopes":null}"#] {
        expectProblem(try await customer.post("/v1/keys", body), 400, "invalid_request", at: "body.scopes")
      }
      let own = try await customer.post("/v1/keys", #"{"name":"n","scopes":["a"],"rateLimitPerMinute":null}"#)
      #expect(own.status == 201 && own.body["rateLimitPerMinute"].integer == 60)
    }
  }

  @Test("the list, a key and its usage are the same that the customer sees")
  func read() async throws {
    try await withPortal { portal in
      let customer = try await portal.signUp()
      let other = try await portal.signUp("bob@example.com")
      _ = try await other.createKey()
      let id = try await customer.createKey(#","tags":["a"]"#).id
      _ = try await customer.createKey()
      let token = try await portal.makeToken([.readKeys])
      _ = try await portal.report([event(id)], token: try await portal.makeToken())
      for query in ["", "?limit=1", "?tag=a", "?status=revoked", "?q=key"] {
        let answer = try await portal.get(keys(customer, query), token: token)
        #expect(answer.status == 200)
        #expect(answer.body == (try await customer.get("/v1/keys" + query).body), "\(query)")
      }
      let cursor = try #require(
        try await portal.get(keys(customer, "?limit=1"), token: token).body["nextCursor"].string)
      let next = try await portal.get(keys(customer, "?limit=1&cursor=" + cursor), token: token)
      #expect(next.body["keys"].array.map { $0["id"].string } == [id])
      expectProblem(try await portal.get(keys(customer, "?limit=0"), token: token), 400, "invalid_request")

      let one = try await portal.get(keys(customer, "/" + id), token: token)
      let own = try await customer.get("/v1/keys/" + id)
      #expect(one.status == 200 && one.body == own.body)
      #expect(one.header("ETag") == "\"1\"")
      let usage = try await portal.get(keys(customer, "/\(id)/usage?days=2"), token: token)
      #expect(usage.status == 200 && usage.body["summary"]["successes"].integer == 1)
      #expect(usage.body["daily"].array.count == 2)
      expectProblem(
        try await portal.get(keys(customer, "/\(id)/usage?days=0"), token: token), 400, "invalid_request",
        at: "query.days")
    }
  }

  @Test("a key is changed with If-Match, rolled and revoked as by its customer, and the trail records it all")
  func change() async throws {
    try await withPortal { portal in
      let customer = try await portal.signUp()
      let (id, key) = try await customer.createKey()
      let token = try await portal.makeToken([.writeKeys, .verifyKeys])
      let path = keys(customer, "/" + id)
      let changed = try await portal.patch(path, #"{"name":"New"}"#, token: token, headers: ["If-Match": "\"1\""])
      #expect(changed.status == 200 && changed.body["name"].string == "New")
      expectKey(changed.body, ["propagation"])
      expectProblem(
        try await portal.patch(path, #"{"name":"Newer"}"#, token: token, headers: ["If-Match": "\"1\""]), 412,
        "precondition_failed")
      let rolled = try await portal.post(path + "/roll", #"{"graceSeconds":60}"#, token: token)
      #expect(rolled.status == 201 && rolled.body["oldKey"]["id"].string == id)
      let next = try #require(rolled.body["newKey"]["id"].string)
      #expect(rolled.header("Location") == keys(customer, "/" + next))
      #expect(try await portal.verify(key, token: token).body["code"].string == "VALID")
      let revoked = try await portal.delete(path, token: token)
      #expect(revoked.status == 200 && revoked.body.names == ["id", "revokedAt", "propagation"])
      #expect(try await portal.verify(key, token: token).body["code"].string == "REVOKED")
      expectProblem(try await portal.post(path + "/roll", token: token), 409, "key_not_active")
      let events = try await customer.get("/v1/audit?actor=token").body["events"].array
      #expect(events.map { $0["action"].string } == ["key.revoked", "key.rolled", "key.created", "key.updated"])
    }
  }

  private func requests(_ customer: String, _ id: String) -> [(method: String, path: String, body: String?)] {
    let path = "/v1/accounts/\(customer)/keys"
    return [
      ("GET", "\(path)/\(id)", nil), ("GET", "\(path)/\(id)/usage", nil),
      ("PATCH", "\(path)/\(id)", #"{"name":"m"}"#), ("POST", "\(path)/\(id)/roll", nil),
      ("DELETE", "\(path)/\(id)", nil),
    ]
  }

  private func expectNotFound(
    _ requests: [(method: String, path: String, body: String?)], _ portal: TestPortal, _ token: String
  ) async throws {
    let rows = try await portal.rowCount()
    for (method, path, body) in requests {
      let answer = try await portal.request(
        method, path, bytes: body.map { Array($0.utf8) }, token: token,
        headers: body == nil ? [:] : ["Content-Type": "application/json"])
      expectProblem(answer, 404, "not_found", "\(method) \(path)")
    }
    #expect(try await portal.rowCount() == rows)
  }

  @Test("an unknown account and another account's key are not found")
  func notFound() async throws {
    try await withPortal { portal in
      let customer = try await portal.signUp()
      let id = try await customer.createKey().id
      let other = try await portal.signUp("bob@example.com")
      let token = try await portal.makeToken([.readKeys, .writeKeys])
      #expect(try await portal.get(keys(other), token: token).body["keys"] == .array([]))
      for account in [Self.nobody, "x"] {
        let all: [(String, String, String?)] = [
          ("GET", "/v1/accounts/\(account)/keys", nil), ("POST", "/v1/accounts/\(account)/keys", Self.body),
        ]
        try await expectNotFound(requests(account, id) + all, portal, token)
      }
      let account = customer.accountID.uuidString
      for (account, id) in [(other.accountID.uuidString, id), (account, Self.nobody), (account, "x")] {
        try await expectNotFound(requests(account, id), portal, token)
      }
    }
  }

  @Test("a deleted account is not found, and neither are its revoked keys")
  func deleted() async throws {
    try await withPortal { portal in
      let customer = try await portal.signUp()
      let id = try await customer.createKey().id
      let token = try await portal.makeToken([.readKeys, .writeKeys])
      #expect(try await portal.get(keys(customer, "/" + id), token: token).status == 200)
      let answer = try await portal.deleteWithBody(
        "/v1/account", #"{"password":"correct horse battery"}"#, token: customer.token)
      #expect(answer.status == 200)
      let account = customer.accountID.uuidString
      let all: [(String, String, String?)] = [
        ("GET", "/v1/accounts/\(account)/keys", nil), ("GET", "/v1/accounts/\(account)/keys?status=revoked", nil),
        ("POST", "/v1/accounts/\(account)/keys", Self.body),
      ]
      try await expectNotFound(requests(account, id) + all, portal, token)
    }
  }

  @Test("a token restricted to one environment neither finds nor creates keys of the other")
  func restricted() async throws {
    try await withPortal { portal in
      let customer = try await portal.signUp()
      let live = try await customer.createKey().id
      let test = try await customer.createKey(#","environment":"test""#).id
      let token = try await portal.makeToken([.readKeys, .writeKeys], in: .test)
      try await expectNotFound(requests(customer.accountID.uuidString, live), portal, token)
      let list = try await portal.get(keys(customer), token: token).body["keys"].array
      #expect(list.map { $0["id"].string } == [test])
      let rows = try await portal.rowCount()
      for more in ["", #","environment":"live""#] {
        let answer = try await portal.post(keys(customer), #"{"name":"n","scopes":["a"]\#(more)}"#, token: token)
        expectProblem(answer, 403, "forbidden")
        #expect(answer.body["detail"].string?.contains("environment test") == true)
      }
      #expect(try await portal.rowCount() == rows)
      let made = try await portal.post(
        keys(customer), #"{"name":"n","scopes":["a"],"environment":"test"}"#, token: token)
      #expect(made.status == 201 && made.body["key"].string?.hasPrefix("lk_test_") == true)
      for (method, path, body) in requests(customer.accountID.uuidString, test) {
        let answer = try await portal.request(
          method, path, bytes: body.map { Array($0.utf8) }, token: token,
          headers: body == nil ? [:] : ["Content-Type": "application/json"])
        #expect((200...201).contains(answer.status), "\(method) \(path)")
      }
    }
  }

  @Test("repeats with an Idempotency-Key create one key; the same value from another token or the customer is separate")
  func idempotency() async throws {
    try await withPortal { portal in
      let customer = try await portal.signUp()
      let token = try await portal.makeToken([.writeKeys])
      let other = try await portal.makeToken([.writeKeys])
      func post(_ path: String, _ json: String, _ token: String) async throws -> TestAnswer {
        try await portal.post(path, json, token: token, headers: ["Idempotency-Key": "once"])
      }
      let first = try await post(keys(customer), Self.body, token)
      #expect(first.status == 201)
      let again = try await post(keys(customer), Self.body, token)
      #expect(again.status == 201 && again.body == first.body)
      #expect(again.header("Location") == first.header("Location"))
      expectProblem(
        try await post(keys(customer), #"{"name":"Other","scopes":["a"]}"#, token), 409, "idempotency_conflict")
      for (path, token) in [(keys(customer), other), ("/v1/keys", customer.token)] {
        let answer = try await post(path, Self.body, token)
        #expect(answer.status == 201 && answer.body["id"] != first.body["id"] && answer.body["key"].string != nil)
      }
      #expect(try await portal.keyCount() == 3)
      let id = try #require(first.body["id"].string)
      let rolls = try await [
        post(keys(customer, "/\(id)/roll"), "{}", other), post(keys(customer, "/\(id)/roll"), "{}", other),
      ]
      // This token has used the Idempotency-Key for another request.
      for roll in rolls { expectProblem(roll, 409, "idempotency_conflict") }
    }
  }
}
