import Portal
import PortalAPI
import PortalHTTP
import PortalTesting
import PostgresTesting
import Testing

@Suite("POST /v1/support/tokens/{id}/roll")
struct RollTokenTests {
  @Test("both tokens are valid during the grace period; without a body, the old one is revoked immediately")
  func roll() async throws {
    try await withPortal(.live) { portal in
      let admin = try await portal.logInStaff(role: .admin)
      let old = try await portal.makeToken(as: admin, #","environment":"live""#)
      let first = try await portal.post(
        "/v1/support/tokens/\(old.id)/roll", #"{"graceSeconds":604800}"#, token: admin)
      #expect(first.status == 201 && first.header("Cache-Control") == "no-store")
      #expect(first.body.names == ["newToken", "oldToken", "propagation", "warning"])
      #expect(first.body["newToken"].names == Contract.serviceToken + ["token"])
      #expect(first.body["oldToken"].names == Contract.serviceToken)
      #expect(first.body["newToken"]["replacesId"].string == old.id)
      #expect(first.body["newToken"]["environment"].string == "live")
      #expect(first.body["oldToken"]["rolledAt"].isTime && first.body["oldToken"]["expiresAt"].isTime)
      #expect(first.body["oldToken"]["status"].string == "active")
      expectPropagation(first.body["propagation"])
      let next = try #require(first.body["newToken"]["token"].string)
      for token in [old.token, next] { #expect(try await portal.verify("x", token: token).status == 200) }
      expectProblem(
        try await portal.post("/v1/support/tokens/\(old.id)/roll", token: admin), 409, "token_not_active")

      let id = try #require(first.body["newToken"]["id"].string)
      let second = try await portal.post("/v1/support/tokens/\(id)/roll", token: admin)
      #expect(second.status == 201 && second.body["oldToken"]["status"].string == "revoked")
      expectProblem(try await portal.verify("x", token: next), 401, "unauthenticated")
      let last = try #require(second.body["newToken"]["token"].string)
      #expect(try await portal.verify("x", token: last).status == 200)
      expectProblem(try await portal.post("/v1/support/tokens/\(id)/roll", token: admin), 409, "token_not_active")
    }
  }

  @Test("at the end of the grace period, the old token is refused without any further action")
  func graceOver() async throws {
    try await withPortal(.live) { portal in
      let admin = try await portal.logInStaff(role: .admin)
      let old = try await portal.makeToken(as: admin)
      _ = try await portal.post("/v1/support/tokens/\(old.id)/roll", #"{"graceSeconds":604800}"#, token: admin)
      #expect(try await portal.verify("x", token: old.token).status == 200)
      try await portal.script(
        "update service_tokens set expires_at = now() + interval '2 seconds' where rolled_at is not null")
      try await eventually("the grace period has ended") {
        try await portal.verify("x", token: old.token).status == 401
      }
    }
  }

  @Test("invalid values are refused with their location, and an unknown token is not found")
  func refused() async throws {
    try await withPortal { portal in
      let admin = try await portal.logInStaff(role: .admin)
      let id = try await portal.makeToken(as: admin).id
      let rows = try await portal.rowCount()
      for (body, location) in [
        (#"{"graceSeconds":-1}"#, "body.graceSeconds"), (#"{"graceSeconds":604801}"#, "body.graceSeconds"),
        (#"{"graceSeconds":"1"}"#, "body.graceSeconds"), (#"{"grace":1}"#, "body.grace"),
      ] {
        let answer = try await portal.post("/v1/support/tokens/\(id)/roll", body, token: admin)
        expectProblem(answer, 400, "invalid_request", at: location, "\(body)")
      }
      for id in ["018f4e6a-0000-7000-8000-000000000000", "x"] {
        expectProblem(try await portal.post("/v1/support/tokens/\(id)/roll", token: admin), 404, "not_found")
      }
      #expect(try await portal.rowCount() == rows)
      try await expectAdminOnly(portal, "POST", "/v1/support/tokens/\(id)/roll")
    }
  }
}
