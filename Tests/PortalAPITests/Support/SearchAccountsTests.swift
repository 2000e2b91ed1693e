import Foundation
import Portal
import PortalAPI
import PortalHTTP
import PortalTesting
import Postgres
import Testing

@Suite("GET /v1/support/accounts")
struct SearchAccountsTests {
  private static let members = [
    "id", "name", "plan", "suspendedAt", "suspensionReason", "createdAt", "keys", "memberCount", "members",
  ]

  @Test("accounts are found by id, by a member's address and by part of the name, newest first")
  func found() async throws {
    try await withPortal { portal in
      let staff = try await portal.logInStaff()
      let (ada, eve) = (try await portal.signUp(), try await portal.signUp("eve@example.com"))
      try await eve.add("ada@example.com", .viewer)
      let (one, other) = (ada.accountID.uuidString.lowercased(), eve.accountID.uuidString.lowercased())
      for (query, ids) in [
        ("id=" + one, [one]), ("id=" + other.uppercased(), [other]), ("id=018f4e6a-0000-7000-8000-000000000000", []),
        ("email=ada@example.com", [other, one]), ("email=Eve@example.com", [other]), ("email=bob@example.com", []),
        ("emailPart=ADA@", [other, one]), ("emailPart=e@exam", [other]), ("emailPart=%25%25%25", []),
        ("name=account", [other, one]), ("name=OF%20EVE", [other]), ("name=%25%25%25", []), ("name=___", []),
        ("name=account&email=eve@example.com", [other]), ("id=\(one)&name=of%20eve", []),
      ] {
        let answer = try await portal.get("/v1/support/accounts?" + query, token: staff)
        #expect(answer.status == 200 && answer.body.names == ["accounts"], "\(query)")
        #expect(answer.body["accounts"].array.compactMap { $0["id"].string } == ids, "\(query)")
        #expect(answer.header("Cache-Control") == "no-store")
      }
    }
  }

  @Test("a member is found by any spelling of the address, also if it was stored before addresses were normalized")
  func spellings() async throws {
    try await withPortal { portal in
      let staff = try await portal.logInStaff()
      let customer = try await portal.signUp("user@b\u{FC}cher.example")
      let id = customer.accountID.uuidString.lowercased()
      for (kept, spellings) in [
        (
          "user@xn--bcher-kva.example",
          ["user@b%C3%BCcher.example", "user@bu%CC%88cher.example", "USER@XN--BCHER-KVA.example"]
        ),
        ("user@b\u{FC}cher.example", ["user@b%C3%BCcher.example"]),
      ] {
        try await portal.pool.withConnection { try await $0.executeScript("update users set email = '\(kept)'") }
        for email in spellings {
          let answer = try await portal.get("/v1/support/accounts?email=\(email)", token: staff)
          #expect(answer.body["accounts"].array.compactMap { $0["id"].string } == [id], "\(email)")
          let keys = try await portal.get("/v1/support/keys?email=\(email)", token: staff)
          #expect(keys.status == 200)
        }
      }
    }
  }

  @Test("an account has its plan, its suspension, the numbers of its keys, and its members, owners first")
  func contents() async throws {
    try await withPortal { portal in
      let staff = try await portal.logInStaff()
      let customer = try await portal.signUp("zoe@example.com")
      for (email, role) in [
        ("v@example.com", MemberRole.viewer), ("d@example.com", .developer), ("a@example.com", .admin),
      ] {
        _ = try await customer.makeMember(email, role)
      }
      var keys: [String] = []
      for _ in 0..<4 { keys.append(try await customer.createKey().id) }
      _ = try await customer.delete("/v1/keys/" + keys[0])
      try await portal.script("update api_keys set expires_at = now() where id = '\(keys[1])'")
      // A key and its predecessor in the grace period count as one.
      #expect(try await customer.post("/v1/keys/\(keys[2])/roll", #"{"graceSeconds":60}"#).status == 201)
      let path = "/v1/support/accounts?id=\(customer.accountID)"
      let account = try await portal.get(path, token: staff).body["accounts"][0]
      #expect(account.names == Self.members)
      #expect(account["name"].string == "Account of zoe@example.com")
      #expect(account["plan"].names == Contract.plan && account["plan"]["name"].string == "default")
      #expect(account["suspendedAt"] == .null && account["suspensionReason"] == .null && account["createdAt"].isTime)
      #expect(account["keys"].names == ["total", "unrevoked", "live"])
      #expect(account["keys"]["total"].integer == 5 && account["keys"]["unrevoked"].integer == 4)
      #expect(account["keys"]["live"].integer == 2)
      #expect(account["memberCount"].integer == 4)
      #expect(account["members"][0].names == ["id", "email", "role"] && account["members"][0]["id"].isID)
      #expect(
        account["members"].array.map { $0["email"].string }
          == ["zoe@example.com", "a@example.com", "d@example.com", "v@example.com"])
      #expect(account["members"].array.map { $0["role"].string } == ["owner", "admin", "developer", "viewer"])

      _ = try await portal.post(
        "/v1/support/accounts/\(customer.accountID)/suspend", #"{"reason":"unpaid"}"#, token: staff)
      try await portal.script("delete from memberships")
      let suspended = try await portal.get(path, token: staff).body["accounts"][0]
      #expect(suspended["suspendedAt"].isTime && suspended["suspensionReason"].string == "unpaid")
      #expect(suspended["members"] == .array([]) && suspended["memberCount"].integer == 0)
    }
  }

