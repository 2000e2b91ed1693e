import Foundation
import JSON
import Portal
import PortalAPI
import PortalHTTP
import PortalTesting
import Testing

@Suite("POST /v1/support/explain")
struct ExplainTests {
  private static let path = "/v1/support/explain"
  private static let checks = [
    "exists", "environment", "api", "revoked", "suspended", "disabled", "expired", "address", "scopes", "permissions",
    "limits", "credits",
  ]

  private func check(_ name: String, _ answer: TestAnswer) -> JSONValue {
    answer.body["checks"].array.first { $0["check"].string == name } ?? .null
  }

  @Test("every check is told with what it saw, by the id and by the text of the key, and the verdict is a gateway's")
  func present() async throws {
    try await withPortal(.live) { portal in
      try await portal.makeCatalog()
      let staff = try await portal.logInStaff()
      let customer = try await portal.signUp()
      let key = try await customer.createKey(#","allowedIPs":["192.0.2.0/24"],"rateLimitPerMinute":5"#)
      let company = try await portal.makeToken([.grantKeys])
      _ = try await portal.post("/v1/keys/\(key.id)/roles", #"{"add":["pro"]}"#, token: company)
      let gateway = try await portal.makeToken()
      for (more, code) in [
        (#","scope":"orders:read","clientIP":"192.0.2.7","permissions":"b""#, "VALID"),
        (#","scope":"orders:read""#, "FORBIDDEN_ADDRESS"),
        (#","scope":"x","clientIP":"192.0.2.7""#, "INSUFFICIENT_SCOPE"),
        (#","clientIP":"192.0.2.7","permissions":"a OR x""#, "INSUFFICIENT_PERMISSIONS"),
        (#","clientIP":"192.0.2.7","cost":6"#, "RATE_LIMITED"),
        (#","clientIP":"192.0.2.7","limits":[{"name":"default","cost":6}]"#, "RATE_LIMITED"),
      ] {
        for subject in [#"{"keyId":"\#(key.id)""#, #"{"key":"X-API-Key: \#(key.key)""#] {
          let answer = try await portal.post(Self.path, subject + more + "}", token: staff)
          #expect(answer.status == 200, "\(answer)")
          #expect(answer.body.names == ["keyId", "accountId", "at", "valid", "code", "checks"])
          #expect(answer.body["code"].string == code && answer.body["keyId"].string == key.id)
          #expect(answer.body["checks"].array.compactMap { $0["check"].string } == Self.checks)
          #expect(answer.body["checks"].array.allSatisfy { $0.names == ["check", "code", "passed", "saw"] })
          #expect(!"\(answer)".contains(key.key))
        }
        #expect(try await portal.verify(key.key, token: gateway, more).body["code"].string == code, "\(more)")
      }
      let answer = try await portal.post(
        Self.path, #"{"keyId":"\#(key.id)","scope":"x","permissions":"a AND b","clientIP":"192.0.3.1"}"#, token: staff)
      #expect(check("address", answer)["saw"]["clientIP"].string == "192.0.3.1")
      #expect(check("address", answer)["saw"]["allowedIPs"].array == [.string("192.0.2.0/24")])
      #expect(check("address", answer)["passed"] == .bool(false))
      #expect(check("scopes", answer)["saw"]["required"].array == [.string("x")])
      #expect(check("scopes", answer)["saw"]["scopes"].array == [.string("orders:read")])
      #expect(check("permissions", answer)["saw"]["roles"].array == [.string("pro")])
      #expect(check("permissions", answer)["saw"]["permissions"].array == [.string("b")])
      #expect(check("revoked", answer)["saw"]["revokedAt"] == .null)
      #expect(check("revoked", answer)["passed"] == .bool(true))
      // The one request that was admitted above.
      #expect(check("limits", answer)["saw"]["rateLimit"]["remaining"].integer == 4)
    }
  }

  @Test("a moment in the past is judged by the settings of then; counts of then are not kept")
  func past() async throws {
    try await withPortal { portal in
      let staff = try await portal.logInStaff()
      let customer = try await portal.signUp()
      let key = try await customer.createKey()
      _ = try await customer.delete("/v1/keys/" + key.id)
      try await portal.script(
        """
        begin;
        set local session_replication_role = replica;
        update settings_history set until = until - interval '1 day';
        update api_keys set created_at = created_at - interval '2 days', revoked_at = revoked_at - interval '1 day';
        update settings_history set until = until - interval '2 days' where kind = 'beginning';
        update settings_history set settings = settings || jsonb_build_object('created_at', now() - interval '2 days')
        where kind = 'key';
        commit
        """)
      let then = Timestamp.text(of: Date() - 36 * 3_600)
      let answer = try await portal.post(Self.path, #"{"keyId":"\#(key.id)","at":"\#(then)"}"#, token: staff)
      #expect(answer.status == 200 && answer.body["code"].string == "VALID" && answer.body["at"].string == then)
      #expect(check("limits", answer)["passed"] == .null)
      #expect(check("limits", answer)["saw"]["kept"] == .bool(false))
      let now = try await portal.post(Self.path, #"{"keyId":"\#(key.id)"}"#, token: staff)
      #expect(now.body["code"].string == "REVOKED" && check("revoked", now)["saw"]["revokedAt"].isTime)
    }
  }

  @Test("an unknown key is a verdict; a question without a key, with two, or with a wrong member is refused")
  func refused() async throws {
    try await withPortal { portal in
      let staff = try await portal.logInStaff()
      let unknown = try await portal.post(Self.path, #"{"keyId":"\#(UUID.version7().text)"}"#, token: staff)
      #expect(unknown.status == 200 && unknown.body["code"].string == "NOT_FOUND" && unknown.body["keyId"] == .null)
      #expect(unknown.body["checks"].array.compactMap { $0["check"].string } == ["exists"])
      let rows = try await portal.rowCount()
      let id = UUID.version7().text
      for (body, location) in [
        ("{}", "body.key"), (#"{"keyId":"x"}"#, "body.keyId"), (#"{"keyId":"\#(id)","key":"k"}"#, "body.key"),
        (#"{"keyId":"\#(id)","at":"yesterday"}"#, "body.at"),
        (#"{"keyId":"\#(id)","at":"2999-01-01T00:00:00Z"}"#, "body.at"),
        (#"{"keyId":"\#(id)","at":"2000-01-01T00:00:00Z"}"#, "body.at"),
        (#"{"keyId":"\#(id)","clientIP":"x"}"#, "body.clientIP"),
        (#"{"keyId":"\#(id)","environment":"prod"}"#, "body.environment"),
        (#"{"keyId":"\#(id)","permissions":"a AND"}"#, "body.permissions"),
        (#"{"keyId":"\#(id)","credits":{"cost":-1}}"#, "body.credits.cost"),
        (#"{"keyId":"\#(id)","track":false}"#, "body.track"),
      ] {
        expectProblem(
          try await portal.post(Self.path, body, token: staff), 400, "invalid_request", at: location, "\(body)")
      }
      expectProblem(try await portal.post(Self.path, #"{"key":"lk_live_x"}"#, token: staff), 400, "not_a_key")
      #expect(try await portal.rowCount() == rows)
    }
  }
}
