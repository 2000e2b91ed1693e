import Foundation
import Portal
import PortalAPI
import PortalHTTP
import PortalTesting
import Testing

@Suite("GET /v1/support/keys")
struct SearchKeysTests {
  @Test("keys of any tenant are found by start, id and account, newest first")
  func found() async throws {
    try await withPortal { portal in
      let staff = try await portal.logInStaff()
      let (ada, eve) = (try await portal.signUp(), try await portal.signUp("eve@example.com"))
      let (first, second) = (try await ada.createKey(), try await eve.createKey())
      let third = try await ada.createKey(#","environment":"test""#)
      _ = try await eve.delete("/v1/keys/" + second.id)
      let adas = ada.accountID.uuidString
      for (query, ids) in [
        ("start=" + first.key.prefix(12), [first.id]), ("start=" + second.key.prefix(11), [second.id]),
        ("start=lk_live_", [second.id, first.id]), ("start=l", [third.id, second.id, first.id]),
        ("id=" + first.id, [first.id]), ("id=" + first.id.uppercased(), [first.id]),
        ("accountId=" + adas, [third.id, first.id]), ("accountId=\(adas)&start=lk_live", [first.id]),
        ("accountId=\(adas)&id=\(second.id)", []), ("id=018f4e6a-0000-7000-8000-000000000000", []),
        ("accountId=018f4e6a-0000-7000-8000-000000000000", []), ("start=lk_xxxx", []), ("start=LK_LIVE", []),
        // These are not wildcards, and no key contains them.
        ("start=%25", []), ("start=___", []), ("start=lk%25", []), ("start=%5C", []), ("start=%27--", []),
      ] as [(String, [String])] {
        let answer = try await portal.get("/v1/support/keys?" + query, token: staff)
        #expect(answer.status == 200)
        #expect(answer.body.names == ["keys"])
        #expect(answer.body["keys"].array.compactMap { $0["id"].string } == ids, "\(query)")
      }
      let answer = try await portal.get("/v1/support/keys?id=" + second.id, token: staff)
      expectKey(answer.body["keys"][0], ["accountId"])
      #expect(answer.body["keys"][0]["accountId"].string == eve.accountID.uuidString.lowercased())
      #expect(answer.body["keys"][0]["status"].string == "revoked")
      #expect(answer.header("Cache-Control") == "no-store")
    }
  }

  @Test("keys are found by a member's address and by part of the account's name, in any case")
  func people() async throws {
    try await withPortal { portal in
      let staff = try await portal.logInStaff()
      let (ada, eve) = (try await portal.signUp(), try await portal.signUp("eve@example.com"))
      let (first, second) = (try await ada.createKey().id, try await eve.createKey().id)
      try await ada.add("eve@example.com", .viewer)
      try await portal.script("update accounts set name = 'Größe_100% GmbH' where id = '\(ada.accountID)'")
      for (query, ids) in [
        ("email=ada@example.com", [first]), ("email=%20EVE@example.com", [second, first]),
        ("email=bob@example.com", []), ("email=eve@example.com&accountId=\(eve.accountID)", [second]),
        ("email=ada%25@example.com", []), ("emailPart=Ve@e", [second, first]), ("emailPart=ada@", [first]),
        ("emailPart=___", []), ("emailPart=example&accountName=gmbh", [first]),
        ("accountName=gr%C3%B6%C3%9Fe", [first]), ("accountName=GMBH", [first]), ("accountName=eve@", [second]),
        ("accountName=_100%25%20g", [first]), ("accountName=%25%25%25", []), ("accountName=___", []),
        ("accountName=%27--", []), ("accountName=gmbh&email=eve@example.com", [first]),
        ("accountName=gmbh&id=\(second)", []),
      ] {
        let answer = try await portal.get("/v1/support/keys?" + query, token: staff)
        #expect(answer.status == 200, "\(query)")
        #expect(answer.body["keys"].array.compactMap { $0["id"].string } == ids, "\(query)")
      }
    }
  }

  @Test("a search without criteria, or with an invalid value, is refused with its location")
  func badQueries() async throws {
    try await withPortal { portal in
      let staff = try await portal.logInStaff()
      for (query, location) in [
        ("", "query"), ("?", "query"), ("?limit=5", "query.limit"), ("?start=", "query.start"),
        ("?start=" + String(repeating: "x", count: 33), "query.start"), ("?start=%00", "query.start"),
        ("?id=", "query.id"),
        ("?id=1", "query.id"), ("?id=%00", "query.id"), ("?accountId=x", "query.accountId"),
        ("?accountId=018f4e6a00007000800000000000000", "query.accountId"), ("?email=", "query.email"),
        ("?email=ada", "query.email"), ("?emailPart=ad", "query.emailPart"), ("?emailPart=ad%00", "query.emailPart"),
        ("?email=a%00@example.com", "query.email"),
        ("?accountName=", "query.accountName"), ("?accountName=ab", "query.accountName"),
        ("?accountName=ab%00", "query.accountName"),
        ("?accountName=" + String(repeating: "x", count: 101), "query.accountName"),
        ("?name=account", "query.name"), ("?id=x&id=x", "query.id"),
      ] {
        expectProblem(
          try await portal.get("/v1/support/keys" + query, token: staff), 400, "invalid_request", at: location,
          "\(query)")
      }
    }
  }

  @Test("at most a hundred keys are found")
  func bounded() async throws {
    try await withPortal { portal in
      let staff = try await portal.logInStaff()
      let customer = try await portal.signUp()
      try await portal.script(
        """
        insert into api_keys (id, account_id, name, key_start, key_hash, environment, scopes)
        select gen_random_uuid(), '\(customer.accountID)', 'Key', 'lk_live_0000', sha256(number::text::bytea), 'live',
          '{a}'
        from generate_series(1, 120) number
        """)
      let ids = try await portal.get("/v1/support/keys?start=lk", token: staff).body["keys"].array
        .compactMap { $0["id"].string }
      #expect(ids.count == 100)
      #expect(ids == ids.sorted().reversed())
    }
  }
}
