import Foundation
import JSON
import Portal
import PortalAPI
import PortalApplication
import PortalHTTP
import PortalTesting
import Postgres
import PostgresTesting
import Testing

@Suite("/v1/support/staff")
struct StaffMembersTests {
  private static let path = "/v1/support/staff/"
  private static let grace = "grace@example.com"

  @Test("an admin can list all members, newest first, in pages, and read each by id with its ETag")
  func list() async throws {
    try await withPortal(configure: { $0.secretBox = secretBox }) { portal in
      let admin = try await portal.logInStaff("ann@example.com", role: .admin)
      let support = try await portal.logInStaff(Self.grace)
      _ = try await portal.enrol(support, "/v1/support/me")
      for number in 1...3 { _ = try await portal.logInStaff("support\(number)@example.com") }
      var (found, query) = ([JSONValue](), "?limit=2")
      while true {
        let answer = try await portal.get("/v1/support/staff" + query, token: admin)
        #expect(answer.status == 200 && answer.body.names == ["staff", "nextCursor"])
        found += answer.body["staff"].array
        guard let cursor = answer.body["nextCursor"].string else { break }
        query = "?limit=2&cursor=" + cursor
      }
      #expect(
        found.map { $0["email"].string } == [
          "support3@example.com", "support2@example.com", "support1@example.com", Self.grace, "ann@example.com",
        ])
      for member in found {
        #expect(member.names == Contract.staff)
        #expect(member["disabledAt"] == .null && member["createdAt"].isTime && member["name"].string == "Grace")
        #expect(member["secondFactorEnabledAt"].isTime == (member["email"].string == Self.grace))
      }
      let one = try await portal.get(Self.path + (found[4]["id"].string ?? ""), token: admin)
      #expect(one.status == 200 && one.body == found[4] && one.header("ETag") == "\"1\"")
      for query in ["?limit=0", "?limit=101", "?cursor=x", "?role=admin"] {
        expectProblem(try await portal.get("/v1/support/staff" + query, token: admin), 400, "invalid_request")
      }
      for id in [UUID().uuidString, "x"] {
        expectProblem(try await portal.get(Self.path + id, token: admin), 404, "not_found")
        expectProblem(try await portal.patch(Self.path + id, "{}", token: admin), 404, "not_found")
        expectProblem(try await portal.delete(Self.path + id, token: admin), 404, "not_found")
        expectProblem(try await portal.delete(Self.path + id + "/second-factor", token: admin), 404, "not_found")
      }
    }
  }

  @Test("a new role, disabling and enabling end all sessions immediately; a request that changes nothing ends none")
  func change() async throws {
    try await withPortal { portal in
      let admin = try await portal.logInStaff("ann@example.com", role: .admin)
      let support = try await portal.logInStaff(Self.grace)
      let id = try await portal.staffID(Self.grace)
      let unchanged = try await portal.patch(Self.path + id, #"{"role":"support","enabled":true}"#, token: admin)
      #expect(unchanged.status == 200 && unchanged.header("ETag") == "\"1\"")
      #expect(try await portal.get("/v1/support/me", token: support).status == 200)

      let promoted = try await portal.patch(
        Self.path + id, #"{"role":"admin"}"#, token: admin, headers: ["If-Match": "\"1\""])
      #expect(promoted.status == 200 && promoted.body.names == Contract.staff)
      #expect(promoted.body["role"].string == "admin" && promoted.header("ETag") == "\"2\"")
      expectProblem(try await portal.get("/v1/support/me", token: support), 401, "unauthenticated")
      let stale = try await portal.patch(
        Self.path + id, #"{"enabled":false}"#, token: admin, headers: ["If-Match": "\"1\""])
      expectProblem(stale, 412, "precondition_failed")

      let again = try await portal.logInAgain(Self.grace)
      #expect(try await portal.get("/v1/support/staff", token: again).status == 200)
      let disabled = try await portal.patch(Self.path + id, #"{"enabled":false}"#, token: admin)
      #expect(disabled.status == 200 && disabled.body["disabledAt"].isTime)
      expectProblem(try await portal.get("/v1/support/staff", token: again), 401, "unauthenticated")
      await #expect(throws: TestSetupError.self) { try await portal.logInAgain(Self.grace) }
      let since = try await portal.patch(Self.path + id, #"{"enabled":false}"#, token: admin).body["disabledAt"]
      #expect(since == disabled.body["disabledAt"])

      let enabled = try await portal.patch(Self.path + id, #"{"enabled":true,"role":"support"}"#, token: admin)
      #expect(enabled.body["disabledAt"] == .null && enabled.body["role"].string == "support")
      // Ended sessions stay ended.
      expectProblem(try await portal.get("/v1/support/me", token: again), 401, "unauthenticated")
      _ = try await portal.logInAgain(Self.grace)
      #expect(
        try await portal.told() == [
          "staff.role_changed grace@example.com: from support to admin", "staff.disabled grace@example.com",
          "staff.role_changed grace@example.com: from admin to support", "staff.enabled grace@example.com",
        ])
    }
  }

  @Test("invalid values are refused with their location, and change nothing")
  func refused() async throws {
    try await withPortal { portal in
      let admin = try await portal.logInStaff("ann@example.com", role: .admin)
      _ = try await portal.logInStaff(Self.grace)
      let id = try await portal.staffID(Self.grace)
      let rows = try await portal.rowCount()
      for (body, location) in [
        (#"{"role":"owner"}"#, "body.role"), (#"{"role":null}"#, "body.role"), (#"{"enabled":1}"#, "body.enabled"),
        (#"{"enabled":null}"#, "body.enabled"), (#"{"name":"x"}"#, "body.name"),
      ] {
        let answer = try await portal.patch(Self.path + id, body, token: admin)
        expectProblem(answer, 400, "invalid_request", at: location, "\(body)")
      }
      let tag = try await portal.patch(Self.path + id, "{}", token: admin, headers: ["If-Match": "7"])
      expectProblem(tag, 400, "invalid_request", at: "header.If-Match")
      #expect(try await portal.rowCount() == rows)
    }
  }

  @Test("removal deletes a member with sessions and second factor, and frees the address")
  func remove() async throws {
    try await withPortal(configure: { $0.secretBox = secretBox }) { portal in
      let admin = try await portal.logInStaff("ann@example.com", role: .admin)
      let support = try await portal.logInStaff(Self.grace)
      _ = try await portal.enrol(support, "/v1/support/me")
      let id = try await portal.staffID(Self.grace)
      #expect(try await portal.delete(Self.path + id, token: admin).status == 204)
      expectProblem(try await portal.get("/v1/support/me", token: support), 401, "unauthenticated")
      expectProblem(try await portal.delete(Self.path + id, token: admin), 404, "not_found")
      #expect(try await portal.told() == ["staff.removed grace@example.com"])
      _ = try await portal.logInStaff(Self.grace)
    }
  }

  @Test("a second factor can be reset only by another admin; from then on the password suffices")
  func resetSecondFactor() async throws {
    try await withPortal(configure: { $0.secretBox = secretBox }) { portal in
      let admin = try await portal.logInStaff("ann@example.com", role: .admin)
      let support = try await portal.logInStaff(Self.grace)
      let id = try await portal.staffID(Self.grace)
      let factor = Self.path + id + "/second-factor"
      expectProblem(try await portal.delete(factor, token: admin), 404, "not_found")
      let enrolled = try await portal.enrol(support, "/v1/support/me")
      await #expect(throws: TestSetupError.self) { try await portal.logInAgain(Self.grace) }
      #expect(try await portal.delete(factor, token: admin).status == 204)
      expectProblem(try await portal.get("/v1/support/me", token: enrolled.token), 401, "unauthenticated")
      _ = try await portal.logInAgain(Self.grace)
      let own = Self.path + (try await portal.staffID("ann@example.com")) + "/second-factor"
      expectProblem(try await portal.delete(own, token: admin), 403, "forbidden")
      #expect(try await portal.told() == ["staff.second_factor_reset grace@example.com"])
    }
  }

  @Test("the last admin who can log in can be neither removed, disabled nor demoted")
  func lastAdmin() async throws {
    try await withPortal { portal in
      let admin = try await portal.logInStaff("ann@example.com", role: .admin)
      _ = try await portal.logInStaff(Self.grace, role: .admin)
      let (ann, grace) = (try await portal.staffID("ann@example.com"), try await portal.staffID(Self.grace))
      #expect(try await portal.patch(Self.path + grace, #"{"enabled":false}"#, token: admin).status == 200)
      let rows = try await portal.rowCount()
      for body in [#"{"role":"support"}"#, #"{"enabled":false}"#] {
        expectProblem(try await portal.patch(Self.path + ann, body, token: admin), 409, "last_admin")
      }
      expectProblem(try await portal.delete(Self.path + ann, token: admin), 409, "last_admin")
      #expect(try await portal.rowCount() == rows)
      // A disabled admin does not count as the last one, and can be removed.
      #expect(try await portal.delete(Self.path + grace, token: admin).status == 204)
    }
  }

  @Test(
    "when two admins remove, disable or demote each other concurrently, one is left", arguments: ["DELETE", "PATCH"])
  func race(method: String) async throws {
    try await withPortal { portal in
      for round in 0..<5 {
        let addresses = ["ann\(round)@example.com", "bob\(round)@example.com"]
        var (tokens, ids) = ([String](), [String]())
        for address in addresses {
          tokens.append(try await portal.logInStaff(address, role: .admin))
          ids.append(try await portal.staffID(address))
        }
        // Removes the admin left from the round before.
        try await portal.script("delete from staff where id not in ('\(ids[0])', '\(ids[1])')")
        let body = round.isMultiple(of: 2) ? #"{"role":"support"}"# : #"{"enabled":false}"#
        @Sendable func send(_ id: String, _ token: String) async throws -> TestAnswer {
          method == "DELETE"
            ? try await portal.delete(Self.path + id, token: token)
            : try await portal.patch(Self.path + id, body, token: token)
        }
        let (ann, bob) = ((id: ids[0], token: tokens[0]), (id: ids[1], token: tokens[1]))
        async let one = send(bob.id, ann.token)
        async let other = send(ann.id, bob.token)
        let statuses = [try await one.status, try await other.status]
        // The second admin is no longer one.
        #expect(statuses.sorted() == [method == "DELETE" ? 204 : 200, 401])
        let left = try await portal.pool.query(ActiveAdmins())
        #expect(left.count == 1)
      }
    }
  }

  @Test("the requests of a member are withdrawn when the member is disabled, and stay after a change of role")
  func confirmations() async throws {
    try await withPortal { portal in
      let admin = try await portal.logInStaff("ann@example.com", role: .admin)
      _ = try await portal.logInStaff(Self.grace)
      let id = try await portal.staffID(Self.grace)
      var customers: [TestCustomer] = []
      for number in 1...3 {
        let customer = try await portal.signUp("ada\(number)@example.com")
        customers.append(customer)
        // The third request is from another member.
        try await portal.script(
          """
          insert into staff_confirmations (id, account_id, key_count, requester_id, requester_name, reason, expires_at)
          values (gen_random_uuid(), '\(customer.accountID)', 26, '\(number == 3 ? UUID().uuidString : id)', 'Grace',
            'leaked', now() + interval '1 hour')
          """)
      }
      func waiting() async throws -> Int {
        try await portal.get("/v1/support/confirmations", token: admin).body["confirmations"].array.count
      }
      #expect(try await portal.patch(Self.path + id, #"{"role":"admin"}"#, token: admin).status == 200)
      #expect(try await waiting() == 3)
      #expect(try await portal.patch(Self.path + id, #"{"enabled":false}"#, token: admin).status == 200)
      #expect(try await waiting() == 1)
      for customer in customers.prefix(2) {
        let event = try await customer.get("/v1/audit").body["events"][0]
        #expect(event["action"].string == "revocation.withdrawn" && event["reason"].string == "leaked")
        #expect(event["actor"]["kind"].string == "staff")
      }
      #expect(try await customers[2].get("/v1/audit").body["events"][0]["action"].string != "revocation.withdrawn")
    }
  }

  @Test("the role support can neither see nor change staff")
  func support() async throws {
    try await withPortal { portal in
      try await expectAdminOnly(portal, "GET", "/v1/support/staff")
    }
  }
}

extension TestPortal {
  fileprivate func staffID(_ email: String) async throws -> String {
    try await pool.query(StaffID(email: email)).first.map { $0.uuidString.lowercased() } ?? "nobody"
  }

  /// The events about staff, except their creation and their sessions.
  fileprivate func told() async throws -> [String] { try await pool.query(StaffEvents()) }

  @discardableResult
  fileprivate func logInAgain(_ email: String) async throws -> String {
    let answer = try await post(
      "/v1/support/login", "{\"email\":\"\(email)\",\"password\":\"correct horse battery\"}")
    guard let token = answer.body["token"].string else {
      throw TestSetupError(description: "staff login answered \(answer)")
    }
    return token
  }
}

private struct StaffID: PostgresStatement {
  typealias Row = UUID
  static let sql = "select id from staff where email = $1"
  let email: String
  func bind(_ bindings: inout PostgresBindings) { bindings.append(email) }
}

private struct StaffEvents: PostgresStatement {
  typealias Row = String
  static let sql = """
    select concat_ws(' ', action, 'because ' || reason, detail) from audit_events
    where account_id is null and action like 'staff.%' and action <> 'staff.created' order by seq
    """
}

private struct ActiveAdmins: PostgresStatement {
  typealias Row = UUID
  static let sql = "select id from staff where role = 'admin' and disabled_at is null"
}
