import JSON
import Portal
import PortalAPI
import PortalHTTP
import PortalTesting
import Testing

@Suite("GET /v1/audit with filters")
struct FilterAuditEventsTests {
  /// A trail with events by a user, by staff and by a command, at known times.
  private func withTrail(
    _ body: @escaping @Sendable (TestPortal, TestCustomer) async throws -> Void
  ) async throws {
    try await withPortal { portal in
      let (ada, eve) = (try await portal.signUp(), try await portal.signUp("eve@example.com"))
      let staff = try await portal.logInStaff()
      let first = try await ada.createKey().id
      _ = try await ada.createKey()
      _ = try await eve.createKey()
      _ = try await portal.post(
        "/v1/support/keys/\(first)/revoke", #"{"reason":"leaked"}"#, token: staff)
      try await portal.services.accounts.setSharedLimit(
        5, .fast, of: ada.accountID, by: Caller(actor: .command(name: "root")))
      try await portal.script(
        """
        set session_replication_role = replica;
        update audit_events set at = timestamptz '2026-01-01 00:00:00+00' + seq * interval '1 hour';
        """)
      try await body(portal, ada)
    }
  }

  private func actions(_ answer: TestAnswer) -> [String] {
    answer.body["events"].array.compactMap { $0["action"].string }
  }

  @Test("each filter selects exactly its events, and combined filters select the events that match all of them")
  func filters() async throws {
    try await withTrail { _, ada in
      let all = try await ada.get("/v1/audit")
      #expect(
        actions(all) == [
          "account.limit_changed", "key.revoked", "key.created", "key.created", "session.opened", "account.created",
        ])
      let events = all.body["events"]
      let (key, user) = (events[1]["target"]["id"].string ?? "", events[3]["actor"]["id"].string ?? "")
      let staffID = events[1]["actor"]["id"].string ?? ""
      for (query, expected) in [
        ("actor=user", ["key.created", "key.created", "session.opened", "account.created"]),
        ("actor=staff", ["key.revoked"]), ("actor=command", ["account.limit_changed"]), ("actor=job", []),
        ("actor=\(user)", ["key.created", "key.created", "session.opened", "account.created"]),
        ("actor=\(staffID)", ["key.revoked"]), ("actor=\(staffID.uppercased())", ["key.revoked"]),
        ("actor=\(key)", []),
        ("action=key.created", ["key.created", "key.created"]), ("action=key.rolled", []),
        ("target=\(key)", ["key.revoked", "key.created"]),
        ("target=\(ada.accountID)", ["account.limit_changed", "account.created"]),
        ("target=\(key)&actor=user", ["key.created"]), ("target=\(key)&actor=user&action=key.revoked", []),
        // The first event is at one o'clock.
        ("from=2026-01-01T05:00:00Z", ["account.limit_changed", "key.revoked"]),
        ("from=2026-01-01T05:00:00.001Z", ["account.limit_changed"]), ("to=2026-01-01T02:00:00Z", ["account.created"]),
        ("to=2026-01-01T02:00:00.001Z", ["session.opened", "account.created"]),
        ("from=2026-01-01T02:00:00Z&to=2026-01-01T04:00:00Z", ["key.created", "session.opened"]),
        ("from=2026-01-01T07:00:00%2B05:00&to=2026-01-01T03:00:00Z", ["session.opened"]),
        ("from=2026-01-01T02:00:00Z&to=2026-01-01T02:00:00Z", []), ("to=2020-01-01T00:00:00Z", []),
      ] {
        #expect(actions(try await ada.get("/v1/audit?" + query)) == expected, "\(query)")
      }
    }
  }

  @Test("pages of a filtered trail neither repeat nor miss an event")
  func pages() async throws {
    try await withPortal { portal in
      let ada = try await portal.signUp()
      for _ in 0..<7 {
        let id = try await ada.createKey().id
        _ = try await ada.delete("/v1/keys/" + id)
      }
      let all = try await ada.get("/v1/audit?action=key.revoked").body["events"].array
      #expect(all.count == 7)
      for limit in [1, 3, 7] {
        var (seen, query) = ([JSONValue](), "")
        while true {
          let page = try await ada.get("/v1/audit?action=key.revoked&actor=user&limit=\(limit)\(query)").body
          seen += page["events"].array
          guard let next = page["nextCursor"].string else { break }
          query = "&cursor=" + next
        }
        #expect(seen == all)
      }
    }
  }

  @Test(
    "an invalid filter is refused with its location",
    arguments: [
      ("actor", "ada"), ("actor", "USER"), ("actor", ""), ("action", "key.create"), ("action", ""), ("target", "x"),
      ("target", "01a1ff93"), ("from", "2026-01-01"), ("from", "yesterday"), ("to", "2026-02-30T00:00:00Z"),
      ("to", "infinity"), ("from", "2026-01-01T00:00:00%00Z"),
    ])
  func wrong(_ name: String, _ value: String) async throws {
    try await withPortal { portal in
      let ada = try await portal.signUp()
      for accept in ["application/json", "application/x-ndjson"] {
        expectProblem(
          try await portal.get("/v1/audit?\(name)=\(value)", token: ada.token, headers: ["Accept": accept]), 400,
          "invalid_request", at: "query." + name)
      }
    }
  }

  @Test("a range that ends before it begins is refused, and an export accepts no parameters for pages")
  func wrongTogether() async throws {
    try await withPortal { portal in
      let ada = try await portal.signUp()
      expectProblem(
        try await ada.get("/v1/audit?from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z"), 400, "invalid_request",
        at: "query.from")
      for (name, value) in [("limit", "10"), ("cursor", "AaH_kwdVcK-bbtdejxT1XQ")] {
        expectProblem(
          try await portal.get(
            "/v1/audit?\(name)=\(value)", token: ada.token, headers: ["Accept": "application/x-ndjson"]), 400,
          "invalid_request", at: "query." + name)
      }
    }
  }
}
