import PortalAPI
import PortalHTTP
import PortalTesting
import Testing

@Suite("DELETE /v1/keys/{id}")
struct RevokeKeyTests {
  @Test("the key is refused once the response has arrived, and every instance has applied the revocation")
  func revoke() async throws {
    try await withPortal { portal in
      let customer = try await portal.signUp()
      let token = try await portal.makeToken()
      for _ in 0..<20 {
        let (id, key) = try await customer.createKey()
        #expect(try await portal.verify(key, token: token).body["code"].string == "VALID")
        let answer = try await customer.delete("/v1/keys/" + id)
        #expect(try await portal.verify(key, token: token).body["code"].string == "REVOKED")
        #expect(answer.status == 200)
        #expect(answer.body.names == ["id", "revokedAt", "propagation"])
        #expect(answer.body["id"].string == id)
        #expect(answer.body["revokedAt"].isTime)
        expectPropagation(answer.body["propagation"])
      }
    }
  }

  @Test("a second revocation returns the time of the first, and adds nothing to the trail")
  func again() async throws {
    try await withPortal { portal in
      let customer = try await portal.signUp()
      let id = try await customer.createKey().id
      let first = try await customer.delete("/v1/keys/" + id)
      let rows = try await portal.rowCount()
      let second = try await customer.delete("/v1/keys/" + id)
      #expect(second.status == 200)
      #expect(second.body["revokedAt"] == first.body["revokedAt"])
      expectPropagation(second.body["propagation"])
      #expect(try await portal.rowCount() == rows)
      let read = try await customer.get("/v1/keys/" + id)
      #expect(read.body["status"].string == "revoked")
      #expect(read.body["revokedAt"] == first.body["revokedAt"])
    }
  }

  @Test("fifty concurrent revocations all return the same time")
  func concurrent() async throws {
    try await withPortal { portal in
      let customer = try await portal.signUp()
      let id = try await customer.createKey().id
      let moments = try await withThrowingTaskGroup { group in
        for _ in 0..<50 { group.addTask { try await customer.delete("/v1/keys/" + id).body["revokedAt"].string } }
        return try await group.reduce(into: Set<String?>()) { $0.insert($1) }
      }
      #expect(moments.count == 1 && !moments.contains(nil))
      let revocations = try await customer.get("/v1/audit").body["events"].array
        .count { $0["action"].string == "key.revoked" }
      #expect(revocations == 1)
    }
  }

  @Test("a viewer cannot revoke, and a suspended account can")
  func whoMay() async throws {
    try await withPortal { portal in
      let customer = try await portal.signUp()
      let id = try await customer.createKey().id
      try await customer.becomeViewer()
      expectProblem(try await customer.delete("/v1/keys/" + id), 403, "forbidden")
      expectProblem(
        try await customer.delete("/v1/keys/018f4e6a-0000-7000-8000-000000000000"), 403, "forbidden")
      try await portal.script("update memberships set role = 'developer'; update accounts set suspended_at = now()")
      #expect(try await customer.delete("/v1/keys/" + id).status == 200)
    }
  }
}
