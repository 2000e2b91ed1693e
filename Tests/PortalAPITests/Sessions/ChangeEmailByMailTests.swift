import Foundation
import JSON
import Portal
import PortalAPI
import PortalApplication
import PortalHTTP
import PortalTesting
import PostgresTesting
import Testing

@Suite("POST /v1/me/email, with mail configured")
struct ChangeEmailByMailTests {
  private func change(_ portal: TestPortal, _ token: String, _ email: String) async throws -> TestAnswer {
    try await portal.post(
      "/v1/me/email", "{\"password\":\"correct horse battery\",\"email\":\"\(email)\"}", token: token)
  }

  @Test("a new address takes effect once it is confirmed: all sessions end, and the old address is notified")
  func confirmed() async throws {
    try await withMailPortal { portal, folder in
      try await portal.makeUser("ada@example.com")
      let token = try #require(try await portal.logIn().body["token"].string)
      let answer = try await change(portal, token, "Lovelace@example.com")
      #expect(answer.status == 202 && answer.body == .object([("status", .string("accepted"))]))
      #expect(try await portal.get("/v1/me", token: token).body["user"]["email"].string == "ada@example.com")
      let proof = try #require(try await folder.mails(to: "lovelace@example.com", count: 1)[0].token)
      let verified = try await portal.post("/v1/email/verify", "{\"token\":\"\(proof)\"}")
      #expect(verified.status == 204)
      expectProblem(try await portal.get("/v1/me", token: token), 401, "unauthenticated")
      expectProblem(try await portal.logIn(), 401, "invalid_credentials")
      let login = try await portal.logIn("lovelace@example.com")
      #expect(login.status == 200)
      #expect(try await portal.actions(login.body["token"].string ?? "").contains("user.email_changed"))
      expectProblem(
        try await portal.post("/v1/email/verification", token: login.body["token"].string), 409, "email_verified")
      #expect(
        try await folder.mails(to: "ada@example.com", count: 1).last?.header("Subject")
          == "Your e-mail address was changed")
      expectProblem(
        try await portal.post("/v1/email/verify", "{\"token\":\"\(proof)\"}"), 400, "invalid_token", "once")
    }
  }

  @Test("a new password voids a pending change of the address", arguments: [true, false])
  func voided(_ isReset: Bool) async throws {
    try await withMailPortal { portal, folder in
      try await portal.makeUser("ada@example.com")
      let token = try #require(try await portal.logIn().body["token"].string)
      #expect(try await change(portal, token, "thief@example.com").status == 202)
      let proof = try #require(try await folder.mails(to: "thief@example.com", count: 1)[0].token)
      if isReset {
        #expect(try await portal.post("/v1/password/forgot", #"{"email":"ada@example.com"}"#).status == 202)
        let reset = try #require(try await folder.mails(to: "ada@example.com", count: 1)[0].token)
        let answer = try await portal.post(
          "/v1/password/reset", "{\"token\":\"\(reset)\",\"password\":\"another horse battery\"}")
        #expect(answer.status == 204)
      } else {
        let body = #"{"password":"correct horse battery","newPassword":"another horse battery"}"#
        #expect(try await portal.post("/v1/me/password", body, token: token).status == 200)
      }
      expectProblem(
        try await portal.post("/v1/email/verify", "{\"token\":\"\(proof)\"}"), 400, "invalid_token")
    }
  }

  @Test(
    """
    the response does not reveal whether the address is in use, and its owner gets no token; an unconfirmed address \
    is not reserved
    """
  )
  func neutral() async throws {
    try await withMailPortal { portal, folder in
      for email in ["ada@example.com", "eve@example.com"] { try await portal.makeUser(email) }
      let token = try #require(try await portal.logIn().body["token"].string)
      let known = try await change(portal, token, "eve@example.com")
      let unknown = try await change(portal, token, "tom@example.com")
      #expect(known.status == 202 && known.body == unknown.body)
      let proof = try #require(try await folder.mails(to: "tom@example.com", count: 1)[0].token)
      try await portal.waitForMails()
      #expect(try folder.mails(to: "eve@example.com").isEmpty)
      // Another user takes the address before it is confirmed.
      try await portal.makeUser("tom@example.com")
      expectProblem(
        try await portal.post("/v1/email/verify", "{\"token\":\"\(proof)\"}"), 409, "email_taken")
      #expect(try await portal.get("/v1/me", token: token).body["user"]["email"].string == "ada@example.com")
    }
  }
}
