import Foundation
import JSON
import Portal
import PortalAPI
import PortalHTTP
import PortalTesting
import Postgres
import Testing

@Suite("POST /v1/support/tokens")
struct CreateTokenTests {
  private static let path = "/v1/support/tokens"

  @Test("an admin creates a token, which is shown once and recorded in the system trail")
  func create() async throws {
    try await withPortal { portal in
      let admin = try await portal.logInStaff(role: .admin)
      let answer = try await portal.post(
        Self.path,
        """
        {"name":"shop","permissions":["keys.verify","keys.read"],"environment":"live",
          "expiresAt":"2099-12-31T00:00:00Z"}
        """, token: admin)
      #expect(answer.status == 201 && answer.header("Cache-Control") == "no-store")
      #expect(answer.body.names == Contract.serviceToken + ["token", "warning"])
      #expect(answer.body["warning"].string == Contract.tokenWarning)
      #expect(answer.body["id"].isID && answer.body["createdAt"].isTime)
      #expect(answer.body["permissions"] == .array([.string("keys.verify"), .string("keys.read")]))
      #expect(answer.body["environment"].string == "live")
      #expect(answer.body["expiresAt"].string == "2099-12-31T00:00:00.000Z")
      #expect(answer.body["status"].string == "active" && answer.body["lastUsedAt"] == .null)
      let token = try #require(answer.body["token"].string)
      #expect(token.hasPrefix("lk_svc_"))
      #expect(try await portal.verify("x", token: token).status == 200)
      let events = try await portal.pool.query(SystemEvents())
      #expect(events.last == "staff Grace token.created \(answer.body["id"].string ?? "")")
    }
  }

  @Test("without environment and expiresAt, or with null, a token is for both environments and does not expire")
  func defaults() async throws {
    try await withPortal { portal in
      let admin = try await portal.logInStaff(role: .admin)
      for more in ["", #","environment":null,"expiresAt":null"#] {
        let body = #"{"name":"n","permissions":["analytics.read"]\#(more)}"#
        let answer = try await portal.post(Self.path, body, token: admin)
        #expect(answer.status == 201)
        #expect(answer.body["environment"] == .null && answer.body["expiresAt"] == .null)
      }
    }
  }

  @Test("invalid values are refused with their location, and create nothing")
  func refused() async throws {
    try await withPortal { portal in
      let admin = try await portal.logInStaff(role: .admin)
      let rows = try await portal.rowCount()
      let (name, permissions) = (#""name":"n""#, #""permissions":["keys.read"]"#)
      for (body, location) in [
        ("{\(permissions)}", "body.name"), (#"{"name":"",\#(permissions)}"#, "body.name"),
        ("{\"name\":\"\(String(repeating: "n", count: 101))\",\(permissions)}", "body.name"),
        ("{\(name)}", "body.permissions"), ("{\(name),\"permissions\":null}", "body.permissions"),
        ("{\(name),\"permissions\":[]}", "body.permissions"),
        ("{\(name),\"permissions\":\"keys.read\"}", "body.permissions"),
        ("{\(name),\"permissions\":[\"keys.delete\"]}", "body.permissions[0]"),
        ("{\(name),\"permissions\":[\"keys.read\",\"keys.read\"]}", "body.permissions[1]"),
        ("{\(name),\(permissions),\"environment\":\"prod\"}", "body.environment"),
        ("{\(name),\(permissions),\"expiresAt\":\"2020-01-01T00:00:00Z\"}", "body.expiresAt"),
        ("{\(name),\(permissions),\"expiresAt\":7}", "body.expiresAt"),
        ("{\(name),\(permissions),\"scopes\":[]}", "body.scopes"),
        (#"{"name":"n","permissions":["keys.read","analytics.read"],"environment":"test"}"#, "body.environment"),
        (#"{"name":"n","permissions":["limits.use"],"environment":"live"}"#, "body.environment"),
        (#"{"name":"n","permissions":["catalog.read"],"apiIds":["orders"]}"#, "body.apiIds"),
        (#"{"name":"n","permissions":["keys.read"],"apiIds":[]}"#, "body.apiIds"),
        (#"{"name":"n","permissions":["keys.read"],"apiIds":["a b"]}"#, "body.apiIds[0]"),
        (#"{"name":"n","permissions":["keys.read"],"apiIds":["nonsense"]}"#, "body.apiIds[0]"),
      ] {
        expectProblem(
          try await portal.post(Self.path, body, token: admin), 400, "invalid_request", at: location, "\(body)")
      }
      #expect(try await portal.rowCount() == rows)
    }
  }

  @Test("a name without visible characters, or with invisible ones, is refused; surrounding white space is removed")
  func names() async throws {
    try await withPortal { portal in
      let admin = try await portal.logInStaff(role: .admin)
      for name in TypedNames.bad {
        let body = TypedNames.body(name, #","permissions":["keys.read"]"#)
        let answer = try await portal.post(Self.path, body, token: admin)
        expectProblem(answer, 400, "invalid_request", at: "body.name", "\(name.debugDescription)")
      }
      let body = TypedNames.body(" shop 🛒\n", #","permissions":["keys.read"]"#)
      #expect(try await portal.post(Self.path, body, token: admin).body["name"].string == "shop 🛒")
    }
  }

  @Test("the role support cannot create tokens")
  func support() async throws {
    try await withPortal { portal in
      try await expectAdminOnly(portal, "POST", Self.path, #"{"name":"n","permissions":["keys.read"]}"#)
    }
  }
}
