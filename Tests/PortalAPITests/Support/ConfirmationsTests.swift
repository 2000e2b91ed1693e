import Foundation
import JSON
import Portal
import PortalAPI
import PortalHTTP
import PortalTesting
import Testing

@Suite("GET, POST …/confirm and DELETE /v1/support/confirmations")
struct ConfirmationsTests {
  /// Creates a customer with 26 keys, and requests their revocation with the session `staff`.
  private func ask(
    _ portal: TestPortal, _ staff: String, _ email: String = "ada@example.com"
  ) async throws -> (customer: TestCustomer, key: String, confirmation: JSONValue) {
    let customer = try await portal.signUp(email)
    let key = try await customer.createKey().key
    try await customer.insertKeys(25)
    let answer = try await portal.revokeKeys(customer, #"{"reason":"leaked","ticket":"SUP-1"}"#, staff)
    return (customer, key, answer.body["confirmation"])
  }

  private func path(_ confirmation: JSONValue, _ more: String = "") -> String {
    "/v1/support/confirmations/" + (confirmation["id"].string ?? "") + more
  }

  @Test("all staff see the pending requests, newest first, without expired ones")
  func list() async throws {
    try await withPortal { portal in
      let (grace, hedy) = (try await portal.logInStaff(), try await portal.logInStaff("hedy@example.com"))
      let empty = try await portal.get("/v1/support/confirmations", token: hedy)
      #expect(empty.status == 200 && empty.body.names == ["confirmations"])
      #expect(empty.body["confirmations"] == .array([]))
      let first = try await ask(portal, grace).confirmation
      let second = try await ask(portal, hedy, "eve@example.com").confirmation
      for token in [grace, hedy] {
        let answer = try await portal.get("/v1/support/confirmations", token: token)
        #expect(answer.body["confirmations"] == .array([second, first]))
        #expect(answer.header("Cache-Control") == "no-store")
      }
      try await portal.script(
        "update staff_confirmations set expires_at = now() where id = '\(second["id"].string ?? "")'")
      let left = try await portal.get("/v1/support/confirmations", token: grace)
      #expect(left.body["confirmations"] == .array([first]))
    }
  }

  @Test(
    "another member of staff, of either role, confirms once; the keys are refused once the response has arrived",
    arguments: StaffMember.Role.allCases)
  func confirm(role: StaffMember.Role) async throws {
    try await withPortal { portal in
      let grace = try await portal.logInStaff(role: .admin)
      let hedy = try await portal.logInStaff("hedy@example.com", role: role)
      try await portal.script("update staff set name = 'Hedy' where email = 'hedy@example.com'")
      let token = try await portal.makeToken()
      let (customer, key, confirmation) = try await ask(portal, grace)
      #expect(try await portal.verify(key, token: token).body["code"].string == "VALID")
      let rows = try await portal.rowCount()
      expectProblem(try await portal.post(path(confirmation, "/confirm"), token: grace), 403, "forbidden")
      #expect(try await portal.rowCount() == rows)
      #expect(try await portal.verify(key, token: token).body["code"].string == "VALID")

      let answer = try await portal.post(path(confirmation, "/confirm"), token: hedy)
      #expect(try await portal.verify(key, token: token).body["code"].string == "REVOKED")
      #expect(answer.status == 200 && answer.body.names == ["revoked", "propagation"])
      #expect(answer.body["revoked"].integer == 26)
      expectPropagation(answer.body["propagation"])
      let events = try await customer.get("/v1/audit?limit=28").body["events"].array
      let told = events.map { [$0["action"].string, $0["actor"]["name"].string, $0["reason"].string] }
      #expect(told.first == ["revocation.confirmed", "Hedy", "leaked"])
      #expect(told.dropFirst().dropLast().allSatisfy { $0 == ["key.revoked", "Hedy", "leaked"] })
      #expect(told.last == ["revocation.requested", "Grace", "leaked"])
      #expect(events.allSatisfy { $0["ticket"].string == "SUP-1" })
      for session in [grace, hedy] {
        expectProblem(try await portal.post(path(confirmation, "/confirm"), token: session), 404, "not_found")
        expectProblem(try await portal.delete(path(confirmation), token: session), 404, "not_found")
      }
    }
  }

  @Test(
    "the requester or another member withdraws the request; the keys stay, and it can be requested again",
    arguments: [0, 1])
  func withdraw(by index: Int) async throws {
    try await withPortal { portal in
      let sessions = [try await portal.logInStaff(), try await portal.logInStaff("hedy@example.com")]
      let token = try await portal.makeToken()
      let (customer, key, confirmation) = try await ask(portal, sessions[0])
      let answer = try await portal.delete(path(confirmation), token: sessions[index])
      #expect(answer.status == 204 && answer.body == .null)
      #expect(try await portal.verify(key, token: token).body["code"].string == "VALID")
      let event = try await customer.get("/v1/audit").body["events"][0]
      #expect(event["action"].string == "revocation.withdrawn" && event["target"]["id"] == confirmation["id"])
      expectProblem(try await portal.post(path(confirmation, "/confirm"), token: sessions[1]), 404, "not_found")
      let anew = try await portal.revokeKeys(customer, #"{"reason":"leaked"}"#, sessions[1])
      #expect(anew.status == 202 && anew.body["confirmation"]["id"] != confirmation["id"])
    }
  }

  @Test("an expired or unknown request is not_found; a body with members is refused")
  func refused() async throws {
    try await withPortal { portal in
      let (grace, hedy) = (try await portal.logInStaff(), try await portal.logInStaff("hedy@example.com"))
      let (customer, _, confirmation) = try await ask(portal, grace)
      let rows = try await portal.rowCount()
      for body in [#"{"reason":"leaked"}"#, "[]", "x"] {
        expectProblem(
          try await portal.post(path(confirmation, "/confirm"), body, token: hedy), 400, "invalid_request",
          at: body.hasPrefix("{") ? "body.reason" : "body", "\(body)")
      }
      #expect(try await portal.rowCount() == rows)
      // From here on the rows are not counted: the job that deletes expired requests may run at any time.
      let told = try await customer.get("/v1/audit").body["events"]
      try await portal.script("update staff_confirmations set expires_at = now()")
      for id in [
        confirmation["id"].string ?? "", "018f4e6a-0000-7000-8000-000000000000", "x", "%00",
        customer.accountID.uuidString,
      ] {
        let path = "/v1/support/confirmations/" + id
        expectProblem(try await portal.post(path + "/confirm", "{}", token: hedy), 404, "not_found", "\(id)")
        expectProblem(try await portal.delete(path, token: hedy), 404, "not_found", "\(id)")
      }
      #expect(try await customer.get("/v1/audit").body["events"] == told)
    }
  }
}
