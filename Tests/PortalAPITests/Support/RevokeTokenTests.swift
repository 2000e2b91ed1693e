import Portal
import PortalAPI
import PortalHTTP
import PortalTesting
import Testing

@Suite("DELETE /v1/support/tokens/{id}")
struct RevokeTokenTests {
  @Test("the token is refused once the response has arrived, on both paths of verification; a repeat returns the same")
  func revoke() async throws {
    try await withPortal(.live) { portal in
      let admin = try await portal.logInStaff(role: .admin)
      for _ in 0..<10 {
        let (id, token) = try await portal.makeToken(as: admin)
        for _ in 1...2 { #expect(try await portal.verify("x", token: token).status == 200) }
        let answer = try await portal.delete("/v1/support/tokens/" + id, token: admin)
        expectProblem(try await portal.verify("x", token: token), 401, "unauthenticated")
        #expect(answer.status == 200 && answer.body.names == ["id", "revokedAt", "propagation"])
        expectPropagation(answer.body["propagation"])
        let rows = try await portal.rowCount()
        let again = try await portal.delete("/v1/support/tokens/" + id, token: admin)
        #expect(again.status == 200 && again.body["revokedAt"] == answer.body["revokedAt"])
        #expect(try await portal.rowCount() == rows)
      }
      for id in ["018f4e6a-0000-7000-8000-000000000000", "x"] {
        expectProblem(try await portal.delete("/v1/support/tokens/" + id, token: admin), 404, "not_found")
      }
    }
  }

  @Test("the role support cannot revoke tokens")
  func support() async throws {
    try await withPortal { portal in
      let admin = try await portal.logInStaff(role: .admin)
      let (id, token) = try await portal.makeToken(as: admin)
      try await expectAdminOnly(portal, "DELETE", "/v1/support/tokens/" + id)
      #expect(try await portal.verify("x", token: token).status == 200)
    }
  }
}
