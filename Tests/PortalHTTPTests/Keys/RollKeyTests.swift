import Foundation
import PortalHTTP
import PortalTesting
import PostgresTesting
import Testing

@Suite("POST /v1/keys/{id}/roll")
struct RollKeyTests {
  private static let names = ["newKey", "oldKey", "propagation", "warning"]

  @Test("without a body the old key is revoked at once, and a new one has its name and settings")
  func withoutGrace() async throws {
    try await withPortal { portal in
      let customer = try await portal.signUp()
      let token = try await portal.makeToken()
      let created = try await customer.post(
        "/v1/keys",
        """
        {"name":"Billing","scopes":["a:b","c"],"rateLimitPerMinute":77,"expiresAt":"2099-01-01T00:00:00.001Z",
         "allowedIPs":["10.0.0.0/8","::1"],"environment":"test"}
        """)
      let (id, key) = (try #require(created.body["id"].string), try #require(created.body["key"].string))
      let answer = try await customer.post("/v1/keys/\(id)/roll")
      #expect(
        try await portal.verify(key, token: token, ",\"clientIP\":\"::1\"").body["code"].string == "REVOKED")
      #expect(answer.status == 201)
      #expect(answer.body.names == Self.names)
      #expect(answer.header("Cache-Control") == "no-store")
      #expect(answer.body["warning"].string == Contract.warning)
      expectPropagation(answer.body["propagation"])

      let (new, old) = (answer.body["newKey"], answer.body["oldKey"])
      expectKey(new, ["key"])
      expectKey(old)
      #expect(old["id"].string == id)
      #expect(old["status"].string == "revoked")
      #expect(old["revokedAt"].isTime)
      #expect(new["id"].string != id)
      #expect(answer.header("Location") == new["id"].string.map { "/v1/keys/" + $0 })
      for name in ["name", "scopes", "rateLimitPerMinute", "expiresAt", "allowedIPs", "environment"] {
        #expect(new[name] == created.body[name])
      }
      #expect(new["status"].string == "active")
      #expect(new["start"].string == new["key"].string.map { String($0.prefix(12)) })
      let newKey = try #require(new["key"].string)
      #expect(
        try await portal.verify(newKey, token: token, ",\"clientIP\":\"::1\"").body["code"].string == "VALID")
    }
  }

  @Test("with a grace both are good, and the old one expires after it")
  func withGrace() async throws {
    try await withPortal { portal in
      let customer = try await portal.signUp()
      let token = try await portal.makeToken()
      let (id, key) = try await customer.createKey()
      let answer = try await customer.post("/v1/keys/\(id)/roll", #"{"graceSeconds":3600}"#)
      #expect(answer.status == 201)
      let (new, old) = (answer.body["newKey"], answer.body["oldKey"])
      #expect(old["status"].string == "active")
      #expect(old["revokedAt"] == .null)
      #expect(new["expiresAt"] == .null)
      let expiresAt = try #require(old["expiresAt"].string.flatMap { Timestamp.date(from: $0) })
      #expect(abs(expiresAt.timeIntervalSinceNow - 3_600) < 60)
      for secret in [key, try #require(new["key"].string)] {
        #expect(try await portal.verify(secret, token: token).body["code"].string == "VALID")
      }
      // Behind the portal's back, so that nobody has to wait an hour.
      try await portal.script("update api_keys set expires_at = now() where id = '\(id)'")
      try await eventually("the old key expires") {
        try await portal.verify(key, token: token).body["code"].string == "EXPIRED"
      }
    }
  }

  @Test("a grace never makes the old key live longer than it would have")
  func graceIsBounded() async throws {
    try await withPortal { portal in
      let customer = try await portal.signUp()
      let expiresAt = Timestamp.text(of: Date(timeIntervalSinceNow: 600))
      let (id, _) = try await customer.createKey(",\"expiresAt\":\"\(expiresAt)\"")
      let answer = try await customer.post("/v1/keys/\(id)/roll", #"{"graceSeconds":604800}"#)
      #expect(answer.body["oldKey"]["expiresAt"].string == expiresAt)
      #expect(answer.body["newKey"]["expiresAt"].string == expiresAt)
    }
  }

  @Test("an empty object, a null and a zero are as no body; whole numbers may be written as JSON likes")
  func bodies() async throws {
    try await withPortal { portal in
      let customer = try await portal.signUp()
      for body in ["{}", #"{"graceSeconds":null}"#, #"{"graceSeconds":0}"#, #"{"graceSeconds":-0}"#, ""] {
        let id = try await customer.createKey().id
        let answer = try await customer.post("/v1/keys/\(id)/roll", body)
        #expect(answer.status == 201, "\(body)")
        #expect(answer.body["oldKey"]["status"].string == "revoked", "\(body)")
      }
      for body in [#"{"graceSeconds":6e1}"#, #"{"graceSeconds":60.0}"#] {
        let id = try await customer.createKey().id
        let answer = try await customer.post("/v1/keys/\(id)/roll", body)
        #expect(answer.body["oldKey"]["status"].string == "active", "\(body)")
      }
    }
  }

  @Test("only an active key that was not rolled yet: else key_not_active")
  func notActive() async throws {
    try await withPortal { portal in
      let customer = try await portal.signUp()
      let (revoked, expired, disabled, rolled) = (
        try await customer.createKey().id, try await customer.createKey().id, try await customer.createKey().id,
        try await customer.createKey().id
      )
      _ = try await customer.delete("/v1/keys/" + revoked)
      try await portal.script(
        """
        update api_keys set expires_at = now() - interval '1 s' where id = '\(expired)';
        update api_keys set disabled_at = now() where id = '\(disabled)'
        """)
      #expect(try await customer.post("/v1/keys/\(rolled)/roll", #"{"graceSeconds":60}"#).status == 201)
      let before = try await portal.rowCount()
      for id in [revoked, expired, disabled, rolled] {
        expectProblem(try await customer.post("/v1/keys/\(id)/roll"), 409, "key_not_active")
      }
      #expect(try await portal.rowCount() == before)
    }
  }

  @Test("of a hundred at once one wins")
  func concurrent() async throws {
    try await withPortal { portal in
      let customer = try await portal.signUp()
      let id = try await customer.createKey().id
      let answers = try await withThrowingTaskGroup { group in
        for _ in 0..<100 { group.addTask { try await customer.post("/v1/keys/\(id)/roll") } }
        return try await group.reduce(into: [TestAnswer]()) { $0.append($1) }
      }
      #expect(answers.count { $0.status == 201 } == 1)
      #expect(answers.count { $0.status == 409 && $0.code == "key_not_active" } == 99)
      #expect(try await portal.keyCount() == 2)
    }
  }

  @Test("a viewer, and an account that is suspended, may not")
  func forbidden() async throws {
    try await withPortal { portal in
      let customer = try await portal.signUp()
      let id = try await customer.createKey().id
      try await portal.script("update accounts set suspended_at = now()")
      expectProblem(try await customer.post("/v1/keys/\(id)/roll"), 403, "forbidden")
      try await portal.script("update accounts set suspended_at = null")
      try await customer.becomeViewer()
      expectProblem(try await customer.post("/v1/keys/\(id)/roll"), 403, "forbidden")
    }
  }

  @Test("a key that the plan no longer covers cannot be rolled into a new one")
  func planLowered() async throws {
    try await withPortal { portal in
      let customer = try await portal.signUp()
      let id = try await customer.createKey(",\"rateLimitPerMinute\":1000").id
      try await portal.script("update plans set rate_limit_per_minute_max = 100")
      expectProblem(try await customer.post("/v1/keys/\(id)/roll"), 403, "limit_not_allowed")
      try await portal.script("update plans set rate_limit_per_minute_max = 10000, scopes = '{users:*}'")
      expectProblem(try await customer.post("/v1/keys/\(id)/roll"), 403, "scope_not_allowed")
      #expect(try await customer.get("/v1/keys/" + id).body["status"].string == "active")
    }
  }
}
