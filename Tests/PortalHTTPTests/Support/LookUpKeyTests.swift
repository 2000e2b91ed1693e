import Foundation
import Portal
import PortalHTTP
import PortalTesting
import Testing

@Suite("POST /v1/support/keys/lookup")
struct LookUpKeyTests {
  @Test("a pasted key is found, whoever's it is and whatever became of it, and is not given back")
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

  @Test("what is no key finds nothing, and looking leaves no trace in the tenant's trail")
  func missing() async throws {
    try await withPortal { portal in
      let staff = try await portal.logInStaff()
      let customer = try await portal.signUp()
      let key = try await customer.createKey().key
      let rows = try await portal.rowCount()
      for text in [
        String(key.dropLast()), key + "x", String(key.prefix(12)), key.uppercased(), "%", "' or true --", "🔑",
        Secret.random(prefix: "lk_live").reveal(), String(repeating: "k", count: 256), customer.token, staff,
      ] {
        let answer = try await portal.lookUp(text, staff)
        #expect(answer.status == 200)
        #expect(answer.body == .object([("keys", .array([]))]), "\(text)")
      }
      #expect(try await portal.rowCount() == rows)
    }
  }

  @Test("a body without a key is refused at its place, and the refusal does not repeat what was pasted")
  func badBodies() async throws {
    try await withPortal { portal in
      let staff = try await portal.logInStaff()
      let secret = Secret.random(prefix: "lk_live").reveal()
      for (body, location) in [
        ("{}", "body.key"), (#"{"key":""}"#, "body.key"), (#"{"key":null}"#, "body.key"),
        ("{\"key\":[\"\(secret)\"]}", "body.key"), ("{\"key\":\"\(secret)\",\"reason\":\"x\"}", "body.reason"),
        ("{\"key\":\"\(secret)\"", "body"), ("\"\(secret)\"", "body"), ("\(secret)", "body"), ("", "body"),
        ("{\"key\":\"\(secret)\(String(repeating: "k", count: 256))\"}", "body.key"),
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
