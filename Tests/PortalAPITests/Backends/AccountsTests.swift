import Foundation
import JSON
import Portal
import PortalAPI
import PortalHTTP
import PortalTesting
import Postgres
import Testing

/// The actions of an account's events with their details.
private struct ListDetails: PostgresStatement {
  typealias Row = String
  static let sql = """
    select action || ': ' || detail from audit_events where account_id is not null order by seq
    """
}

@Suite("/v1/accounts: accounts of customers, managed by a company's own backend")
struct BackendAccountsTests {
  private static let nobody = "018f4e6a-0000-7000-8000-000000000000"
  private static let names = [
    "id", "name", "kind", "externalId", "metadata", "plan", "limits", "suspendedAt", "createdAt", "credits",
  ]

  private func backend(_ portal: TestPortal) async throws -> String {
    try await portal.makeToken([.readAccounts, .writeAccounts, .readKeys, .writeKeys, .verifyKeys])
  }

  @discardableResult
  private func create(_ portal: TestPortal, _ externalID: String, token: String) async throws -> String {
    let answer = try await portal.post(
      "/v1/accounts", #"{"name":"Widgets","externalId":"\#(externalID)"}"#, token: token)
    return try #require(answer.body["id"].string)
  }

  @Test("a created account is external, under the plan without limits, and is found by its ids")
  func create() async throws {
    try await withPortal { portal in
      let token = try await backend(portal)
      let answer = try await portal.post(
        "/v1/accounts", #"{"name":" Widgets ","externalId":"cus_1","metadata":{"b":1,"a":1.0}}"#, token: token)
      #expect(answer.status == 201 && answer.body.names == Self.names && answer.body["id"].isID)
      let id = try #require(answer.body["id"].string)
      #expect(answer.header("Location") == "/v1/accounts/" + id)
      #expect(answer.body["name"].string == "Widgets" && answer.body["kind"].string == "external")
      #expect(answer.body["plan"].names == Contract.plan && answer.body["plan"]["name"].string == "external")
      #expect(answer.body["plan"]["keyCap"] == .null && answer.body["plan"]["rateLimitPerMinuteMax"] == .null)
      #expect(JSONWriter.text(of: answer.body["metadata"]) == #"{"b":1,"a":1.0}"#)
      #expect(try await portal.get("/v1/accounts/" + id, token: token).body == answer.body)
      let list = try await portal.get("/v1/accounts?externalId=cus_1", token: token)
      #expect(list.body.names == ["accounts", "nextCursor"] && list.body["accounts"].array == [answer.body])
      for query in ["externalId=cus_2", "externalId=cus_1&kind=customer"] {
        #expect(try await portal.get("/v1/accounts?" + query, token: token).body["accounts"] == .array([]))
      }
      let plain = try await portal.post("/v1/accounts", #"{"name":"n","plan":"default"}"#, token: token)
      #expect(plain.status == 201 && plain.body["externalId"] == .null && plain.body["metadata"] == .null)
      #expect(plain.body["plan"]["name"].string == "default" && plain.body["kind"].string == "external")
    }
  }

  @Test("the same path lists a person's own accounts to the person, and all accounts to a service token, in pages")
  func list() async throws {
    try await withPortal { portal in
      let customer = try await portal.signUp()
      let token = try await backend(portal)
      let external = try await create(portal, "cus_1", token: token)
      let own = try await customer.get("/v1/accounts").body["accounts"].array
      #expect(own.map { $0["id"].string } == [customer.accountID.uuidString.lowercased()])
      let first = try await portal.get("/v1/accounts?limit=1", token: token)
      #expect(first.body["accounts"].array.map { $0["id"].string } == [external])
      let cursor = try #require(first.body["nextCursor"].string)
      let next = try await portal.get("/v1/accounts?limit=1&cursor=" + cursor, token: token)
      #expect(next.body["accounts"].array.map { $0["id"].string } == [customer.accountID.uuidString.lowercased()])
      #expect(next.body["nextCursor"] == .null)
      for query in ["limit=1", "externalId=cus_1", "kind=external"] {
        let name = query.prefix { $0 != "=" }
        expectProblem(try await customer.get("/v1/accounts?" + query), 400, "invalid_request", at: "query.\(name)")
      }
      for (query, place) in [
        ("limit=0", "limit"), ("kind=staff", "kind"), ("externalId=", "externalId"), ("externalId=%20a", "externalId"),
        ("externalId=" + String(repeating: "a", count: 201), "externalId"), ("q=a", "q"),
      ] {
        expectProblem(
          try await portal.get("/v1/accounts?" + query, token: token), 400, "invalid_request", at: "query." + place)
      }
    }
  }

  @Test(
    "an invalid body is refused with its location, and nothing is created",
    arguments: [
      (#"{}"#, "body.name"), (#"{"name":""}"#, "body.name"), (#"{"name":"n","externalId":""}"#, "body.externalId"),
      (#"{"name":"n","externalId":1}"#, "body.externalId"), (#"{"name":"n","externalId":" a"}"#, "body.externalId"),
      (#"{"name":"n","externalId":"a\u0000"}"#, "body"),
      ("{\"name\":\"n\",\"externalId\":\"" + String(repeating: "a", count: 201) + "\"}", "body.externalId"),
      (#"{"name":"n","metadata":[]}"#, "body.metadata"),
      (#"{"name":"n","metadata":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{}}}}}}}}}}"#, "body.metadata"),
      ("{\"name\":\"n\",\"metadata\":{\"a\":\"" + String(repeating: "a", count: 16 << 10) + "\"}}", "body.metadata"),
      (#"{"name":"n","plan":"gold"}"#, "body.plan"), (#"{"name":"n","kind":"customer"}"#, "body.kind"),
    ])
  func invalid(_ body: String, _ place: String) async throws {
    try await withPortal { portal in
      let token = try await backend(portal)
      let rows = try await portal.rowCount()
      expectProblem(try await portal.post("/v1/accounts", body, token: token), 400, "invalid_request", at: place)
      #expect(try await portal.rowCount() == rows)
    }
  }

  @Test("an external id is taken until its account is deleted")
  func taken() async throws {
    try await withPortal { portal in
      let token = try await backend(portal)
      let id = try await create(portal, "cus_1", token: token)
      let other = try await create(portal, "cus_2", token: token)
      let rows = try await portal.rowCount()
      expectProblem(
        try await portal.post("/v1/accounts", #"{"name":"n","externalId":"cus_1"}"#, token: token), 409,
        "external_id_taken")
      expectProblem(
        try await portal.patch("/v1/accounts/" + other, #"{"externalId":"cus_1"}"#, token: token), 409,
        "external_id_taken")
      #expect(try await portal.rowCount() == rows)
      let deleted = try await portal.delete("/v1/accounts/" + id, token: token)
      #expect(deleted.status == 200 && deleted.body.names == ["id", "deletedAt", "revokedKeys", "propagation"])
      let again = try await create(portal, "cus_1", token: token)
      #expect(again != id)
    }
  }

  @Test("repeats with an Idempotency-Key create one account, also at once; another token's are separate")
  func idempotency() async throws {
    try await withPortal { portal in
      let (token, other) = (try await backend(portal), try await backend(portal))
      @Sendable func post(_ json: String, _ token: String) async throws -> TestAnswer {
        try await portal.post("/v1/accounts", json, token: token, headers: ["Idempotency-Key": "once"])
      }
      let body = #"{"name":"Widgets","externalId":"cus_1"}"#
      let answers = try await withThrowingTaskGroup(of: TestAnswer.self) { group in
        for _ in 1...8 { group.addTask { try await post(body, token) } }
        return try await group.reduce(into: []) { $0.append($1) }
      }
      #expect(answers.allSatisfy { $0.status == 201 && $0.body == answers[0].body })
      let id = try #require(answers[0].body["id"].string)
      #expect(answers.allSatisfy { $0.header("Location") == "/v1/accounts/" + id })
      #expect(try await portal.get("/v1/accounts", token: token).body["accounts"].array.count == 1)
      // As it was shown then, whatever has changed since.
      _ = try await portal.patch("/v1/accounts/" + id, #"{"name":"Other"}"#, token: token)
      #expect(try await post(body, token).body == answers[0].body)
      expectProblem(try await post(#"{"name":"Other"}"#, token), 409, "idempotency_conflict")
      expectProblem(try await post(body, other), 409, "external_id_taken")
      #expect(try await post(#"{"name":"Other"}"#, other).status == 201)
      // A refused request is not remembered.
      let third = try await backend(portal)
      expectProblem(try await post(#"{"name":"n","plan":"gold"}"#, third), 400, "invalid_request")
      #expect(try await post(#"{"name":"n"}"#, third).status == 201)
      // After a day the key is free.
      try await portal.script("update account_requests set created_at = now() - interval '25 hours'")
      expectProblem(try await post(body, token), 409, "external_id_taken")
    }
  }

  @Test("a change is answered with the account, and null removes what may be missing")
  func update() async throws {
    try await withPortal { portal in
      let token = try await backend(portal)
      let id = try await create(portal, "cus_1", token: token)
      let path = "/v1/accounts/" + id
      let changed = try await portal.patch(
        path, #"{"name":"Other","externalId":null,"metadata":{"a":1},"plan":"default"}"#, token: token)
      #expect(changed.status == 200 && changed.body.names == Self.names + ["propagation"])
      expectPropagation(changed.body["propagation"])
      #expect(changed.body["name"].string == "Other" && changed.body["externalId"] == .null)
      #expect(changed.body["plan"]["name"].string == "default" && changed.body["kind"].string == "external")
      #expect(try await portal.patch(path, #"{"metadata":null}"#, token: token).body["metadata"] == .null)
      let rows = try await portal.rowCount()
      for (body, place) in [
        (#"{"name":null}"#, "body.name"), (#"{"plan":null}"#, "body.plan"), (#"{"plan":"gold"}"#, "body.plan"),
        (#"{"kind":"customer"}"#, "body.kind"),
      ] {
        expectProblem(try await portal.patch(path, body, token: token), 400, "invalid_request", at: place)
      }
      #expect(try await portal.patch(path, "{}", token: token).status == 200)
      #expect(try await portal.rowCount() == rows)
    }
  }

  @Test("an unknown or deleted account is not found")
  func notFound() async throws {
    try await withPortal { portal in
      let token = try await backend(portal)
      let id = try await create(portal, "cus_1", token: token)
      _ = try await portal.delete("/v1/accounts/" + id, token: token)
      for id in [id, Self.nobody, "x"] {
        let path = "/v1/accounts/" + id
        let rows = try await portal.rowCount()
        for answer in try await [
          portal.get(path, token: token), portal.patch(path, #"{"name":"n"}"#, token: token),
          portal.delete(path, token: token), portal.get(path + "/keys", token: token),
          portal.post(path + "/keys", #"{"name":"n","scopes":[]}"#, token: token),
          portal.post(path + "/invitations", #"{"email":"a@example.com","role":"owner"}"#, token: token),
        ] {
          expectProblem(answer, 404, "not_found", "\(path)")
        }
        #expect(try await portal.rowCount() == rows)
      }
    }
  }

  @Test("the first person is invited as an owner, and makes the account a customer's; its keys stay")
  func invite() async throws {
    try await withPortal { portal in
      let token = try await backend(portal)
      let id = try await create(portal, "cus_1", token: token)
      let key = try await portal.post("/v1/accounts/\(id)/keys", #"{"name":"n","scopes":[]}"#, token: token)
      let path = "/v1/accounts/\(id)/invitations"
      for (body, place) in [
        (#"{"email":"a@example.com","role":"viewer"}"#, "body.role"),
        (#"{"email":"a@example.com","role":"owner","plan":"gold"}"#, "body.plan"), (#"{"role":"owner"}"#, "body.email"),
      ] {
        expectProblem(try await portal.post(path, body, token: token), 400, "invalid_request", at: place)
      }
      let invitation = try await portal.post(path, #"{"email":"ada@example.com","role":"owner"}"#, token: token)
      #expect(invitation.status == 201 && invitation.body["invitedBy"].string == "gateway")
      let secret = try #require(invitation.body["token"].string)
      let accepted = try await portal.post(
        "/v1/accept-invitation", "{\"token\":\"\(secret)\",\"password\":\"correct horse battery\"}")
      #expect(accepted.status == 200 && accepted.body["role"].string == "owner")
      let account = try await portal.get("/v1/accounts/" + id, token: token).body
      #expect(account["kind"].string == "customer" && account["plan"]["name"].string == "default")
      let login = try await portal.post(
        "/v1/login", #"{"email":"ada@example.com","password":"correct horse battery"}"#)
      let session = try #require(login.body["token"].string)
      let keys = try await portal.get("/v1/keys", token: session).body["keys"].array
      #expect(keys.map { $0["id"] } == [key.body["id"]] && keys[0]["status"].string == "active")
      #expect(
        try await portal.get("/v1/audit", token: session).body["events"].array.map { $0["action"].string }
          == [
            "session.opened", "member.joined", "account.plan_changed", "member.invited", "key.created",
            "account.created",
          ])
      // A customer gives a key scopes and a limit, and cannot take them away.
      let own = "/v1/keys/" + (key.body["id"].string ?? "")
      for body in [#"{"scopes":[]}"#, #"{"rateLimitPerMinute":null}"#] {
        expectProblem(try await portal.patch(own, body, token: session), 400, "invalid_request")
      }
      #expect(try await portal.patch(own, #"{"name":"m"}"#, token: session).body["scopes"] == .array([]))
    }
  }

  @Test("X-On-Behalf-Of is in the detail of the events of a change, and a wrong one is refused before it")
  func onBehalf() async throws {
    try await withPortal { portal in
      let token = try await backend(portal)
      let made = try await portal.post(
        "/v1/accounts", #"{"name":"n"}"#, token: token, headers: ["X-On-Behalf-Of": "agent 12"])
      let id = try #require(made.body["id"].string)
      for (index, name) in ["grace@example.com", "a"].enumerated() {
        let key = try await portal.post(
          "/v1/accounts/\(id)/keys", #"{"name":"n","scopes":[]}"#, token: token, headers: ["X-On-Behalf-Of": name])
        #expect(key.status == 201, "\(index)")
      }
      #expect(
        try await portal.pool.query(ListDetails())
          == [
            "account.created: on behalf of agent 12", "key.created: on behalf of grace@example.com",
            "key.created: on behalf of a",
          ])
      let rows = try await portal.rowCount()
      for name in ["", "Zoë", "\u{202e}a", String(repeating: "a", count: 201)] {
        expectProblem(
          try await portal.patch(
            "/v1/accounts/" + id, #"{"name":"m"}"#, token: token, headers: ["X-On-Behalf-Of": name]), 400,
          "invalid_request", at: "header.X-On-Behalf-Of")
      }
      #expect(try await portal.rowCount() == rows)
    }
  }

  @Test("a token with accounts.write cannot be restricted to one environment, since keys of both end with an account")
  func environment() async throws {
    try await withPortal { portal in
      await #expect(throws: PortalError.self) { try await portal.makeToken([.writeAccounts], in: .test) }
      let reader = try await portal.makeToken([.readAccounts], in: .test)
      #expect(try await portal.get("/v1/accounts", token: reader).status == 200)
    }
  }
}
