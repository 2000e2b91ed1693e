import Foundation
import JSON
import Portal
import PortalAPI
import PortalHTTP
import PortalTesting
import Testing

@Suite("GET /v1/authorize")
struct AuthorizeTests {
  private func authorize(
    _ portal: TestPortal, _ key: String?, token: String, _ more: [String: String] = [:]
  ) async throws -> TestAnswer {
    var headers = more.merging(["X-Latchkey-Token": token]) { $1 }
    if let key { headers["X-API-Key"] = key }
    return try await portal.get("/v1/authorize", headers: headers)
  }

  @Test("a valid key is 200, with its owner in headers and no body")
  func valid() async throws {
    try await withPortal { portal in
      let customer = try await portal.signUp()
      let token = try await portal.makeToken()
      let (id, key) = try await customer.createKey()
      for headers in [["X-API-Key": key], ["Authorization": "Bearer " + key]] {
        let answer = try await authorize(portal, nil, token: token, headers)
        #expect(answer.status == 200)
        #expect(answer.body == .null)
        #expect(answer.header("X-Latchkey-Code") == "VALID")
        #expect(answer.header("X-Latchkey-Key-Id") == id)
        #expect(answer.header("X-Latchkey-Account-Id") == customer.accountID.text)
        #expect(answer.header("X-Latchkey-Scopes") == "orders:read")
        #expect(answer.header("X-RateLimit-Limit") == "60")
        #expect(answer.header("RateLimit-Policy") == "\"default\";q=60;w=60")
        #expect(answer.header("WWW-Authenticate") == nil)
      }
      #expect(try await authorize(portal, key, token: token).header("X-RateLimit-Remaining") == "57")
    }
  }

  @Test("a refusal is 401, 403 or 429 with its code, and with the headers of the limit if the key exists")
  func refusals() async throws {
    try await withPortal { portal in
      let token = try await portal.makeToken()
      for (status, code, change, headers) in [
        (401, "REVOKED", "api_keys set revoked_at = now()", [:]),
        (401, "DISABLED", "api_keys set disabled_at = now()", [:]),
        (401, "EXPIRED", "api_keys set expires_at = now()", [:]),
        (403, "SUSPENDED", "accounts set suspended_at = now()", [:]),
        (403, "FORBIDDEN_ADDRESS", "api_keys set allowed_ips = '{192.0.2.0/24}'", ["X-Client-IP": "192.0.3.1"]),
        (403, "INSUFFICIENT_SCOPE", "api_keys set name = 'x'", ["X-Required-Scope": "orders:write"]),
        (403, "INSUFFICIENT_PERMISSIONS", "api_keys set name = 'x'", ["X-Required-Permission": "a"]),
        (429, "RATE_LIMITED", "api_keys set rate_limit_per_minute = 1", [:]),
        (200, "VALID", "api_keys set allowed_ips = '{192.0.2.0/24}'", ["X-Client-IP": "192.0.2.9"]),
      ] as [(Int, String, String, [String: String])] {
        let customer = try await portal.signUp("\(UUID())@example.com")
        let (id, key) = try await customer.createKey()
        let column = change.hasPrefix("accounts") ? "id" : "account_id"
        try await portal.script("update \(change) where \(column) = '\(customer.accountID)'")
        if status == 429 { _ = try await authorize(portal, key, token: token, headers) }
        let answer = try await authorize(portal, key, token: token, headers)
        #expect(answer.status == status, "\(code)")
        #expect(answer.header("X-Latchkey-Code") == code)
        #expect(answer.header("X-Latchkey-Key-Id") == id)
        #expect(answer.header("X-RateLimit-Remaining") != nil)
        #expect((answer.header("Retry-After") != nil) == (status == 429))
        #expect((answer.header("WWW-Authenticate") != nil) == (status == 401))
      }
    }
  }

  @Test("an unknown key is 401 NOT_FOUND")
  func notFound() async throws {
    try await withPortal { portal in
      let token = try await portal.makeToken()
      for key in ["x", Secret.random(prefix: "lk_live").reveal(), token] {
        let answer = try await authorize(portal, key, token: token)
        #expect(answer.status == 401)
        #expect(answer.header("X-Latchkey-Code") == "NOT_FOUND")
        #expect(answer.header("X-Latchkey-Key-Id") == nil && answer.header("X-RateLimit-Limit") == nil)
      }
    }
  }

  @Test("usage is counted per method and path, without the query")
  func endpoint() async throws {
    try await withPortal { portal in
      let customer = try await portal.signUp()
      let token = try await portal.makeToken()
      let (id, key) = try await customer.createKey()
      for headers in [
        ["X-Original-Method": "GET", "X-Original-URI": "/orders?page=2&key=secret"],
        ["X-Original-URI": "/" + String(repeating: "ü", count: 500)], [:], ["X-Original-URI": "?page=2"],
        ["X-Original-URI": "", "X-Original-Method": ""],
      ] {
        #expect(try await authorize(portal, key, token: token, headers).status == 200)
      }
      try await portal.flushUsage()
      let endpoints = try await customer.get("/v1/keys/\(id)/usage").body["endpoints"].array
      let names = Set(endpoints.compactMap { $0["endpoint"].string })
      #expect(names == ["GET /orders", "/" + String(repeating: "ü", count: 199), "unspecified", " "])
    }
  }

  @Test("errors of the gateway, such as an invalid token or header, are problems")
  func gatewayMistakes() async throws {
    try await withPortal { portal in
      let customer = try await portal.signUp()
      let token = try await portal.makeToken()
      let (_, key) = try await customer.createKey()
      for bad in ["", "x", key, customer.token] {
        let answer = try await authorize(portal, key, token: bad)
        expectProblem(answer, 401, "unauthenticated")
        #expect(answer.header("X-Latchkey-Code") == nil)
      }
      expectProblem(
        try await authorize(portal, key, token: try await portal.makeToken([.writeUsage])), 403, "forbidden")
      for (name, value) in [
        ("X-Client-IP", "example.com"), ("X-Client-IP", "192.0.2.0/24"), ("X-Required-Scope", "Not a scope"),
      ] {
        expectProblem(
          try await authorize(portal, key, token: token, [name: value]), 400, "invalid_request", at: "header." + name)
      }
    }
  }
}
