import Foundation
import JSON
import Portal
import PortalAPI
import PortalApplication
import PortalHTTP
import PortalTesting
import PostgresTesting
import Testing

extension TestPortal {
  /// Gives a key, or the account, a bucket of its own. Takes effect at once.
  fileprivate func giveCredits(_ amount: Int, to table: String, _ id: UUID, of account: UUID) async throws {
    try await script(
      """
      with bucket as (
        insert into credits (id, account_id, available) values (gen_random_uuid(), '\(account)', \(amount))
        returning id
      )
      update \(table) set credits_id = bucket.id from bucket where \(table).id = '\(id)'
      """)
  }
}

@Suite("Verification of keys with credits")
struct CreditsTests {
  @Test("credits are taken by cost to the last one, and the answers say what is left", arguments: [true, false])
  func spending(hasFastPath: Bool) async throws {
    try await withPortal(.live, configure: { $0.hasFastPath = hasFastPath }) { portal in
      let customer = try await portal.signUp()
      let key = try await customer.createKey()
      let token = try await portal.makeToken()
      let keyID = try #require(UUID(uuidString: key.id))
      try await portal.giveCredits(100, to: "api_keys", keyID, of: customer.accountID)
      try await eventually("the key has credits") {
        try await portal.verify(key.key, token: token, #","credits":{"cost":0}"#).body["credits"] != .null
      }
      var left = 100
      for (more, cost) in [("", 1), (#","credits":{"cost":9}"#, 9), (#","credits":{}"#, 1), (#","credits":null"#, 1)] {
        let answer = try await portal.verify(key.key, token: token, more)
        left -= cost
        #expect(answer.body["code"].string == "VALID" && answer.body["credits"]["remaining"].integer == left)
        #expect(answer.body.names == Contract.verdict + ["credits"])
      }
      let gate = try await portal.get(
        "/v1/authorize", token: key.key, headers: ["X-Latchkey-Token": token, "X-Credit-Cost": "8"])
      left -= 8
      #expect(gate.status == 200 && gate.header("X-Latchkey-Credits-Remaining") == "\(left)")
      let batch = try await portal.post(
        "/v1/verify/batch",
        #"{"requests":[{"key":"\#(key.key)","credits":{"cost":40}},{"key":"\#(key.key)","credits":{"cost":41}}]}"#,
        token: token)
      left -= 40
      #expect(batch.body["results"].array.map { $0["code"].string } == ["VALID", "USAGE_EXCEEDED"])
      #expect(batch.body["results"].array.map { $0["credits"]["remaining"].integer } == [left, left])
      for _ in 1...2 {
        let refused = try await portal.verify(key.key, token: token, #","credits":{"cost":41}"#)
        #expect(refused.status == 200 && refused.body["code"].string == "USAGE_EXCEEDED")
        #expect(refused.body.names == Contract.verdict + ["credits", "retryAfterSeconds"])
        #expect(refused.body["credits"]["remaining"].integer == left && refused.body["retryAfterSeconds"] == .null)
        #expect(refused.header("Retry-After") == nil)
        let closed = try await portal.get(
          "/v1/authorize", token: key.key, headers: ["X-Latchkey-Token": token, "X-Credit-Cost": "41"])
        #expect(closed.status == 429 && closed.header("X-Latchkey-Code") == "USAGE_EXCEEDED")
        #expect(closed.header("X-Latchkey-Credits-Remaining") == "\(left)" && closed.header("Retry-After") == nil)
      }
      let last = try await portal.verify(key.key, token: token, #","credits":{"cost":\#(left)}"#)
      #expect(last.body["code"].string == "VALID" && last.body["credits"]["remaining"].integer == 0)
      #expect(try await portal.verify(key.key, token: token).body["code"].string == "USAGE_EXCEEDED")
      let free = try await portal.verify(key.key, token: token, #","credits":{"cost":0}"#)
      #expect(free.body["code"].string == "VALID")
    }
  }

  @Test("a key without credits takes a cost and tells nothing of them")
  func without() async throws {
    try await withPortal { portal in
      let customer = try await portal.signUp()
      let key = try await customer.createKey().key
      let token = try await portal.makeToken()
      let answer = try await portal.verify(key, token: token, #","credits":{"cost":1000000}"#)
      #expect(answer.body["code"].string == "VALID" && answer.body.names == Contract.verdict)
      let gate = try await portal.get("/v1/authorize", token: key, headers: ["X-Latchkey-Token": token])
      #expect(gate.status == 200 && gate.header("X-Latchkey-Credits-Remaining") == nil)
    }
  }

  @Test("an invalid cost is refused with its place, and in a batch alone", arguments: [true, false])
  func invalid(hasFastPath: Bool) async throws {
    try await withPortal(configure: { $0.hasFastPath = hasFastPath }) { portal in
      let customer = try await portal.signUp()
      let key = try await customer.createKey().key
      let token = try await portal.makeToken()
      for (more, location) in [
        (#","credits":1"#, "body.credits"), (#","credits":[]"#, "body.credits"),
        (#","credits":{"cost":-1}"#, "body.credits.cost"), (#","credits":{"cost":1000001}"#, "body.credits.cost"),
        (#","credits":{"cost":"1"}"#, "body.credits.cost"), (#","credits":{"price":1}"#, "body.credits.price"),
      ] {
        let answer = try await portal.verify(key, token: token, more)
        expectProblem(answer, 400, "invalid_request", at: location, "\(more)")
      }
      let batch = try await portal.post(
        "/v1/verify/batch", #"{"requests":[{"key":"\#(key)","credits":{"cost":-1}},{"key":"\#(key)"}]}"#, token: token)
      #expect(batch.body["results"].array.map { $0["code"].string } == ["INVALID_REQUEST", "VALID"])
      for text in ["-1", "1.0", "a", "1000001", "00000001", "1 2"] {
        let gate = try await portal.get(
          "/v1/authorize", token: key, headers: ["X-Latchkey-Token": token, "X-Credit-Cost": text])
        expectProblem(gate, 400, "invalid_request", at: "header.X-Credit-Cost", "\(text)")
      }
    }
  }
}