  @Test("a deleted account and its keys are not found")
  func deleted() async throws {
    try await withPortal { portal in
      let staff = try await portal.logInStaff()
      let (ada, eve) = (try await portal.signUp(), try await portal.signUp("eve@example.com"))
      let (gone, kept) = (try await ada.createKey(), try await eve.createKey())
      func accounts(_ query: String) async throws -> [String?] {
        try await portal.get("/v1/support/accounts?" + query, token: staff).body["accounts"].array.map {
          $0["name"].string
        }
      }
      func keys(_ query: String) async throws -> [String?] {
        try await portal.get("/v1/support/keys?" + query, token: staff).body["keys"].array.map { $0["id"].string }
      }
      #expect(try await accounts("name=account").count == 2)
      #expect(try await keys("start=lk_") == [kept.id, gone.id])
      let answer = try await portal.deleteWithBody(
        "/v1/account", #"{"password":"correct horse battery"}"#, token: ada.token)
      #expect(answer.status == 200)
      #expect(try await accounts("name=account") == ["Account of eve@example.com"])
      #expect(try await accounts("id=\(ada.accountID)") == [])
      #expect(try await keys("start=lk_") == [kept.id])
      #expect(try await keys("id=\(gone.id)") == [])
      let pasted = try await portal.post("/v1/support/keys/lookup", "{\"key\":\"\(gone.key)\"}", token: staff)
      #expect(pasted.status == 200 && pasted.body["keys"] == .array([]))
    }
  }

  @Test("at most a hundred accounts and fifty members of each are listed, with the number of all members")
  func bounded() async throws {
    try await withPortal { portal in
      let staff = try await portal.logInStaff()
      let customer = try await portal.signUp()
      try await portal.script(
        """
        insert into accounts (id, name) select gen_random_uuid(), 'Many ' || n from generate_series(1, 101) n;
        with person as (
          insert into users (id, email, password_hash)
          select gen_random_uuid(), 'a' || n || '@example.com', 'x' from generate_series(1, 60) n returning id)
        insert into memberships (account_id, user_id, role) select '\(customer.accountID)', id, 'viewer' from person
        """)
      let many = try await portal.get("/v1/support/accounts?name=many", token: staff).body["accounts"].array
      let ids = many.compactMap { $0["id"].string }
      #expect(ids.count == 100 && ids == ids.sorted().reversed())
      let one = try await portal.get("/v1/support/accounts?email=a7@example.com", token: staff).body["accounts"][0]
      #expect(one["members"].array.count == 50 && one["memberCount"].integer == 61)
      #expect(one["members"][0]["role"].string == "owner")
    }
  }

  @Test("a search without criteria, or with an invalid value, is refused with its location")
  func badQueries() async throws {
    try await withPortal { portal in
      let staff = try await portal.logInStaff()
      for (query, location) in [
        ("", "query"), ("?limit=5", "query.limit"), ("?accountName=account", "query.accountName"), ("?id=", "query.id"),
        ("?id=x", "query.id"), ("?email=", "query.email"), ("?email=ada", "query.email"),
        ("?emailPart=ad", "query.emailPart"), ("?name=", "query.name"),
        ("?name=ab", "query.name"), ("?name=a%00b", "query.name"),
        ("?name=" + String(repeating: "x", count: 101), "query.name"),
      ] {
        expectProblem(
          try await portal.get("/v1/support/accounts" + query, token: staff), 400, "invalid_request", at: location,
          "\(query)")
      }
    }
  }
}
