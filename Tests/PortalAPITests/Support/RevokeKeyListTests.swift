import Foundation
import JSON
import Portal
import PortalAPI
import PortalHTTP
import PortalTesting
import Postgres
import Testing

/// The ids of all keys, in ascending order.
private struct KeyIDs: PostgresStatement {
  typealias Row = String
  static let sql = "select id::text from api_keys order by id"
}

/// The number of withdrawals in the system's trail.
private struct CountWithdrawals: PostgresStatement {
  typealias Row = Int
  static let sql = "select count(*) from audit_events where account_id is null and action = 'revocation.withdrawn'"
}

@Suite("POST /v1/support/keys/revoke")
struct RevokeKeyListTests {
  private static let path = "/v1/support/keys/revoke"

  private func body(_ texts: [String], _ more: String = #","reason":"leaked","ticket":"SUP-1""#) -> String {
    JSONWriter.text(of: .object([("keys", .array(texts.map { .string($0) }))])).dropLast() + more + "}"
  }

  @Test("each text has a result in its place; the keys are refused once the response has arrived, and none is returned")
  func revoke() async throws {
    try await withPortal { portal in
      let staff = try await portal.logInStaff()
      let (ada, eve) = (try await portal.signUp(), try await portal.signUp("eve@example.com"))
      let (one, two, old) = (try await ada.createKey(), try await eve.createKey(), try await eve.createKey())
      _ = try await eve.delete("/v1/keys/" + old.id)
      let token = try await portal.makeToken()
      let texts = [
        "API_KEY=\(one.key)", two.id, one.id, old.key, Secret.random(prefix: "lk_live").reveal(),
        String(one.key.dropLast()), UUID.version7().text,
      ]
      let answer = try await portal.post(Self.path, body(texts), token: staff)
      #expect(answer.status == 200 && answer.body.names == ["revoked", "results", "propagation"])
      #expect(answer.body["revoked"].integer == 2)
      let results = answer.body["results"].array
      #expect(
        results.map { $0["result"].string } == [
          "revoked", "revoked", "duplicate", "already_revoked", "unknown", "not_a_key", "unknown",
        ])
      #expect(results.map { $0["keyId"].string } == [one.id, two.id, one.id, old.id, nil, nil, nil])
      #expect(results.allSatisfy { $0.names == ["result", "keyId", "accountId", "revokedAt"] })
      #expect(results[0]["accountId"].string == ada.accountID.text && results[0]["revokedAt"].isTime)
      expectPropagation(answer.body["propagation"])
      for text in [one.key, old.key] { #expect(!"\(answer)".contains(text)) }
      for key in [one, two] {
        #expect(try await portal.verify(key.key, token: token).body["code"].string == "REVOKED")
      }
      let event = try await ada.get("/v1/audit?action=key.revoked").body["events"][0]
      #expect(event["reason"].string == "leaked" && event["ticket"].string == "SUP-1")
      #expect(event["target"]["id"].string == one.id && event["actor"]["kind"].string == "staff")
      #expect(!portal.log.contains { $0.contains(one.key) })
    }
  }

  @Test("a list with more than 25 keys waits for another member of staff, who sees the ids and confirms it")
  func confirm() async throws {
    try await withPortal { portal in
      let (grace, hedy) = (try await portal.logInStaff(), try await portal.logInStaff("hedy@example.com"))
      let customer = try await portal.signUp()
      try await customer.insertKeys(26)
      let ids = try await portal.pool.query(KeyIDs())
      let answer = try await portal.post(Self.path, body(ids), token: grace)
      #expect(answer.status == 202 && answer.body.names == ["confirmation", "results"])
      #expect(answer.body["results"].array.allSatisfy { $0["result"].string == "waiting" })
      let confirmation = answer.body["confirmation"]
      #expect(confirmation.names == Contract.confirmation && confirmation["accountId"] == .null)
      #expect(confirmation["keys"].integer == 26)
      #expect(confirmation["keyIds"].array.compactMap(\.string) == ids.sorted())
      #expect(try await portal.get("/v1/support/confirmations", token: hedy).body["confirmations"][0] == confirmation)
      let path = "/v1/support/confirmations/" + (confirmation["id"].string ?? "")
      expectProblem(try await portal.post(path + "/confirm", token: grace), 403, "forbidden")
      let confirmed = try await portal.post(path + "/confirm", token: hedy)
      #expect(confirmed.status == 200 && confirmed.body["revoked"].integer == 26)
      #expect(try await customer.get("/v1/keys?status=active").body["keys"].array.isEmpty)
    }
  }

  @Test("a waiting list is withdrawn when its requester is disabled")
  func requesterLeaves() async throws {
    try await withPortal { portal in
      let grace = try await portal.logInStaff()
      let admin = try await portal.logInStaff("ann@example.com", role: .admin)
      let customer = try await portal.signUp()
      try await customer.insertKeys(26)
      _ = try await portal.post(
        Self.path, body(try await portal.pool.query(KeyIDs())), token: grace)
      let members = try await portal.get("/v1/support/staff", token: admin).body["staff"].array
      let id = try #require(members.first { $0["email"].string == "grace@example.com" }?["id"].string)
      #expect(try await portal.patch("/v1/support/staff/" + id, #"{"enabled":false}"#, token: admin).status == 200)
      #expect(try await portal.get("/v1/support/confirmations", token: admin).body["confirmations"].array.isEmpty)
      #expect(try await portal.pool.query(CountWithdrawals()) == [1])
    }
  }

  @Test("a list without entries, with too many, or with a text of a wrong length, and one without a reason, is refused")
  func refused() async throws {
    try await withPortal { portal in
      let staff = try await portal.logInStaff()
      let key = try await portal.signUp().createKey()
      let rows = try await portal.rowCount()
      let long = String(repeating: "k", count: 1_025)
      for (body, location) in [
        (body([]), "body.keys"), (body(Array(repeating: "k", count: 1_001)), "body.keys"),
        (body([key.key, ""]), "body.keys[1]"), (body([long]), "body.keys[0]"), (body([key.key], ""), "body.reason"),
        (body([key.key], #","reason":"leaked","keyIds":[]"#), "body.keyIds"), (#"{"reason":"leaked"}"#, "body.keys"),
        (#"{"keys":"\#(key.key)","reason":"leaked"}"#, "body.keys"),
      ] {
        let answer = try await portal.post(Self.path, body, token: staff)
        expectProblem(answer, 400, "invalid_request", at: location)
        #expect(!"\(answer)".contains(key.key))
      }
      let tooLarge = body(Array(repeating: String(repeating: "k", count: 1_000), count: 300))
      expectProblem(try await portal.post(Self.path, tooLarge, token: staff), 413, "body_too_large")
      #expect(try await portal.rowCount() == rows)
    }
  }
}
