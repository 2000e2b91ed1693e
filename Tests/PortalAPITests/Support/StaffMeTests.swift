import Portal
import PortalAPI
import PortalHTTP
import PortalTesting
import Testing

@Suite("GET /v1/support/me")
struct StaffMeTests {
  @Test("returns the member of staff who is logged in, and the role", arguments: StaffMember.Role.allCases)
  func me(role: StaffMember.Role) async throws {
    try await withPortal { portal in
      let token = try await portal.logInStaff(role: role)
      let answer = try await portal.get("/v1/support/me", token: token)
      #expect(answer.status == 200)
      #expect(answer.body.names == ["staff", "role"])
      #expect(answer.body["staff"].names == ["id", "email", "name"])
      #expect(answer.body["staff"]["id"].isID)
      #expect(answer.body["staff"]["email"].string == "grace@example.com")
      #expect(answer.body["staff"]["name"].string == "Grace")
      #expect(answer.body["role"].string == role.rawValue)
      try await portal.script("update staff set disabled_at = now()")
      expectProblem(try await portal.get("/v1/support/me", token: token), 401, "unauthenticated")
    }
  }
}
