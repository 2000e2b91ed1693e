import Foundation
import PortalAPI
import PortalHTTP
import PortalTesting
import Testing

@Suite("POST /v1/keys/revoke-all")
struct RevokeAllKeysTests {
  @Test("revokes all keys of the account and no others, with one event per key and one row in the invalidation log")
  func all() async throws {
    try await withPortal(.live) { portal in
      let customer = try await portal.signUp()
      let other = try await portal.signUp("eve@example.com")
      let token = try await portal.makeToken()
      let untouched = try await other.createKey()
      var keys: [(id: String, key: String)] = []
      for _ in 0..<4 { keys.append(try await customer.createKey()) }
      let first = try await customer.delete("/v1/keys/" + keys[0].id).body["revokedAt"]
      try await portal.script("update api_keys set disabled_at = now() where id = '\(keys[1].id)'")
      try await portal.script("update api_keys set expires_at = now() where id = '\(keys[2].id)'")
      for key in keys { #expect(try await portal.verify(key.key, token: token).status == 200) }
      try await portal.script("delete from invalidation_log")

      let answer = try await customer.post("/v1/keys/revoke-all")
      #expect(answer.status == 200)
      #expect(answer.body.names == ["revoked", "propagation"])
      #expect(answer.body["revoked"].integer == 3)
      expectPropagation(answer.body["propagation"])
      for key in keys {
        #expect(try await portal.verify(key.key, token: token).body["code"].string == "REVOKED")
      }
      #expect(try await customer.get("/v1/keys/" + keys[0].id).body["revokedAt"] == first)
      #expect(try await portal.verify(untouched.key, token: token).body["code"].string == "VALID")
      #expect(try await portal.invalidationCount() == 1)
      let events = try await customer.get("/v1/audit").body["events"].array
      let revoked = events.filter { $0["action"].string == "key.revoked" }
      #expect(Set(revoked.compactMap { $0["target"]["id"].string }) == Set(keys.map(\.id)))
      #expect(revoked.count == 4)

      let again = try await customer.post("/v1/keys/revoke-all", "{}")
      #expect(again.status == 200 && again.body["revoked"].integer == 0)
      #expect(try await customer.get("/v1/audit").body["events"].array.count == events.count)
      #expect(try await customer.post("/v1/keys", #"{"name":"new","scopes":["a"]}"#).status == 201)
    }
  }

  @Test("a viewer cannot revoke, a body with members is refused, and the path is not taken for a key")
  func refused() async throws {
    try await withPortal { portal in
      let customer = try await portal.signUp()
      _ = try await customer.createKey()
      let rows = try await portal.rowCount()
      expectProblem(
        try await customer.post("/v1/keys/revoke-all", #"{"graceSeconds":7}"#), 400, "invalid_request",
        at: "body.graceSeconds")
      for method in ["GET", "PATCH", "DELETE"] {
        let answer = try await portal.request(method, "/v1/keys/revoke-all", token: customer.token)
        expectProblem(answer, 405, "method_not_allowed", "\(method)")
        #expect(answer.header("Allow") == "POST")
      }
      expectProblem(try await customer.delete("/v1/keys"), 405, "method_not_allowed")
      try await customer.becomeViewer()
      expectProblem(try await customer.post("/v1/keys/revoke-all"), 403, "forbidden")
      #expect(try await portal.rowCount() == rows)
    }
  }
}
