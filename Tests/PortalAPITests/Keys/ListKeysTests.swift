import PortalAPI
import PortalHTTP
import PortalTesting
import Testing

@Suite("GET /v1/keys")
struct ListKeysTests {
  @Test("an account without keys has an empty list")
  func empty() async throws {
    try await withPortal { portal in
      let answer = try await portal.signUp().get("/v1/keys")
      #expect(answer.status == 200)
      #expect(answer.body == .object([("keys", .array([])), ("nextCursor", .null)]))
    }
  }

  @Test("the newest keys come first, and pages neither repeat nor miss a key, though one is created in between")
  func pages() async throws {
    try await withPortal { portal in
      let customer = try await portal.signUp()
      var ids: [String] = []
      for _ in 0..<7 { ids.append(try await customer.createKey().id) }
      let all = try await customer.get("/v1/keys")
      #expect(all.body.names == ["keys", "nextCursor"])
      #expect(all.body["keys"].array.map { $0["id"].string } == ids.reversed())
      #expect(all.body["nextCursor"] == .null)
      for key in all.body["keys"].array { expectKey(key) }

      var seen: [String?] = []
      var query = "?limit=3"
      var sizes: [Int] = []
      while true {
        let page = try await customer.get("/v1/keys" + query)
        #expect(page.status == 200)
        seen += page.body["keys"].array.map { $0["id"].string }
        sizes.append(page.body["keys"].array.count)
        if sizes.count == 1 { _ = try await customer.createKey() }
        guard let next = page.body["nextCursor"].string else { break }
        query = "?limit=3&cursor=" + next
      }
      #expect(seen == ids.reversed())
      #expect(sizes == [3, 3, 1])
    }
  }

  @Test("a page that ends with the last key has no next cursor")
  func exactPage() async throws {
    try await withPortal { portal in
      let customer = try await portal.signUp()
      for _ in 0..<2 { _ = try await customer.createKey() }
      let answer = try await customer.get("/v1/keys?limit=2")
      #expect(answer.body["keys"].array.count == 2)
      #expect(answer.body["nextCursor"] == .null)
      #expect(try await customer.get("/v1/keys?limit=1").body["nextCursor"].string != nil)
      #expect(try await customer.get("/v1/keys?limit=100").status == 200)
    }
  }

  @Test("keys can be filtered by status, and the status of a key is the first one that applies")
  func status() async throws {
    try await withPortal { portal in
      let customer = try await portal.signUp()
      let (active, revoked, expired, disabled) = (
        try await customer.createKey().id, try await customer.createKey().id, try await customer.createKey().id,
        try await customer.createKey().id
      )
      _ = try await customer.delete("/v1/keys/" + revoked)
      try await portal.script(
        """
        update api_keys set expires_at = now() - interval '1 s' where id in ('\(expired)', '\(revoked)');
        update api_keys set disabled_at = now() where id in ('\(disabled)', '\(revoked)')
        """)
      let expected = ["active": active, "revoked": revoked, "expired": expired, "disabled": disabled]
      for (status, id) in expected {
        let keys = try await customer.get("/v1/keys?status=" + status).body["keys"].array
        #expect(keys.map { $0["id"].string } == [id])
        #expect(keys.map { $0["status"].string } == [status])
      }
      #expect(try await customer.get("/v1/keys?status=suspended").body["keys"].array.isEmpty)
      try await portal.script("update accounts set suspended_at = now()")
      let suspended = try await customer.get("/v1/keys?status=suspended").body["keys"].array
      #expect(suspended.map { $0["id"].string } == [disabled, expired, active])
      #expect(suspended.allSatisfy { $0["status"].string == "suspended" })
    }
  }

  @Test("an invalid limit, cursor or status is refused with its location")
  func badQuery() async throws {
    try await withPortal { portal in
      let customer = try await portal.signUp()
      for limit in ["0", "-1", "101", "1.5", "abc", "", "Infinity", "9223372036854775808", "1e1", "%00", "0x10"] {
        let answer = try await customer.get("/v1/keys?limit=" + limit)
        expectProblem(answer, 400, "invalid_request", at: "query.limit", "\(limit)")
      }
      for cursor in ["", "x", "abcdefghijklmnopqrstu", "abcdefghijklmnopqrstuvw", "%00", "!!!!!!!!!!!!!!!!!!!!!!", "1"]
      {
        let answer = try await customer.get("/v1/keys?cursor=" + cursor)
        expectProblem(answer, 400, "invalid_request", at: "query.cursor", "\(cursor)")
      }
      for status in ["", "Active", "deleted", "active,revoked", "%00", "%ff", "%"] {
        let answer = try await customer.get("/v1/keys?status=" + status)
        expectProblem(answer, 400, "invalid_request", at: "query.status", "\(status)")
      }
    }
  }
}
