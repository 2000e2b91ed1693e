import Foundation
import JSON
import Portal
import PortalAPI
import PortalHTTP
import PortalTesting
import Testing

@Suite("POST /v1/support/keys/lookup")
struct LookUpKeyTests {
  @Test("a pasted key of any account and status is found, and is not returned")
  func found() async throws {
    try await withPortal { portal in
      let staff = try await portal.logInStaff()
      let (ada, eve) = (try await portal.signUp(), try await portal.signUp("eve@example.com"))
      let (adas, eves) = (try await ada.createKey(), try await eve.createKey())
      _ = try await eve.delete("/v1/keys/" + eves.id)
      for (customer, made, status) in [(ada, adas, "active"), (eve, eves, "revoked")] {
        let answer = try await portal.lookUp(made.key, staff)
        #expect(answer.status == 200)
        #expect(answer.body.names == ["keys"])
        #expect(answer.body["keys"].array.count == 1)
        let key = answer.body["keys"][0]
        expectKey(key, ["accountId"])
        #expect(key["id"].string == made.id)
        #expect(key["accountId"].string == customer.accountID.uuidString.lowercased())
        #expect(key["status"].string == status)
        #expect(!"\(answer)".contains(made.key))
      }
    }
  }

  @Test("a key is found with surrounding text from a paste")
  func pasted() async throws {
    try await withPortal { portal in
      let staff = try await portal.logInStaff()
      let made = try await portal.signUp().createKey()
      let (key, start) = (made.key, made.key.prefix(20))
      let texts: [String] = [
        "\(key)\\n", " \(key)", "\\t\(key)\\r\\n", "Bearer \(key)", "bearer  \(key)\\n", "Authorization: Bearer \(key)",
        "X-API-Key: \(key)", #"\"\#(key)\""#, "\\u00a0\(key)\\u200b", "\\ufeff\(key)", "API_KEY=\(key)",
        "\(start)\\n\(key.dropFirst(20))",
      ]
      for text in texts {
        let answer = try await portal.lookUp(text, staff)
        #expect(answer.status == 200, "\(text)")
        #expect(answer.body["keys"].array.map { $0["id"].string } == [made.id], "\(text)")
        #expect(!"\(answer)".contains(key))
      }
    }
  }

  @Test("an unknown key finds nothing, and a look-up leaves no event in the tenant's trail")
  func missing() async throws {
    try await withPortal { portal in
      let staff = try await portal.logInStaff()
      _ = try await portal.signUp().createKey()
      let rows = try await portal.rowCount()
      for text in [
        Secret.random(prefix: "lk_live").reveal(), Secret.random(prefix: "lk_test").reveal(), "sk_12345",
        String(repeating: "k", count: 512),
      ] {
        let answer = try await portal.lookUp(text, staff)
        #expect(answer.status == 200)
        #expect(answer.body == .object([("keys", .array([]))]), "\(text)")
      }
      #expect(try await portal.rowCount() == rows)
    }
  }

  @Test("text that cannot be a key is not_a_key, so that it is not taken for an all-clear, and is not returned")
  func notAKey() async throws {
    try await withPortal { portal in
      let staff = try await portal.logInStaff()
      let customer = try await portal.signUp()
      let key = try await customer.createKey().key
      let texts: [String] = [
        String(key.dropLast()), "\(key)x", String(key.prefix(12)), "\(key.prefix(12))…", key.uppercased(), " ", "\\n",
        "' or true --", "🔑", "\(key) lk_live_x", String(repeating: "k", count: 513), customer.token, staff,
        try await portal.makeToken(), "Bearer \(customer.token)",
      ]
      let rows = try await portal.rowCount()
      for text in texts {
        let answer = try await portal.lookUp(text, staff)
        expectProblem(answer, 400, "not_a_key", at: "body.key", "\(text)")
        #expect(!"\(answer)".contains(key.prefix(12)))
      }
      #expect(try await portal.rowCount() == rows)
    }
  }

  @Test("a body without a key is refused with its location, and the problem does not repeat the pasted text")
  func badBodies() async throws {
    try await withPortal { portal in
      let staff = try await portal.logInStaff()
      let secret = Secret.random(prefix: "lk_live").reveal()
      for (body, location) in [
        ("{}", "body.key"), (#"{"key":""}"#, "body.key"), (#"{"key":null}"#, "body.key"),
        ("{\"key\":[\"\(secret)\"]}", "body.key"), ("{\"key\":\"\(secret)\",\"reason\":\"x\"}", "body.reason"),
        ("{\"key\":\"\(secret)\"", "body"), ("\"\(secret)\"", "body"), ("\(secret)", "body"), ("", "body"),
        ("{\"key\":\"\(secret)\(String(repeating: "k", count: 1_024))\"}", "body.key"),
      ] {
        let answer = try await portal.post("/v1/support/keys/lookup", body, token: staff)
        expectProblem(answer, 400, "invalid_request", at: location, "\(body)")
        #expect(!"\(answer)".contains(secret))
      }
    }
  }
}

extension TestPortal {
  fileprivate func lookUp(_ key: String, _ staff: String) async throws -> TestAnswer {
    try await post("/v1/support/keys/lookup", "{\"key\":\"\(key)\"}", token: staff)
  }
}
