import Foundation
import PortalAPI
import PortalHTTP
import PortalTesting
import Testing

@Suite("The second factor")
struct SecondFactorTests {
  @Test("setup requires the password and a code; the secret and ten recovery codes are shown once")
  func enrol() async throws {
    try await withPortal(configure: { $0.secretBox = secretBox }) { portal in
      let ada = try await portal.signUp()
      let other = try await portal.logIn().body["token"].string
      expectProblem(
        try await ada.post("/v1/me/second-factor", #"{"password":"wrong"}"#), 401, "invalid_credentials")
      let started = try await ada.post("/v1/me/second-factor", #"{"password":"correct horse battery"}"#)
      #expect(started.status == 201 && started.body.names == ["secret", "uri"])
      let secret = try #require(started.body["secret"].string)
      #expect(secret.wholeMatch(of: /[A-Z2-7]{32}/) != nil)
      #expect(
        started.body["uri"].string?.hasPrefix("otpauth://totp/Latchkey:ada%40example%2Ecom?secret=\(secret)&") == true)
      #expect(try await portal.logIn().status == 200, "the second factor is not required yet")
      expectProblem(
        try await ada.post("/v1/me/second-factor/confirm", #"{"code":"000000"}"#), 401, "second_factor_invalid")
      let code = Authenticator(secret).code
      let confirmed = try await ada.post("/v1/me/second-factor/confirm", "{\"code\":\"\(code)\"}")
      #expect(confirmed.status == 200 && confirmed.body.names == ["recoveryCodes", "token", "expiresAt"])
      #expect(Set(confirmed.body["recoveryCodes"].array.compactMap(\.string)).count == 10)
      let token = try #require(confirmed.body["token"].string)
      #expect(confirmed.header("Set-Cookie")?.hasPrefix("latchkey=\(token); ") == true)
      // The old token, and sessions opened without the second factor, have ended.
      for old in [ada.token, other] {
        expectProblem(try await portal.get("/v1/me", token: old), 401, "unauthenticated")
      }
      let status = try await portal.get("/v1/me/second-factor", token: token).body
      #expect(status["enabledAt"].isTime && status["recoveryCodes"].integer == 10)
      #expect(try await portal.actions(token).first == "user.second_factor_enabled")
      expectProblem(
        try await portal.post("/v1/me/second-factor", #"{"password":"correct horse battery"}"#, token: token), 409,
        "second_factor_enabled")
      expectProblem(
        try await portal.post("/v1/me/second-factor/confirm", "{\"code\":\"\(code)\"}", token: token), 409,
        "second_factor_enabled")
      // The code that confirmed the second factor cannot be used again.
      expectProblem(try await portal.logIn("ada@example.com", ",\"code\":\"\(code)\""), 401, "second_factor_invalid")
    }
  }

  @Test(
    """
    logging in without a code is second_factor_required, and opens no session; a code or a recovery code opens one
    """
  )
  func logIn() async throws {
    try await withPortal(configure: { $0.secretBox = secretBox }) { portal in
      let (authenticator, codes, _) = try await portal.enrol(try await portal.signUp().token)
      let rows = try await portal.rowCount()
      let answer = try await portal.logIn()
      expectProblem(answer, 401, "second_factor_required")
      #expect(answer.header("Set-Cookie") == nil)
      // A wrong password gets the same response as without a second factor, with or without a code.
      let right = ",\"code\":\"\(authenticator.code)\""
      for more in ["", right] {
        let wrong = try await portal.logIn("ada@example.com", more, password: "wrong")
        let unknown = try await portal.logIn("nobody@example.com", more)
        expectProblem(wrong, 401, "invalid_credentials")
        #expect(wrong.body["detail"] == unknown.body["detail"] && wrong.status == unknown.status)
      }
      #expect(try await portal.rowCount() == rows)
      let login = try await portal.logIn("ada@example.com", right)
      #expect(login.status == 200 && login.body.names == Contract.login)
      expectProblem(try await portal.logIn("ada@example.com", right), 401, "second_factor_invalid")
      let recovery = ",\"code\":\"\(codes[0].uppercased())\""
      #expect(try await portal.logIn("ada@example.com", recovery).status == 200)
      expectProblem(try await portal.logIn("ada@example.com", recovery), 401, "second_factor_invalid")
    }
  }

  @Test("a code is ignored if the person has no second factor")
  func unneeded() async throws {
    try await withPortal { portal in
      _ = try await portal.signUp()
      #expect(try await portal.logIn("ada@example.com", #","code":"000000""#).status == 200)
      for code in ["\"\"", "1", "\"" + String(repeating: "0", count: 41) + "\""] {
        expectProblem(
          try await portal.logIn("ada@example.com", ",\"code\":\(code)"), 400, "invalid_request", at: "body.code")
      }
    }
  }

  @Test(
    "disabling and renewing recovery codes require password and code; if either is missing or wrong, nothing changes")
  func disable() async throws {
    try await withPortal(configure: { $0.secretBox = secretBox }) { portal in
      let (authenticator, codes, token) = try await portal.enrol(try await portal.signUp().token)
      func body(_ password: String, _ code: String) -> String { "{\"password\":\"\(password)\",\"code\":\"\(code)\"}" }
      for (json, code) in [
        (body("wrong", authenticator.code), "invalid_credentials"),
        (body("correct horse battery", "000000"), "second_factor_invalid"),
      ] {
        expectProblem(try await portal.deleteWithBody("/v1/me/second-factor", json, token: token), 401, code)
        expectProblem(try await portal.post("/v1/me/second-factor/recovery-codes", json, token: token), 401, code)
      }
      for json in ["{}", #"{"password":"correct horse battery"}"#, #"{"code":"000000"}"#] {
        expectProblem(
          try await portal.deleteWithBody("/v1/me/second-factor", json, token: token), 400, "invalid_request")
      }
      let renewed = try await portal.post(
        "/v1/me/second-factor/recovery-codes", body("correct horse battery", codes[0]), token: token)
      let fresh = renewed.body["recoveryCodes"].array.compactMap(\.string)
      #expect(renewed.status == 200 && fresh.count == 10 && Set(fresh).isDisjoint(with: codes))
      expectProblem(
        try await portal.logIn("ada@example.com", ",\"code\":\"\(codes[1])\""), 401, "second_factor_invalid")
      let disabled = try await portal.deleteWithBody(
        "/v1/me/second-factor", body("correct horse battery", authenticator.code), token: token)
      #expect(disabled.status == 200 && disabled.body.names == ["token", "expiresAt"])
      expectProblem(try await portal.get("/v1/me", token: token), 401, "unauthenticated")
      #expect(try await portal.logIn().status == 200)
      let new = try #require(disabled.body["token"].string)
      #expect(
        try await portal.actions(new).filter { $0.hasPrefix("user.") }.prefix(2) == [
          "user.second_factor_disabled", "user.recovery_codes_renewed",
        ])
      expectProblem(
        try await portal.deleteWithBody("/v1/me/second-factor", body("correct horse battery", "000000"), token: new),
        404,
        "not_found")
    }
  }

  @Test("without SECRET_KEY, setup is second_factor_not_configured")
  func notConfigured() async throws {
    try await withPortal { portal in
      let ada = try await portal.signUp()
      expectProblem(
        try await ada.post("/v1/me/second-factor", #"{"password":"correct horse battery"}"#), 409,
        "second_factor_not_configured")
      expectProblem(
        try await ada.post("/v1/me/second-factor/confirm", #"{"code":"000000"}"#), 404, "not_found")
      let status = try await ada.get("/v1/me/second-factor").body
      #expect(status["enabledAt"] == .null && status["recoveryCodes"].integer == 0)
    }
  }

  @Test("where staff must have a second factor, a member without it can only set it up, list sessions and log out")
  func required() async throws {
    try await withPortal(configure: { ($0.secretBox, $0.needsStaffSecondFactor) = (secretBox, true) }) { portal in
      let token = try await portal.logInStaff()
      for path in ["/v1/support/keys?start=lk", "/v1/support/instances", "/v1/analytics/usage"] {
        expectProblem(try await portal.get(path, token: token), 403, "second_factor_enrolment_required", "\(path)")
      }
      expectProblem(
        try await portal.post(
          "/v1/support/accounts/018f4e6a-0000-7000-8000-000000000000/suspend", #"{"reason":"none"}"#, token: token),
        403,
        "second_factor_enrolment_required")
      #expect(try await portal.get("/v1/support/me/sessions", token: token).status == 200)
      let (authenticator, codes, enrolled) = try await portal.enrol(token, "/v1/support/me")
      for path in ["/v1/support/keys?start=lk", "/v1/analytics/usage"] {
        #expect(try await portal.get(path, token: enrolled).status == 200)
      }
      func body(_ more: String) -> String {
        "{\"email\":\"grace@example.com\",\"password\":\"correct horse battery\"\(more)}"
      }
      expectProblem(try await portal.post("/v1/support/login", body("")), 401, "second_factor_required")
      for code in [authenticator.code, codes[0]] {
        let answer = try await portal.post("/v1/support/login", body(",\"code\":\"\(code)\""))
        #expect(answer.status == 200)
        expectProblem(
          try await portal.post("/v1/support/login", body(",\"code\":\"\(code)\"")), 401, "second_factor_invalid")
      }
      try await portal.letTimePass()
      let disabled = try await portal.deleteWithBody(
        "/v1/support/me/second-factor",
        "{\"password\":\"correct horse battery\",\"code\":\"\(authenticator.code)\"}", token: enrolled)
      expectProblem(
        try await portal.get("/v1/support/keys?start=lk", token: disabled.body["token"].string), 403,
        "second_factor_enrolment_required")
      #expect(try await portal.post("/v1/support/logout", token: disabled.body["token"].string).status == 204)
    }
  }
}
