import Foundation
import JSON
import Portal
import PortalAPI
import PortalHTTP
import PortalTesting
import Postgres
import Testing

private struct ListCreditEvents: PostgresStatement {
  typealias Row = String
  static let sql = """
    select concat_ws(' ', actor_kind, action, reason, ticket, detail) from audit_events
    where action like '%.credits_changed' order by seq
    """
}

@Suite("/v1/keys/{id}/credits and /v1/accounts/{id}/credits")
struct CreditsRoutesTests {
  private static let nobody = "018f4e6a-0000-7000-8000-000000000000"
  private static let names = ["credits", "propagation"]

  private func backend(_ portal: TestPortal) async throws -> String {
    try await portal.makeToken([.readAccounts, .writeAccounts, .readKeys, .writeKeys])
  }

  @Test("credits of a key are set, incremented and decremented, and its owner sees them but cannot change them")
  func key() async throws {
    try await withPortal { portal in
      let token = try await backend(portal)
      let customer = try await portal.signUp()
      let key = try await customer.createKey()
      let path = "/v1/keys/\(key.id)/credits"
      #expect(try await portal.get(path, token: token).body == .object([("credits", .null)]))
      let set = try await portal.post(path, #"{"operation":"set","value":10}"#, token: token)
      #expect(set.status == 200 && set.body.names == Self.names && set.body["credits"].names == Contract.credits)
      #expect(set.body["credits"]["remaining"].integer == 10 && set.body["credits"]["held"].integer == 0)
      #expect(set.body["credits"]["refill"] == .null && set.body["credits"]["refillAt"] == .null)
      expectPropagation(set.body["propagation"])
      let more = try await portal.post(path, #"{"operation":"increment","value":5}"#, token: token)
      #expect(more.body["credits"]["remaining"].integer == 15)
      let less = try await portal.post(path, #"{"operation":"decrement","value":100}"#, token: token)
      #expect(less.body["credits"]["remaining"].integer == 0)
      let found = try await customer.get("/v1/keys/" + key.id)
      #expect(found.body["credits"] == less.body["credits"])
      #expect(try await customer.get("/v1/keys").body["keys"].array.first?["credits"] == less.body["credits"])
      let change = try await customer.patch("/v1/keys/" + key.id, #"{"credits":{"remaining":5}}"#)
      expectProblem(change, 400, "invalid_request", at: "body.credits")
      let unlimited = try await portal.post(path, #"{"operation":"set","value":null}"#, token: token)
      #expect(unlimited.status == 200 && unlimited.body["credits"] == .null)
      expectProblem(
        try await portal.post(path, #"{"operation":"increment","value":5}"#, token: token), 409, "credits_unlimited")
    }
  }

  @Test("PUT replaces the balance and the refills, and a refill that is left out ends")
  func put() async throws {
    try await withPortal { portal in
      let token = try await backend(portal)
      let customer = try await portal.signUp()
      for path in [
        "/v1/keys/\(try await customer.createKey().id)/credits", "/v1/accounts/\(customer.accountID)/credits",
      ] {
        let refill = #"{"interval":"monthly","amount":100,"day":31}"#
        let answer = try await portal.put(path, #"{"remaining":7,"refill":\#(refill)}"#, token: token)
        #expect(answer.status == 200 && answer.body.names == Self.names, "\(path)")
        let credits = answer.body["credits"]
        #expect(credits["remaining"].integer == 7 && credits["refillAt"].isTime)
        #expect(JSONWriter.text(of: credits["refill"]) == refill)
        #expect(try await portal.get(path, token: token).body["credits"] == credits)
        let daily = try await portal.put(
          path, #"{"remaining":8,"refill":{"interval":"daily","amount":1}}"#, token: token)
        #expect(daily.body["credits"]["refill"]["interval"].string == "daily")
        #expect(daily.body["credits"]["refill"]["day"] == .null)
        #expect(try await portal.put(path, #"{"remaining":9}"#, token: token).body["credits"]["refill"] == .null)
        #expect(try await portal.put(path, #"{"remaining":null}"#, token: token).body["credits"] == .null)
      }
    }
  }

  @Test("keys and accounts are created and changed with credits")
  func settings() async throws {
    try await withPortal { portal in
      let token = try await backend(portal)
      let made = try await portal.post("/v1/accounts", #"{"name":"n","credits":{"remaining":50}}"#, token: token)
      let account = try #require(made.body["id"].string)
      #expect(made.status == 201 && made.body["credits"]["remaining"].integer == 50)
      let patched = try await portal.patch(
        "/v1/accounts/" + account, #"{"credits":{"refill":{"interval":"daily","amount":9}}}"#, token: token)
      #expect(patched.body["credits"]["remaining"].integer == 50)
      #expect(patched.body["credits"]["refill"]["amount"].integer == 9)
      #expect(try await portal.get("/v1/accounts/" + account, token: token).body["credits"] == patched.body["credits"])
      let keys = "/v1/accounts/\(account)/keys"
      let key = try await portal.post(
        keys, #"{"name":"k","scopes":[],"credits":{"remaining":3,"refill":null}}"#, token: token)
      #expect(key.status == 201 && key.body["credits"]["remaining"].integer == 3)
      let path = "\(keys)/\(try #require(key.body["id"].string))"
      let changed = try await portal.patch(path, #"{"name":"m","credits":{"remaining":4}}"#, token: token)
      #expect(changed.body["name"].string == "m" && changed.body["credits"]["remaining"].integer == 4)
      #expect(try await portal.get(path, token: token).body["credits"]["remaining"].integer == 4)
      let unlimited = try await portal.patch(path, #"{"credits":null}"#, token: token)
      #expect(unlimited.body["credits"] == .null)
      let plain = try await portal.post(keys, #"{"name":"k","scopes":[],"credits":null}"#, token: token)
      #expect(plain.status == 201 && plain.body["credits"] == .null)
    }
  }

  @Test("a repeat with the same Idempotency-Key changes nothing, and gets the first answer")
  func once() async throws {
    try await withPortal { portal in
      let token = try await backend(portal)
      let customer = try await portal.signUp()
      let path = "/v1/accounts/\(customer.accountID)/credits"
      _ = try await portal.put(path, #"{"remaining":10}"#, token: token)
      let headers = ["Idempotency-Key": "once", "Content-Type": "application/json"]
      func increment(_ value: Int, token: String) async throws -> TestAnswer {
        try await portal.request(
          "POST", path, bytes: Array(#"{"operation":"increment","value":\#(value)}"#.utf8), token: token,
          headers: headers)
      }
      for _ in 1...3 {
        #expect(try await increment(5, token: token).body["credits"]["remaining"].integer == 15)
      }
      expectProblem(try await increment(6, token: token), 409, "idempotency_conflict")
      // Each token has idempotency keys of its own.
      let other = try await portal.makeToken([.writeAccounts])
      #expect(try await increment(6, token: other).body["credits"]["remaining"].integer == 21)
    }
  }

  @Test("staff must state a reason, which the customer sees; a service token may state one")
  func reasons() async throws {
    try await withPortal { portal in
      let admin = try await portal.logInStaff(role: .admin)
      let token = try await backend(portal)
      let customer = try await portal.signUp()
      let path = "/v1/keys/\(try await customer.createKey().id)/credits"
      let operation = #""operation":"set","value":1"#
      let rows = try await portal.rowCount()
      expectProblem(
        try await portal.post(path, "{\(operation)}", token: admin), 400, "invalid_request", at: "body.reason")
      expectProblem(
        try await portal.put(path, #"{"remaining":1,"ticket":"T-1"}"#, token: token), 400, "invalid_request",
        at: "body.reason")
      #expect(try await portal.rowCount() == rows)
      let body = #"{\#(operation),"reason":"goodwill","ticket":"T-1"}"#
      #expect(try await portal.post(path, body, token: admin).status == 200)
      #expect(try await portal.post(path, "{\(operation)}", token: token).status == 200)
      #expect(
        try await portal.pool.query(ListCreditEvents()) == [
          "staff key.credits_changed goodwill T-1 set to 1", "token key.credits_changed set to 1",
        ])
    }
  }

  @Test("invalid values are refused with their location, and nothing is changed")
  func refused() async throws {
    try await withPortal { portal in
      let token = try await backend(portal)
      let customer = try await portal.signUp()
      let key = try await customer.createKey().id
      let rows = try await portal.rowCount()
      let max = CreditBalance.amountMax
      for (method, body, location) in [
        ("POST", #"{"value":1}"#, "body.operation"), ("POST", #"{"operation":"add","value":1}"#, "body.operation"),
        ("POST", #"{"operation":"set"}"#, "body.value"), ("POST", #"{"operation":"set","value":-1}"#, "body.value"),
        ("POST", #"{"operation":"set","value":1.5}"#, "body.value"),
        ("POST", #"{"operation":"set","value":\#(max + 1)}"#, "body.value"),
        ("POST", #"{"operation":"increment","value":0}"#, "body.value"),
        ("POST", #"{"operation":"decrement","value":null}"#, "body.value"),
        ("POST", #"{"operation":"set","value":1,"more":1}"#, "body.more"),
        ("PUT", "{}", "body.remaining"), ("PUT", #"{"remaining":"1"}"#, "body.remaining"),
        ("PUT", #"{"remaining":1,"refill":1}"#, "body.refill"),
        ("PUT", #"{"remaining":1,"refill":{}}"#, "body.refill.interval"),
        ("PUT", #"{"remaining":1,"refill":{"interval":"daily"}}"#, "body.refill.amount"),
        ("PUT", #"{"remaining":1,"refill":{"interval":"daily","amount":0}}"#, "body.refill.amount"),
        ("PUT", #"{"remaining":1,"refill":{"interval":"daily","amount":1,"day":1}}"#, "body.refill.day"),
        ("PUT", #"{"remaining":1,"refill":{"interval":"monthly","amount":1,"day":32}}"#, "body.refill.day"),
        ("PUT", #"{"remaining":1,"refill":{"interval":"weekly","amount":1}}"#, "body.refill.interval"),
        ("PUT", #"{"remaining":null,"refill":{"interval":"daily","amount":1}}"#, "body.refill"),
      ] {
        for path in ["/v1/keys/\(key)/credits", "/v1/accounts/\(customer.accountID)/credits"] {
          let answer = try await portal.request(
            method, path, bytes: Array(body.utf8), token: token, headers: ["Content-Type": "application/json"])
          expectProblem(answer, 400, "invalid_request", at: location, "\(method) \(body)")
        }
      }
      for body in [#"{"credits":{}}"#, #"{"credits":{"remaining":null}}"#, #"{"credits":7}"#] {
        let answer = try await portal.post("/v1/accounts", #"{"name":"n",\#(body.dropFirst())"#, token: token)
        #expect(answer.status == 400, "\(body)")
      }
      for path in ["/v1/keys/\(Self.nobody)/credits", "/v1/accounts/\(Self.nobody)/credits"] {
        expectProblem(try await portal.get(path, token: token), 404, "not_found")
        expectProblem(try await portal.put(path, #"{"remaining":1}"#, token: token), 404, "not_found")
      }
      #expect(try await portal.rowCount() == rows)
    }
  }

  @Test("a token for one environment does not find the credits of a key of another")
  func restricted() async throws {
    try await withPortal { portal in
      let customer = try await portal.signUp()
      let path = "/v1/keys/\(try await customer.createKey().id)/credits"
      let token = try await portal.services.serviceTokens.create(
        name: "t", permissions: [.readKeys, .writeKeys], environment: .test, by: Caller(actor: .command(name: "test"))
      ).secret.reveal()
      expectProblem(try await portal.get(path, token: token), 404, "not_found")
      expectProblem(try await portal.put(path, #"{"remaining":1}"#, token: token), 404, "not_found")
    }
  }
}
