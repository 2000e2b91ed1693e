import Foundation
import PortalAPI
import PortalHTTP
import PortalTesting
import Testing

/// Bodies with a valid reason of staff, and invalid ones with their location.
enum SupportReasons {
  static let good = [
    #"{"reason":"abc"}"#, "{\"reason\":\"\(String(repeating: "😀", count: 500))\"}",
    "{\"reason\":\"leaked\",\"ticket\":\"\(String(repeating: "t", count: 100))\"}",
    #"{"reason":"leaked","ticket":null}"#, #"{"reason":" leaked:\n- on a forum\n","ticket":" SUP-1 "}"#,
  ]
  static let bad = [
    ("{}", "body.reason"), (#"{"reason":null}"#, "body.reason"), (#"{"reason":7}"#, "body.reason"),
    (#"{"reason":""}"#, "body.reason"), (#"{"reason":"ab"}"#, "body.reason"),
    ("{\"reason\":\"\(String(repeating: "r", count: 501))\"}", "body.reason"),
    (#"{"reason":"leaked","ticket":""}"#, "body.ticket"), (#"{"reason":"leaked","ticket":7}"#, "body.ticket"),
    ("{\"reason\":\"leaked\",\"ticket\":\"\(String(repeating: "t", count: 101))\"}", "body.ticket"),
    (#"{"reason":"leaked","tickets":"SUP-1"}"#, "body.tickets"), (#"{"reason":"\u0000\u0000\u0000"}"#, "body"),
    (#"{"reason":"a  "}"#, "body.reason"), (#"{"reason":"\u200B\u200B\u200B"}"#, "body.reason"),
    (#"{"reason":"leaked\u202E"}"#, "body.reason"), (#"{"reason":"leaked\u0007"}"#, "body.reason"),
    (#"{"reason":"leaked","ticket":" "}"#, "body.ticket"), (#"{"reason":"leaked","ticket":"SUP\n1"}"#, "body.ticket"),
    (#"{"reason":"leaked","ticket":"\u200F"}"#, "body.ticket"), (#"["leaked"]"#, "body"), ("", "body"),
  ]
}

@Suite("POST /v1/support/keys/{id}/revoke")
struct SupportRevokeTests {
  @Test("a key of any tenant is refused once the response has arrived; the trail has actor, reason and ticket")
  func revoke() async throws {
    try await withPortal { portal in
      let staff = try await portal.logInStaff()
      let token = try await portal.makeToken()
      for email in ["ada@example.com", "eve@example.com"] {
        let customer = try await portal.signUp(email)
        let (id, key) = try await customer.createKey()
        #expect(try await portal.verify(key, token: token).body["code"].string == "VALID")
        let answer = try await portal.revoke(id, #"{"reason":"leaked on a forum","ticket":"SUP-1"}"#, staff)
        #expect(try await portal.verify(key, token: token).body["code"].string == "REVOKED")
        #expect(answer.status == 200)
        #expect(answer.body.names == ["id", "revokedAt", "propagation"])
        #expect(answer.body["id"].string == id)
        #expect(answer.body["revokedAt"].isTime)
        expectPropagation(answer.body["propagation"])
        let event = try await customer.get("/v1/audit").body["events"][0]
        #expect(event["action"].string == "key.revoked")
        #expect(event["actor"]["kind"].string == "staff")
        #expect(event["target"]["id"].string == id)
        #expect(event["reason"].string == "leaked on a forum")
        #expect(event["ticket"].string == "SUP-1")
      }
    }
  }

  @Test("a second revocation, by the tenant or by support, keeps the time and reason of the first")
  func again() async throws {
    try await withPortal { portal in
      let staff = try await portal.logInStaff()
      let customer = try await portal.signUp()
      let (bySupport, byTenant) = (try await customer.createKey().id, try await customer.createKey().id)
      let moments = [
        try await portal.revoke(bySupport, #"{"reason":"leaked"}"#, staff).body["revokedAt"],
        try await customer.delete("/v1/keys/" + byTenant).body["revokedAt"],
      ]
      let rows = try await portal.rowCount()
      for (id, moment) in zip([bySupport, byTenant], moments) {
        let second = try await portal.revoke(id, #"{"reason":"another reason"}"#, staff)
        #expect(second.status == 200)
        #expect(second.body["revokedAt"] == moment)
        #expect(try await customer.delete("/v1/keys/" + id).body["revokedAt"] == moment)
      }
      #expect(try await portal.rowCount() == rows)
      let reasons = try await customer.get("/v1/audit").body["events"].array
        .filter { $0["action"].string == "key.revoked" }.map { $0["reason"].string }
      #expect(reasons == [nil, "leaked"])
    }
  }

  @Test("without a reason of 3 to 500 characters, or with an invalid ticket, the key stays active")
  func reasons() async throws {
    try await withPortal { portal in
      let staff = try await portal.logInStaff()
      let customer = try await portal.signUp()
      let id = try await customer.createKey().id
      let rows = try await portal.rowCount()
      for (body, location) in SupportReasons.bad {
        expectProblem(try await portal.revoke(id, body, staff), 400, "invalid_request", at: location, "\(body)")
      }
      expectProblem(
        try await portal.post("/v1/support/keys/\(id)/revoke", token: staff), 415, "unsupported_media_type")
      #expect(try await portal.rowCount() == rows)
      #expect(try await customer.get("/v1/keys/" + id).body["status"].string == "active")
      for body in SupportReasons.good {
        let id = try await customer.createKey().id
        #expect(try await portal.revoke(id, body, staff).status == 200, "\(body)")
      }
    }
  }

  @Test("an unknown key is not_found")
  func missing() async throws {
    try await withPortal { portal in
      let staff = try await portal.logInStaff()
      let customer = try await portal.signUp()
      for id in ["018f4e6a-0000-7000-8000-000000000000", "x", "%00", "%ff", customer.accountID.uuidString] {
        expectProblem(try await portal.revoke(id, #"{"reason":"leaked"}"#, staff), 404, "not_found", "\(id)")
      }
    }
  }
}

extension TestPortal {
  fileprivate func revoke(_ id: String, _ body: String, _ staff: String) async throws -> TestAnswer {
    try await post("/v1/support/keys/\(id)/revoke", body, token: staff)
  }
}
