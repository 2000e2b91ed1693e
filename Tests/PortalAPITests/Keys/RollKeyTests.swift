import Foundation
import JSON
import Portal
import PortalAPI
import PortalHTTP
import PortalTesting
import PostgresTesting
import Testing

@Suite("POST /v1/keys/{id}/roll")
struct RollKeyTests {
  private static let names = ["newKey", "oldKey", "propagation", "warning"]

  @Test("without a body, the old key is revoked immediately, and a new key gets its name and settings")
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

  @Test("during the grace period both keys are valid, and the old one expires at its end")
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
      // Directly in the database, so that the test need not wait an hour.
      try await portal.script("update api_keys set expires_at = now() where id = '\(id)'")
      try await eventually("the old key expires") {
        try await portal.verify(key, token: token).body["code"].string == "EXPIRED"
      }
    }
  }

  @Test("a grace period never extends the expiry of the old key")
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

  @Test("an empty object, null and zero are the same as no body; whole numbers may have any JSON notation")
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

  @Test("a key that is not active, or was already rolled, is key_not_active")
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

  @Test(
    "a roll ends a predecessor in its grace period, and its response shows that key, also to a repeat",
    arguments: [false, true])
  func rolledAgain(_ isBackend: Bool) async throws {
    try await withPortal { portal in
      let customer = try await portal.signUp()
      let gateway = try await portal.makeToken()
      let (id, key) = try await customer.createKey()
      let path = isBackend ? "/v1/accounts/\(customer.accountID.uuidString.lowercased())/keys" : "/v1/keys"
      let token = try await isBackend ? portal.makeToken([.writeKeys]) : customer.token
      func roll(_ id: String) async throws -> TestAnswer {
        try await portal.post(
          "\(path)/\(id)/roll", #"{"graceSeconds":604800}"#, token: token, headers: ["Idempotency-Key": id])
      }
      let first = try await roll(id)
      #expect(first.status == 201 && first.body.names == Self.names)
      let next = try #require(first.body["newKey"]["id"].string)
      let answers = [try await roll(next), try await roll(next)]
      for answer in answers {
        #expect(answer.status == 201)
        #expect(answer.body.names == ["newKey", "oldKey", "endedKeys", "propagation", "warning"])
        let ended = answer.body["endedKeys"]
        expectKey(ended[0])
        #expect(ended.array.count == 1 && ended[0]["id"].string == id && ended[0]["status"].string == "revoked")
        #expect(answer.body["oldKey"]["id"].string == next && answer.body["oldKey"]["status"].string == "active")
        #expect(answer.body["newKey"] == answers[0].body["newKey"])
        expectPropagation(answer.body["propagation"])
      }
      let secrets = [key, first.body["newKey"]["key"].string, answers[0].body["newKey"]["key"].string]
      for (secret, code) in zip(secrets, ["REVOKED", "VALID", "VALID"]) {
        #expect(try await portal.verify(secret ?? "", token: gateway).body["code"].string == code)
      }
      let events = try await customer.get("/v1/audit?action=key.revoked").body["events"].array
      #expect(events.map { $0["target"]["id"].string } == [id])
      #expect(events.map { $0["detail"].string } == ["Its successor was rolled."])
      #expect(events.allSatisfy { $0["reason"] == .null })
    }
  }

  @Test("a key that is rolled eleven times in a minute admits no more requests than an unrolled one")
  func limited() async throws {
    try await withPortal { portal in
      let customer = try await portal.signUp()
      let token = try await portal.makeToken()
      var (id, key) = try await customer.createKey(#","rateLimitPerMinute":5"#)
      var count = 0
      for number in 0...11 {
        if number > 0 {
          let new = try await customer.post("/v1/keys/\(id)/roll").body["newKey"]
          (id, key) = (try #require(new["id"].string), try #require(new["key"].string))
        }
        for _ in 0..<5 where try await portal.verify(key, token: token).body["code"].string == "VALID" { count += 1 }
      }
      #expect(count == 5)
    }
  }

  /// In the mode fast, two instances together may exceed the limit by two (docs/ARCHITECTURE.md).
  @Test(
    "rolls do not raise the limit of a key either when two instances share it",
    arguments: [("fast", 7), ("consistent", 5)])
  func limitedTogether(_ mode: String, _ countMax: Int) async throws {
    try await withDatabase { database in
      try await withPortal(on: database) { one in
        try await withPortal(on: database) { other in
          let customer = try await one.signUp()
          let token = try await one.makeToken()
          var (id, key) = try await customer.createKey(
            #","limits":[{"name":"hourly","limit":5,"windowSeconds":3600}],"rateLimitMode":"\#(mode)""#)
          var count = 0
          for number in 1...11 {
            let portal = number.isMultiple(of: 2) ? one : other
            let answer = try await portal.post(
              "/v1/keys/\(id)/roll", #"{"graceSeconds":60}"#, token: customer.token)
            #expect(answer.body["propagation"]["acknowledged"].integer == 2)
            let new = answer.body["newKey"]
            (id, key) = (try #require(new["id"].string), try #require(new["key"].string))
            for instance in [one, other] {
              for _ in 0..<3 where try await instance.verify(key, token: token).body["code"].string == "VALID" {
                count += 1
              }
            }
          }
          #expect((5...countMax).contains(count), "\(count)")
        }
      }
    }
  }

  @Test("of a hundred concurrent rolls, one succeeds")
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

  @Test("neither a viewer nor a suspended account can roll a key")
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

  @Test("a key that the plan no longer covers cannot be rolled")
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
