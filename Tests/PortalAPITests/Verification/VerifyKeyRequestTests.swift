import Foundation
import Portal
import PortalAPI
import PortalHTTP
import PortalTesting
import Testing

@Suite("Requests and callers of POST /v1/verify")
struct VerifyKeyRequestTests {
  @Test("without a valid service token it is unauthenticated, and without the permission forbidden")
  func tokens() async throws {
    try await withPortal { portal in
      let customer = try await portal.signUp()
      let (_, key) = try await customer.createKey()
      let body = "{\"key\":\"\(key)\"}"
      let expired = try await portal.makeToken()
      try await portal.script("update service_tokens set expires_at = now()")
      let good = try await portal.makeToken()
      for authorization in [
        nil, "", "Bearer", "Bearer ", "Bearer x", "Basic " + good, good, "Bearer " + good + "x",
        "Bearer " + Secret.random(prefix: "lk_svc").reveal(), "Bearer " + expired, "Bearer " + customer.token,
        "Bearer " + key, "Bearer " + (try await portal.logInStaff()),
      ] {
        let answer = try await portal.post(
          "/v1/verify", body, headers: authorization.map { ["Authorization": $0] } ?? [:])
        expectProblem(answer, 401, "unauthenticated", "\(authorization ?? "")")
        #expect(answer.header("WWW-Authenticate") == "Bearer realm=\"latchkey\"")
      }
      expectProblem(
        try await portal.post("/v1/verify", body, headers: ["X-Latchkey-Token": good]), 401, "unauthenticated")

      let others = ServiceToken.Permission.allCases.filter { $0 != .verifyKeys }
      let refused = try await portal.verify(key, token: try await portal.makeToken(others))
      expectProblem(refused, 403, "forbidden")
      #expect(refused.body["detail"].string?.contains("keys.verify") == true)
      #expect(try await portal.verify(key, token: try await portal.makeToken([.verifyKeys])).status == 200)
    }
  }

  @Test("a service token is refused once the response to its revocation has arrived")
  func revokedToken() async throws {
    try await withPortal { portal in
      let tokens = ServiceTokens(pool: portal.pool, propagations: Propagations(pool: portal.pool))
      for _ in 0..<5 {
        let made = try await tokens.create(
          name: "gateway", permissions: [.verifyKeys], by: Caller(actor: .command(name: "test")))
        #expect(try await portal.verify("x", token: made.secret.reveal()).status == 200)
        _ = try await tokens.revoke(made.id, by: Caller(actor: .command(name: "test")))
        expectProblem(try await portal.verify("x", token: made.secret.reveal()), 401, "unauthenticated")
      }
    }
  }

