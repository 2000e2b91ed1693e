import Foundation
import PortalAPI
import PortalHTTP
import PortalTesting
import Testing

@Suite("POST /v1/login")
struct LogInTests {
  private static func body(_ email: String, _ password: String) -> String {
    "{\"email\":\"\(email)\",\"password\":\"\(password)\"}"
  }

  @Test("the right password opens a new session, whatever the case of the address")
  func logIn() async throws {
    try await withPortal { portal in
      let customer = try await portal.signUp()
      let answer = try await portal.post("/v1/login", Self.body("ADA@example.com", "correct horse battery"))
      #expect(answer.status == 200)
      #expect(answer.body.names == Contract.login)
      #expect(answer.body["account"]["id"].string.flatMap { UUID(uuidString: $0) } == customer.accountID)
      #expect(answer.body["role"].string == "owner")
      #expect(answer.header("Cache-Control") == "no-store")
      let token = try #require(answer.body["token"].string)
      #expect(token != customer.token)
      #expect(try await portal.get("/v1/me", token: token).status == 200)
    }
  }

  @Test("a wrong password and an unknown address get the same response")
  func wrong() async throws {
    try await withPortal { portal in
      _ = try await portal.signUp()
      var answers: [TestAnswer] = []
      for (email, password) in [
        ("ada@example.com", "wrong"), ("ada@example.com", "correct horse battery "), ("ada@example.com", "Correct"),
        ("nobody@example.com", "correct horse battery"), ("no address", "x"), ("'--", "x"),
      ] {
        let answer = try await portal.post("/v1/login", Self.body(email, password))
        expectProblem(answer, 401, "invalid_credentials")
        #expect(answer.header("WWW-Authenticate")?.hasPrefix("Bearer ") == true)
        #expect(answer.header("Set-Cookie") == nil)
        answers.append(answer)
      }
      #expect(Set(answers.map { $0.body["detail"].string }).count == 1)
    }
  }

  @Test("after five failures, even the right password is too_many_requests; other addresses are not affected")
  func throttled() async throws {
    try await withPortal { portal in
      _ = try await portal.signUp()
      _ = try await portal.signUp("eve@example.com")
      for _ in 0..<5 {
        expectProblem(
          try await portal.post("/v1/login", Self.body("ada@example.com", "wrong")), 401, "invalid_credentials")
      }
      try await portal.lengthenDelays()
      for email in ["ada@example.com", "ADA@example.com"] {
        let answer = try await portal.post("/v1/login", Self.body(email, "correct horse battery"))
        expectProblem(answer, 429, "too_many_requests")
        let seconds = try #require(answer.header("Retry-After").flatMap { Int($0) })
        #expect((3_500...3_601).contains(seconds))
      }
      let other = try await portal.post("/v1/login", Self.body("eve@example.com", "correct horse battery"))
      #expect(other.status == 200)
    }
  }

  @Test("a success resets the count of failures")
  func successResets() async throws {
    try await withPortal { portal in
      _ = try await portal.signUp()
      for _ in 0..<3 {
        for _ in 0..<4 { _ = try await portal.post("/v1/login", Self.body("ada@example.com", "wrong")) }
        let answer = try await portal.post("/v1/login", Self.body("ada@example.com", "correct horse battery"))
        #expect(answer.status == 200)
      }
    }
  }

  @Test("a member of staff cannot log in as a customer, nor a customer as staff")
  func staff() async throws {
    try await withPortal { portal in
      _ = try await portal.signUp()
      _ = try await portal.logInStaff()
      expectProblem(
        try await portal.post("/v1/login", Self.body("grace@example.com", "correct horse battery")), 401,
        "invalid_credentials")
      expectProblem(
        try await portal.post("/v1/support/login", Self.body("ada@example.com", "correct horse battery")), 401,
        "invalid_credentials")
    }
  }
}
