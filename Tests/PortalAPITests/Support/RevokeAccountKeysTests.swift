import Foundation
import Portal
import PortalAPI
import PortalHTTP
import PortalTesting
import Testing

extension TestCustomer {
  /// Inserts keys directly into the database, and so without the cap.
  func insertKeys(_ count: Int) async throws {
    try await portal.script(
      """
      insert into api_keys (id, account_id, name, key_start, key_hash, environment, scopes)
      select id, '\(accountID)', 'Key', 'lk_live_0000', sha256(id::text::bytea), 'live', '{a}'
      from (select gen_random_uuid() as id from generate_series(1, \(count))) new
      """)
  }
}

@Suite("POST /v1/support/accounts/{id}/revoke-keys")
struct RevokeAccountKeysTests {
  @Test(
    "25 keys are refused once the response has arrived, with the propagation; the trail has actor, reason and ticket")
  func revoke() async throws {
    try await withPortal { portal in
      let staff = try await portal.logInStaff()
      let token = try await portal.makeToken()
      let (ada, eve) = (try await portal.signUp(), try await portal.signUp("eve@example.com"))
      let (key, other) = (try await ada.createKey().key, try await eve.createKey().key)
      try await ada.insertKeys(24)
      #expect(try await portal.verify(key, token: token).body["code"].string == "VALID")
      let answer = try await portal.revokeKeys(ada, #"{"reason":"leaked","ticket":"SUP-1"}"#, staff)
      #expect(try await portal.verify(key, token: token).body["code"].string == "REVOKED")
      #expect(try await portal.verify(other, token: token).body["code"].string == "VALID")
      #expect(answer.status == 200 && answer.body.names == ["revoked", "propagation"])
      #expect(answer.body["revoked"].integer == 25)
      expectPropagation(answer.body["propagation"])
      let events = try await ada.get("/v1/audit?action=key.revoked").body["events"].array
      #expect(events.count == 25)
      #expect(events.allSatisfy { $0["actor"]["kind"].string == "staff" && $0["actor"]["name"].string == "Grace" })
      #expect(events.allSatisfy { $0["reason"].string == "leaked" && $0["ticket"].string == "SUP-1" })
      let rows = try await portal.rowCount()
      let again = try await portal.revokeKeys(ada, #"{"reason":"leaked"}"#, staff)
      #expect(again.status == 200 && again.body["revoked"].integer == 0)
      #expect(try await portal.rowCount() == rows)
    }
  }

  @Test("26 keys stay valid, and the response has the request that awaits a second member's confirmation")
  func waits() async throws {
    try await withPortal { portal in
      let staff = try await portal.logInStaff()
      let token = try await portal.makeToken()
      let customer = try await portal.signUp()
      let key = try await customer.createKey().key
      try await customer.insertKeys(25)
      let answer = try await portal.revokeKeys(customer, #"{"reason":"leaked","ticket":"SUP-1"}"#, staff)
      #expect(answer.status == 202 && answer.body.names == ["confirmation"])
      let confirmation = answer.body["confirmation"]
      #expect(confirmation.names == Contract.confirmation)
      #expect(confirmation["id"].isID && confirmation["keys"].integer == 26)
      #expect(confirmation["accountId"].string == customer.accountID.uuidString.lowercased())
      #expect(confirmation["accountName"].string == "Account of ada@example.com")
      #expect(confirmation["requestedBy"].names == ["id", "name"])
      #expect(confirmation["requestedBy"]["name"].string == "Grace")
      #expect(confirmation["reason"].string == "leaked" && confirmation["ticket"].string == "SUP-1")
      #expect(confirmation["createdAt"].isTime && confirmation["expiresAt"].isTime)
      #expect(try await portal.verify(key, token: token).body["code"].string == "VALID")
      let event = try await customer.get("/v1/audit").body["events"][0]
      #expect(event["action"].string == "revocation.requested" && event["reason"].string == "leaked")
      #expect(event["target"]["kind"].string == "confirmation" && event["target"]["id"] == confirmation["id"])
      let rows = try await portal.rowCount()
      let again = try await portal.revokeKeys(customer, #"{"reason":"again"}"#, staff)
      #expect(again.status == 202 && again.body["confirmation"] == confirmation)
      #expect(try await portal.rowCount() == rows)
    }
  }

  @Test("without a reason of 3 to 500 characters, with an invalid ticket, or for an unknown account, nothing happens")
  func refused() async throws {
    try await withPortal { portal in
      let staff = try await portal.logInStaff()
      let customer = try await portal.signUp()
      _ = try await customer.createKey()
      let rows = try await portal.rowCount()
      for (body, location) in SupportReasons.bad {
        expectProblem(
          try await portal.revokeKeys(customer, body, staff), 400, "invalid_request", at: location, "\(body)")
      }
      for id in ["018f4e6a-0000-7000-8000-000000000000", "x", "%00", "%ff"] {
        let path = "/v1/support/accounts/\(id)/revoke-keys"
        expectProblem(try await portal.post(path, #"{"reason":"leaked"}"#, token: staff), 404, "not_found", "\(id)")
      }
      #expect(try await portal.rowCount() == rows)
      for body in SupportReasons.good {
        #expect(try await portal.revokeKeys(customer, body, staff).status == 200, "\(body)")
      }
    }
  }
}

extension TestPortal {
  func revokeKeys(_ customer: TestCustomer, _ body: String, _ staff: String) async throws -> TestAnswer {
    try await post("/v1/support/accounts/\(customer.accountID)/revoke-keys", body, token: staff)
  }
}
