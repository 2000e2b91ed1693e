import Foundation
import PortalAPI
import PortalHTTP
import PortalTesting
import Testing

@Suite("POST /v1/support/accounts/{id}/suspend and resume")
struct SuspendAccountTests {
  @Test("only the account's keys are refused once the response has arrived, and are valid again when it is resumed")
  func suspendAndResume() async throws {
    try await withPortal { portal in
      let staff = try await portal.logInStaff()
      let token = try await portal.makeToken()
      let (ada, eve) = (try await portal.signUp(), try await portal.signUp("eve@example.com"))
      let (first, second, revoked) = (
        try await ada.createKey(), try await ada.createKey(), try await ada.createKey()
      )
      _ = try await ada.delete("/v1/keys/" + revoked.id)
      let eves = try await eve.createKey().key
      let codes = { @Sendable in
        var codes: [String?] = []
        for key in [first.key, second.key, revoked.key, eves] {
          codes.append(try await portal.verify(key, token: token).body["code"].string)
        }
        return codes
      }
      #expect(try await codes() == ["VALID", "VALID", "REVOKED", "VALID"])

      let suspended = try await portal.suspend(ada, #"{"reason":"unpaid","ticket":"SUP-2"}"#, staff)
      #expect(try await codes() == ["SUSPENDED", "SUSPENDED", "REVOKED", "VALID"])
      #expect(suspended.status == 200)
      #expect(suspended.body.names == ["id", "name", "suspendedAt", "propagation"])
      #expect(suspended.body["id"].string == ada.accountID.uuidString.lowercased())
      #expect(suspended.body["name"].string == "Account of ada@example.com")
      #expect(suspended.body["suspendedAt"].isTime)
      expectPropagation(suspended.body["propagation"])
      #expect(try await ada.get("/v1/keys/" + first.id).body["status"].string == "suspended")

      let resumed = try await portal.resume(ada, #"{"reason":"paid"}"#, staff)
      #expect(try await codes() == ["VALID", "VALID", "REVOKED", "VALID"])
      #expect(resumed.body.names == suspended.body.names)
      #expect(resumed.body["suspendedAt"] == .null)
      expectPropagation(resumed.body["propagation"])
      let event = try await ada.get("/v1/audit").body["events"][1]
      #expect(event["action"].string == "account.suspended")
      #expect(event["reason"].string == "unpaid")
      #expect(event["ticket"].string == "SUP-2")
    }
  }

  @Test("a second suspension changes nothing, and of fifty concurrent ones, one takes effect")
  func again() async throws {
    try await withPortal { portal in
      let staff = try await portal.logInStaff()
      let customer = try await portal.signUp()
      let resumedBefore = try await portal.resume(customer, #"{"reason":"never was"}"#, staff)
      #expect(resumedBefore.status == 200)
      #expect(resumedBefore.body["suspendedAt"] == .null)
      let moments = try await withThrowingTaskGroup { group in
        for number in 0..<50 {
          group.addTask {
            try await portal.suspend(customer, "{\"reason\":\"reason \(number)\"}", staff).body["suspendedAt"].string
          }
        }
        return try await group.reduce(into: Set<String?>()) { $0.insert($1) }
      }
      #expect(moments.count == 1 && !moments.contains(nil))
      let actions = try await customer.get("/v1/audit").body["events"].array.compactMap { $0["action"].string }
      #expect(actions == ["account.suspended", "session.opened", "account.created"])
    }
  }

  @Test("a suspended customer can still log in, read and revoke")
  func whatRemains() async throws {
    try await withPortal { portal in
      let staff = try await portal.logInStaff()
      let customer = try await portal.signUp()
      let id = try await customer.createKey().id
      _ = try await portal.suspend(customer, #"{"reason":"unpaid"}"#, staff)
      let login = try await portal.post(
        "/v1/login", #"{"email":"ada@example.com","password":"correct horse battery"}"#)
      #expect(login.status == 200)
      for path in ["/v1/me", "/v1/keys", "/v1/keys/" + id, "/v1/usage", "/v1/audit"] {
        #expect(try await customer.get(path).status == 200, "\(path)")
      }
      expectProblem(try await customer.post("/v1/keys/\(id)/roll"), 403, "forbidden")
      #expect(try await customer.delete("/v1/keys/" + id).status == 200)
      #expect(try await portal.suspend(customer, #"{"reason":"unpaid"}"#, staff).status == 200)
    }
  }

  @Test("without a reason of 3 to 500 characters, or for an unknown account, nothing happens")
  func refused() async throws {
    try await withPortal { portal in
      let staff = try await portal.logInStaff()
      let customer = try await portal.signUp()
      let id = try await customer.createKey().id
      let rows = try await portal.rowCount()
      for (body, location) in SupportReasons.bad {
        expectProblem(
          try await portal.suspend(customer, body, staff), 400, "invalid_request", at: location, "\(body)")
        expectProblem(
          try await portal.resume(customer, body, staff), 400, "invalid_request", at: location, "\(body)")
      }
      for wrong in ["018f4e6a-0000-7000-8000-000000000000", "x", "%00", "%ff", id] {
        for verb in ["suspend", "resume"] {
          let path = "/v1/support/accounts/\(wrong)/\(verb)"
          expectProblem(try await portal.post(path, #"{"reason":"abc"}"#, token: staff), 404, "not_found", "\(path)")
        }
      }
      #expect(try await portal.rowCount() == rows)
      for body in SupportReasons.good {
        #expect(try await portal.suspend(customer, body, staff).body["suspendedAt"].isTime, "\(body)")
        #expect(try await portal.resume(customer, body, staff).body["suspendedAt"] == .null, "\(body)")
      }
    }
  }
}

extension TestPortal {
  fileprivate func suspend(_ customer: TestCustomer, _ body: String, _ staff: String) async throws -> TestAnswer {
    try await post("/v1/support/accounts/\(customer.accountID)/suspend", body, token: staff)
  }

  fileprivate func resume(_ customer: TestCustomer, _ body: String, _ staff: String) async throws -> TestAnswer {
    try await post("/v1/support/accounts/\(customer.accountID)/resume", body, token: staff)
  }
}