  @Test("an invalid member is refused with its location")
  func members() async throws {
    try await withPortal { portal in
      let token = try await portal.makeToken()
      let long = { String(repeating: "a", count: $0) }
      for (body, location) in [
        ("{}", "body.key"), (#"{"key":null}"#, "body.key"), (#"{"key":1}"#, "body.key"),
        (#"{"key":["k"]}"#, "body.key"), (#"{"key":"","cost":0}"#, "body.cost"),
        (#"{"key":"k","clientIP":"unknown"}"#, "body.clientIP"),
        (#"{"key":"k","scope":""}"#, "body.scope"), (#"{"key":"k","scope":"Orders"}"#, "body.scope"),
        (#"{"key":"k","scope":"a b"}"#, "body.scope"), (#"{"key":"k","scope":["a"]}"#, "body.scope"),
        ("{\"key\":\"k\",\"scope\":\"\(long(65))\"}", "body.scope"), (#"{"key":"k","scopes":"a"}"#, "body.scopes"),
        (#"{"key":"k","scopes":{"a":1}}"#, "body.scopes"), (#"{"key":"k","scopes":["a",null]}"#, "body.scopes[1]"),
        (#"{"key":"k","scopes":["A"]}"#, "body.scopes[0]"), (#"{"key":"k","scopes":["a","b",1]}"#, "body.scopes[2]"),
        ("{\"key\":\"k\",\"scopes\":[\(Array(repeating: "\"a\"", count: 65).joined(separator: ","))]}", "body.scopes"),
        (#"{"key":"k","clientIP":""}"#, "body.clientIP"), (#"{"key":"k","clientIP":"192.0.2"}"#, "body.clientIP"),
        (#"{"key":"k","clientIP":"192.0.2.0/24"}"#, "body.clientIP"), (#"{"key":"k","clientIP":1}"#, "body.clientIP"),
        (#"{"key":"k","clientIP":"192.0.2.1:80"}"#, "body.clientIP"),
        (#"{"key":"k","clientIP":"fe80::1%eth0"}"#, "body.clientIP"),
        (#"{"key":"k","endpoint":""}"#, "body.endpoint"), (#"{"key":"k","endpoint":7}"#, "body.endpoint"),
        ("{\"key\":\"k\",\"endpoint\":\"\(long(201))\"}", "body.endpoint"), (#"{"key":"k","cost":0}"#, "body.cost"),
        (#"{"key":"k","cost":-1}"#, "body.cost"), (#"{"key":"k","cost":1001}"#, "body.cost"),
        (#"{"key":"k","cost":1.5}"#, "body.cost"), (#"{"key":"k","cost":"1"}"#, "body.cost"),
        (#"{"key":"k","cost":true}"#, "body.cost"), (#"{"key":"k","cost":1e999}"#, "body.cost"),
        (#"{"key":"k","cost":9223372036854775808}"#, "body.cost"), (#"{"key":"k","scop":"a"}"#, "body.scop"),
        (#"{"key":"k","Key":"k"}"#, "body.Key"), (#"{"key":"k","":1}"#, "body."), (#"{"key":"k","a":null}"#, "body.a"),
      ] {
        expectProblem(
          try await portal.post("/v1/verify", body, token: token), 400, "invalid_request", at: location, "\(body)")
      }
      for body in [
        #"{"key":"k","cost":1e0,"endpoint":null,"clientIP":null,"scope":null,"scopes":null}"#,
        " \n{ \"key\" : \"\\u006b\" } ", "\u{FEFF}{\"key\":\"k\"}",
        "{\"key\":\"k\",\"endpoint\":\"\(String(repeating: "😀", count: 200))\"}",
      ] {
        #expect(try await portal.post("/v1/verify", body, token: token).body["code"].string == "NOT_FOUND", "\(body)")
      }
    }
  }

  @Test("a body that is not a JSON object is refused as a whole")
  func bodies() async throws {
    try await withPortal { portal in
      let token = try await portal.makeToken()
      let texts = [
        "", " ", "{", "[]", "[{\"key\":\"k\"}]", "null", "\"k\"", "1", "{\"key\":\"k\"}}", "{\"key\":\"k\",}",
        "{'key':'k'}", "{key:\"k\"}", "{\"key\":\"k\",\"key\":\"k\"}", "{\"key\":NaN}", "{\"key\":\"k\",\"cost\":01}",
        #"{"key":"\u0000"}"#, #"{"key":"\ud800"}"#, #"{"key":"\udc00\ud800"}"#, #"{"key":"\x41"}"#, "{\"key\":\"\n\"}",
        "{\"key\":\"k\",\"scopes\":" + String(repeating: "[", count: 10_000), "\u{FEFF}\u{FEFF}{\"key\":\"k\"}",
      ]
      for bytes in texts.map({ Array($0.utf8) }) + [
        Array("{\"key\":\"".utf8) + [0x00] + Array("\"}".utf8), Array("{\"key\":\"".utf8) + [0xFF] + Array("\"}".utf8),
        Array("{\"key\":\"".utf8) + [0xED, 0xA0, 0x80] + Array("\"}".utf8), [0xFF, 0xFE], [0x00],
      ] {
        let answer = try await portal.request(
          "POST", "/v1/verify", bytes: bytes, token: token, headers: ["Content-Type": "application/json"])
        expectProblem(
          answer, 400, "invalid_request", at: "body", "\(String(decoding: bytes.prefix(64), as: UTF8.self))")
      }
      let without = try await portal.request(
        "POST", "/v1/verify", token: token, headers: ["Content-Type": "application/json"])
      expectProblem(without, 400, "invalid_request", at: "body")
    }
  }
}
