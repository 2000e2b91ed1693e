import Foundation
import PortalAPI
import PortalHTTP
import PortalTesting
import PostgresTesting
import Testing

@Suite("Idempotency-Key on POST /v1/keys and POST /v1/keys/{id}/roll")
struct IdempotencyKeyTests {
  private static let body =
    #"{"name":"Key","scopes":["orders:read"],"limits":[{"name":"burst","limit":5,"windowSeconds":1}]}"#

  private func post(
    _ customer: TestCustomer, _ path: String = "/v1/keys", _ json: String? = body, key: String = "once",
    token: String? = nil
  ) async throws -> TestAnswer {
    try await customer.portal.post(path, json, token: token ?? customer.token, headers: ["Idempotency-Key": key])
  }

  private func logIn(_ portal: TestPortal) async throws -> String {
    let answer = try await portal.post(
      "/v1/login", #"{"email":"ada@example.com","password":"correct horse battery"}"#)
    return try #require(answer.body["token"].string)
  }

  @Test("fifty concurrent repeats create one key, and all get the first response, byte for byte")
  func create() async throws {
    try await withPortal { portal in
      let ada = try await portal.signUp()
      let answers = try await withThrowingTaskGroup(of: TestAnswer.self) { group in
        for _ in 0..<50 { group.addTask { try await post(ada) } }
        return try await group.reduce(into: [TestAnswer]()) { $0.append($1) }
      }
      expectKey(answers[0].body, ["key", "warning"])
      #expect(answers[0].body["key"].string?.hasPrefix("lk_live_") == true)
      for answer in answers {
        #expect(answer.status == 201 && answer.body == answers[0].body)
        #expect(answer.header("Location") == answers[0].header("Location"))
        #expect(answer.header("Cache-Control") == "no-store")
      }
      #expect(try await portal.keyCount() == 1)
      let verdict = try await portal.verify(
        answers[0].body["key"].string ?? "", token: try await portal.makeToken())
      #expect(verdict.body["code"].string == "VALID")
    }
  }

  @Test("a repeated roll rolls once, and returns the same keys")
  func roll() async throws {
    try await withPortal { portal in
      let ada = try await portal.signUp()
      let path = "/v1/keys/\(try await ada.createKey().id)/roll"
      let first = try await post(ada, path, #"{"graceSeconds":60}"#)
      #expect(first.status == 201)
      let again = try await post(ada, path, #"{"graceSeconds":60}"#)
      #expect(again.status == 201 && again.body.names == first.body.names)
      for name in ["newKey", "oldKey", "warning"] { #expect(again.body[name] == first.body[name]) }
      expectPropagation(again.body["propagation"])
      #expect(again.header("Location") == first.header("Location"))
      #expect(try await portal.keyCount() == 2)
      // No body is the same as an empty object.
      let next = "/v1/keys/\(first.body["newKey"]["id"].string ?? "")/roll"
      let bare = try await post(ada, next, nil, key: "bare")
      #expect(bare.status == 201)
      #expect(try await post(ada, next, "{}", key: "bare").body["newKey"] == bare.body["newKey"])
    }
  }

  @Test("another session of the same account gets the response without the secret")
  func otherSession() async throws {
    try await withPortal { portal in
      let ada = try await portal.signUp()
      let first = try await post(ada)
      let other = try await post(ada, token: try await logIn(portal))
      #expect(other.status == 201 && other.body.names == first.body.names)
      for name in first.body.names {
        #expect(other.body[name] == (name == "key" ? .null : first.body[name]), "\(name)")
      }
      #expect(try await post(ada).body == first.body)
      let path = "/v1/keys/\(first.body["id"].string ?? "")/roll"
      let rolled = try await post(ada, path, nil, key: "roll")
      let again = try await post(ada, path, nil, key: "roll", token: try await logIn(portal))
      #expect(rolled.body["newKey"]["key"].string != nil && again.body["newKey"]["key"] == .null)
      #expect(again.body["newKey"]["id"] == rolled.body["newKey"]["id"])
    }
  }

  @Test("members in another order are the same request; any other difference is a conflict")
  func conflicts() async throws {
    try await withPortal { portal in
      let ada = try await portal.signUp()
      let first = try await post(ada)
      let reordered =
        #" {"limits": [{"windowSeconds":1, "limit":5, "name":"burst"}], "scopes":["orders:read"], "name":"Key"} "#
      #expect(try await post(ada, "/v1/keys", reordered).body == first.body)
      let id = first.body["id"].string ?? ""
      for (path, json) in [
        ("/v1/keys", #"{"name":"Key","scopes":["orders:read"]}"#),
        ("/v1/keys", Self.body.replacing("Key", with: "Other")),
        ("/v1/keys", Self.body.replacing("5", with: "5.0")), ("/v1/keys/\(id)/roll", "{}"),
      ] {
        expectProblem(try await post(ada, path, json), 409, "idempotency_conflict")
      }
      let eve = try await portal.signUp("eve@example.com")
      #expect(try await post(eve).body["id"] != first.body["id"])
      #expect(try await portal.keyCount() == 2)
    }
  }

  @Test("a refused request is not stored, and a repeat succeeds although its expiry has passed")
  func refusals() async throws {
    try await withPortal { portal in
      let ada = try await portal.signUp()
      expectProblem(try await post(ada, "/v1/keys", #"{"name":"Key"}"#), 400, "invalid_request", at: "body.scopes")
      let expiry = Date().addingTimeInterval(6).formatted(.iso8601)
      let body = #"{"name":"Key","scopes":["a"],"expiresAt":"\#(expiry)"}"#
      let first = try await post(ada, "/v1/keys", body)
      #expect(first.status == 201)
      try await eventually("the expiry has come") {
        try await ada.get("/v1/keys/\(first.body["id"].string ?? "")").body["status"].string == "expired"
      }
      expectProblem(
        try await post(ada, "/v1/keys", body, key: "another"), 400, "invalid_request", at: "body.expiresAt")
      #expect(try await post(ada, "/v1/keys", body).body == first.body)
      try await ada.becomeViewer()
      for json in [body, Self.body] {
        expectProblem(try await post(ada, "/v1/keys", json), 403, "forbidden")
      }
    }
  }

  @Test(
    "an invalid key is refused with its location, also behind the HTTP decoder",
    arguments: ["", String(repeating: "x", count: 256), "ключ", "caf\u{E9}"], [TestTransport.router, .live])
  func wrong(_ key: String, _ transport: TestTransport) async throws {
    try await withPortal(transport) { portal in
      let ada = try await portal.signUp()
      expectProblem(try await post(ada, key: key), 400, "invalid_request", at: "header.Idempotency-Key")
      #expect(try await portal.keyCount() == 0)
    }
  }

  @Test("the longest allowed key is accepted")
  func longest() async throws {
    try await withPortal(.live) { portal in
      let ada = try await portal.signUp()
      let key = (0..<255).map { String(UnicodeScalar(UInt8(0x21 + $0 % 94))) }.joined()
      let first = try await post(ada, key: key)
      #expect(first.status == 201)
      #expect(try await post(ada, key: key).body == first.body)
    }
  }
}
