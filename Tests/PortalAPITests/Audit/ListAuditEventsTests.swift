import JSON
import PortalAPI
import PortalHTTP
import PortalTesting
import Testing

@Suite("GET /v1/audit")
struct ListAuditEventsTests {
  @Test("the trail has the actor and action of each event, newest first, with the reason and ticket of support")
  func trail() async throws {
    try await withPortal { portal in
      let customer = try await portal.signUp()
      let staff = try await portal.logInStaff()
      let (first, second) = (try await customer.createKey().id, try await customer.createKey().id)
      let rolled = try await customer.post("/v1/keys/\(first)/roll")
      _ = try await customer.delete("/v1/keys/" + (rolled.body["newKey"]["id"].string ?? ""))
      _ = try await portal.post(
        "/v1/support/keys/\(second)/revoke", #"{"reason":"leaked on a forum 🙈","ticket":"SUP-1"}"#, token: staff)
      let account = "/v1/support/accounts/\(customer.accountID)"
      _ = try await portal.post(account + "/suspend", #"{"reason":"unpaid"}"#, token: staff)
      _ = try await portal.post(account + "/resume", #"{"reason":"paid"}"#, token: staff)

      let answer = try await customer.get("/v1/audit")
      #expect(answer.status == 200)
      #expect(answer.body.names == ["events", "nextCursor"])
      #expect(answer.body["nextCursor"] == .null)
      let events = answer.body["events"].array
      #expect(
        events.compactMap { $0["action"].string } == [
          "account.resumed", "account.suspended", "key.revoked", "key.revoked", "key.rolled", "key.created",
          "key.created", "key.created", "session.opened", "account.created",
        ])
      for event in events {
        #expect(event.names == Contract.auditEvent)
        #expect(event["id"].isID && event["at"].isTime)
        #expect(event["actor"].names == ["kind", "id", "name"])
        #expect(event["target"].names == ["kind", "id"])
        #expect(event["target"]["id"].isID)
      }
      let bySupport = events[2]
      #expect(bySupport["actor"]["kind"].string == "staff")
      #expect(bySupport["actor"]["name"].string == "Grace")
      #expect(bySupport["actor"]["id"].isID)
      #expect(bySupport["target"] == .object([("kind", .string("key")), ("id", .string(second))]))
      #expect(bySupport["reason"].string == "leaked on a forum 🙈")
      #expect(bySupport["ticket"].string == "SUP-1")
      #expect(bySupport["detail"] == .null)
      #expect(events[1]["reason"].string == "unpaid")
      #expect(events[1]["target"]["kind"].string == "account")
      let byCustomer = events[3]
      #expect(byCustomer["actor"]["kind"].string == "user")
      #expect(byCustomer["actor"]["name"].string == "ada@example.com")
      #expect(byCustomer["reason"] == .null && byCustomer["ticket"] == .null && byCustomer["ip"] == .null)
      #expect(events[4]["target"]["id"].string == first)
      // A roll has two events: the creation of the successor comes first.
      #expect(events[5]["target"]["id"] == rolled.body["newKey"]["id"])
    }
  }

  @Test("another tenant does not see the events")
  func otherTenant() async throws {
    try await withPortal { portal in
      let (ada, eve) = (try await portal.signUp(), try await portal.signUp("eve@example.com"))
      _ = try await ada.delete("/v1/keys/" + (try await ada.createKey().id))
      let events = try await eve.get("/v1/audit").body["events"].array
      #expect(events.compactMap { $0["action"].string } == ["session.opened", "account.created"])
      #expect(events[0]["actor"]["name"].string == "eve@example.com")
    }
  }

  @Test("pages neither repeat nor miss an event, and invalid parameters are refused with their location")
  func pages() async throws {
    try await withPortal { portal in
      let customer = try await portal.signUp()
      for _ in 0..<4 { _ = try await customer.createKey() }
      let all = try await customer.get("/v1/audit").body["events"].array
      #expect(all.count == 6)
      var seen: [JSONValue] = []
      var query = "?limit=2"
      while true {
        let page = try await customer.get("/v1/audit" + query).body
        seen += page["events"].array
        guard let next = page["nextCursor"].string else { break }
        query = "?limit=2&cursor=" + next
      }
      #expect(seen == all)
      for (name, value) in [("limit", "0"), ("limit", "101"), ("limit", "x"), ("cursor", "x"), ("cursor", "")] {
        expectProblem(
          try await customer.get("/v1/audit?\(name)=\(value)"), 400, "invalid_request", at: "query." + name)
      }
    }
  }

  @Test("the trail has the client's address for requests over a socket")
  func address() async throws {
    try await withPortal(.live) { portal in
      let customer = try await portal.signUp()
      _ = try await customer.createKey()
      let event = try await customer.get("/v1/audit").body["events"][0]
      #expect(["127.0.0.1", "::1"].contains(event["ip"].string))
    }
  }
}
