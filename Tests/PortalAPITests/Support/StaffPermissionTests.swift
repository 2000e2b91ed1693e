import Foundation
import Portal
import PortalAPI
import PortalApplication
import PortalHTTP
import PortalTesting
import Testing

/// A request of staff that succeeds for every caller who is permitted to send it.
private struct Sample: Sendable {
  let route: String
  /// The query after the path.
  var query = ""
  /// The id in the path.
  var id: @Sendable (Case) -> String = { $0.account }
  var body: String?
  /// The status for a caller whose role suffices.
  let status: Int
}

/// The subjects of the requests.
private struct Case: Sendable {
  let account: String
  let key: String
  let customer: String
  /// A request of another member of staff.
  let confirmation: String
  let token: String
  /// A member with the role support and a second factor.
  let colleague: String
  /// A customer without an account.
  let person: String
}

@Suite("Permissions of staff roles")
struct StaffPermissionTests {
  private static let reason = #"{"reason":"because"}"#

  /// Every route of staff.
  private static let samples: [Sample] = [
    Sample(route: "DELETE /v1/support/confirmations/{id}", id: { $0.confirmation }, status: 204),
    Sample(route: "GET /v1/support/confirmations", status: 200),
    Sample(route: "GET /v1/support/accounts", query: "?name=account", status: 200),
    Sample(route: "GET /v1/support/instances", status: 200),
    Sample(route: "GET /v1/support/keys", query: "?start=lk", status: 200),
    Sample(route: "GET /v1/support/me", status: 200),
    Sample(route: "GET /v1/support/plans", status: 200),
    Sample(
      route: "POST /v1/support/accounts/{id}/plan", body: #"{"plan":"default","reason":"because"}"#, status: 200),
    Sample(route: "POST /v1/support/accounts/{id}/resume", body: reason, status: 200),
    Sample(route: "POST /v1/support/accounts/{id}/revoke-keys", body: reason, status: 200),
    Sample(route: "POST /v1/support/confirmations/{id}/confirm", id: { $0.confirmation }, status: 200),
    Sample(route: "POST /v1/support/accounts/{id}/suspend", body: reason, status: 200),
    Sample(route: "POST /v1/support/keys/lookup", body: #"{"key":"sk_12345"}"#, status: 200),
    Sample(route: "POST /v1/support/explain", body: #"{"key":"sk_12345"}"#, status: 200),
    Sample(
      route: "POST /v1/support/keys/revoke", body: #"{"keys":["sk_12345"],"reason":"because"}"#, status: 200),
    Sample(route: "POST /v1/support/keys/{id}/revoke", id: { $0.key }, body: reason, status: 200),
    Sample(
      route: "PUT /v1/support/plans/{name}",
      body: #"{"keyCap":3,"scopes":["orders:*"],"rateLimitPerMinuteMax":100,"maxKeyLifetimeDays":30}"#, status: 200),
    Sample(route: "GET /v1/support/tokens", status: 200),
    Sample(route: "POST /v1/support/tokens", body: #"{"name":"gateway","permissions":["keys.verify"]}"#, status: 201),
    Sample(route: "POST /v1/support/tokens/{id}/roll", id: { $0.token }, status: 201),
    Sample(route: "DELETE /v1/support/tokens/{id}", id: { $0.token }, status: 200),
    Sample(route: "GET /v1/support/staff", status: 200),
    Sample(route: "GET /v1/support/staff/{id}", id: { $0.colleague }, status: 200),
    Sample(
      route: "PATCH /v1/support/staff/{id}", id: { $0.colleague }, body: #"{"role":"admin","enabled":false}"#,
      status: 200),
    Sample(route: "DELETE /v1/support/staff/{id}/second-factor", id: { $0.colleague }, status: 204),
    Sample(route: "DELETE /v1/support/staff/{id}", id: { $0.colleague }, status: 204),
    Sample(route: "GET /v1/support/people/{id}/export", id: { $0.person }, status: 200),
    Sample(route: "DELETE /v1/support/people/{id}", id: { $0.person }, body: reason, status: 200),
    Sample(route: "GET /v1/support/me/sessions", status: 200),
    Sample(route: "GET /v1/support/me/second-factor", status: 200),
    Sample(route: "POST /v1/support/me/second-factor", body: #"{"password":"correct horse battery"}"#, status: 201),
    // There is no second factor yet, and no such session.
    Sample(route: "POST /v1/support/me/second-factor/confirm", body: #"{"code":"123456"}"#, status: 404),
    Sample(
      route: "POST /v1/support/me/second-factor/recovery-codes",
      body: #"{"password":"correct horse battery","code":"123456"}"#, status: 404),
    Sample(
      route: "DELETE /v1/support/me/second-factor", body: #"{"password":"correct horse battery","code":"123456"}"#,
      status: 404),
    Sample(route: "DELETE /v1/support/me/sessions/{id}", status: 404),
    Sample(route: "DELETE /v1/support/me/sessions", status: 200),
    Sample(
      route: "POST /v1/support/me/password",
      body: #"{"password":"correct horse battery","newPassword":"another battery staple"}"#, status: 200),
    Sample(route: "POST /v1/support/logout", status: 204),
    Sample(route: "GET /v1/analytics/error-rates", status: 200),
    Sample(route: "GET /v1/analytics/growth", status: 200),
    Sample(route: "GET /v1/analytics/invoice", query: "?month=2020-01", status: 200),
    Sample(route: "GET /v1/analytics/top", status: 200),
    Sample(route: "GET /v1/analytics/unused-keys", status: 200),
    Sample(route: "GET /v1/analytics/usage", status: 200),
    Sample(route: "GET /v1/apis", status: 200),
    Sample(route: "GET /v1/apis/{api}", status: 200),
    Sample(route: "POST /v1/apis", body: #"{"slug":"new","name":"New","reason":"because"}"#, status: 201),
    Sample(route: "PATCH /v1/apis/{api}", body: #"{"name":"Other","reason":"because"}"#, status: 200),
    Sample(route: "DELETE /v1/apis/{api}", body: reason, status: 204),
    Sample(route: "GET /v1/permissions", status: 200),
    Sample(route: "GET /v1/permissions/{permission}", status: 200),
    Sample(route: "POST /v1/permissions", body: #"{"slug":"new","reason":"because"}"#, status: 201),
    Sample(route: "PATCH /v1/permissions/{permission}", body: #"{"description":"x","reason":"because"}"#, status: 200),
    Sample(route: "DELETE /v1/permissions/{permission}", body: reason, status: 204),
    Sample(route: "GET /v1/roles", status: 200),
    Sample(route: "GET /v1/roles/{role}", status: 200),
    Sample(route: "POST /v1/roles", body: #"{"name":"new","reason":"because"}"#, status: 201),
    Sample(route: "PATCH /v1/roles/{role}", body: #"{"permissions":["a"],"reason":"because"}"#, status: 200),
    Sample(route: "DELETE /v1/roles/{role}", body: reason, status: 204),
    Sample(
      route: "POST /v1/keys/{id}/roles", id: { $0.key }, body: #"{"add":["pro"],"reason":"because"}"#, status: 200),
    Sample(
      route: "POST /v1/keys/{id}/permissions", id: { $0.key }, body: #"{"add":["a"],"reason":"because"}"#, status: 200),
    Sample(
      route: "PUT /v1/keys/{id}/resources", id: { $0.key }, body: #"{"resources":{},"reason":"because"}"#, status: 200),
    Sample(route: "GET /v1/limits", status: 200),
    Sample(route: "GET /v1/limits/{namespace}/overrides", status: 200),
    Sample(route: "GET /v1/limits/{namespace}/overrides/{override}", status: 200),
    Sample(
      route: "PUT /v1/limits/{namespace}/overrides",
      body: #"{"identifier":"user_1","limit":9,"windowMilliseconds":1000,"reason":"because"}"#, status: 200),
    Sample(route: "DELETE /v1/limits/{namespace}/overrides/{override}", body: reason, status: 200),
    Sample(route: "DELETE /v1/limits/{namespace}", body: reason, status: 200),
    Sample(route: "GET /v1/keys/{id}/credits", id: { $0.key }, status: 200),
    Sample(
      route: "PUT /v1/keys/{id}/credits", id: { $0.key }, body: #"{"remaining":5,"reason":"because"}"#, status: 200),
    Sample(
      route: "POST /v1/keys/{id}/credits", id: { $0.key },
      body: #"{"operation":"set","value":5,"reason":"because"}"#, status: 200),
    Sample(route: "GET /v1/accounts/{id}/credits", status: 200),
    Sample(route: "PUT /v1/accounts/{id}/credits", body: #"{"remaining":5,"reason":"because"}"#, status: 200),
    Sample(
      route: "POST /v1/accounts/{id}/credits", body: #"{"operation":"set","value":5,"reason":"because"}"#,
      status: 200),
  ]

  /// The permissions that only admins have, as in docs/SUPPORT.md.
  private static let ofAdmins: Set<StaffPermission> = [
    .changePlans, .changeCatalog, .grantKeys, .changeTokens, .changeStaff, .changePeople, .changeLimits,
    .changePlans, .changeCatalog, .grantKeys, .changeTokens, .changeStaff, .changePeople, .changeCredits,
  ]

  @Test("the role support has the permissions for single customers, and the role admin has all")
  func permissions() {
    for permission in StaffPermission.allCases {
      #expect(StaffMember.Role.admin.permits(permission), "\(permission)")
      #expect(StaffMember.Role.support.permits(permission) == !Self.ofAdmins.contains(permission), "\(permission)")
    }
  }

  @Test("every route of staff but the log-in declares its permission and is in the matrix")
  func complete() async throws {
    try await withPortal { portal in
      let table = portal.application.table
      let paths = [
        "support/", "analytics/", "apis", "permissions", "roles", "keys/{id}/roles", "keys/{id}/permissions", "limits",
        "keys/{id}/resources", "keys/{id}/credits", "accounts/{id}/credits",
      ]
      let routes = table.all.filter { route in
        paths.contains { route.contains(" /v1/" + $0) } && route != "POST /v1/support/login"
          // Only service tokens use limits.
          && !route.hasPrefix("POST /v1/limits")
          // Only service tokens make keys of an api.
          && route != "POST /v1/apis/{api}/keys"
      }
      #expect(table.staffPermissions.keys.sorted() == routes)
      #expect(Self.samples.map(\.route).sorted() == routes)
      #expect(Set(table.permissions.keys).isDisjoint(with: routes))
    }
  }

  @Test(
    "every route, for every role: it succeeds if the role permits it, and is forbidden otherwise, without a change",
    arguments: StaffMember.Role.allCases)
  func matrix(role: StaffMember.Role) async throws {
    try await withPortal(configure: { $0.secretBox = secretBox }) { portal in
      for (index, sample) in Self.samples.enumerated() {
        let permission = try #require(portal.application.table.staffPermissions[sample.route])
        // A new session each time: some requests change the password or end the session.
        let token = try await portal.logInStaff("grace\(index)@example.com", role: role)
        let place = try await place(portal, index)
        let before = try await portal.rowCount()
        let answer = try await send(sample, to: portal, place, token)
        if role.permits(permission) {
          #expect(answer.status == sample.status, "\(role) at \(sample.route): \(answer.code ?? "")")
        } else {
          expectProblem(answer, 403, "forbidden", "\(role) at \(sample.route)")
          #expect(try await portal.rowCount() == before, "\(role) at \(sample.route)")
        }
      }
    }
  }

  @Test("an owner of an account, a service token, a disabled member and an anonymous caller are refused on every route")
  func strangers() async throws {
    try await withPortal { portal in
      let gateway = try await portal.makeToken(ServiceToken.Permission.allCases)
      let left = try await portal.logInStaff("left@example.com", role: .admin)
      try await portal.script("update staff set disabled_at = now()")
      for (index, sample) in Self.samples.enumerated() {
        let place = try await place(portal, index)
        let before = try await portal.rowCount()
        // The routes of analytics, of the catalog and of standalone limits also accept service tokens.
        let isForTokens = portal.application.table.tokenPermissions[sample.route] != nil
        for token in [place.customer, left, nil] + (isForTokens ? [] : [gateway]) {
          expectProblem(try await send(sample, to: portal, place, token), 401, "unauthenticated", "\(sample.route)")
        }
        #expect(try await portal.rowCount() == before, "\(sample.route)")
      }
    }
  }

  @Test(
    "a session of staff, even of an admin, opens no route of an account, neither as a token nor as a cookie")
  func noCustomers() async throws {
    try await withPortal { portal in
      let staff = try await portal.logInStaff(role: .admin)
      let place = try await place(portal, 0)
      let routes = portal.application.table.permissions.keys.sorted()
      #expect(routes.count > 20)
      let before = try await portal.rowCount()
      for route in routes {
        let parts = route.split(separator: " ").map(String.init)
        let path = parts[1].replacing("{id}", with: route.contains("accounts") ? place.account : place.key)
        for (token, headers) in [
          (staff, [:]), (nil, ["Cookie": "latchkey=" + staff, "Origin": "http://127.0.0.1:8080"]),
        ] as [(String?, [String: String])] {
          expectProblem(
            try await portal.request(parts[0], path, token: token, headers: headers), 401, "unauthenticated", "\(route)"
          )
        }
      }
      #expect(try await portal.rowCount() == before)
      // The address cannot log in as a customer either.
      let answer = try await portal.post(
        "/v1/login", #"{"email":"grace@example.com","password":"correct horse battery"}"#)
      expectProblem(answer, 401, "invalid_credentials")
    }
  }

  private func send(_ sample: Sample, to portal: TestPortal, _ place: Case, _ token: String?) async throws -> TestAnswer
  {
    let parts = sample.route.split(separator: " ").map(String.init)
    let path =
      parts[1].replacing("{id}", with: sample.id(place)).replacing("{name}", with: "small")
      .replacing("{api}", with: "orders").replacing("{permission}", with: "a").replacing("{role}", with: "pro")
      .replacing("{namespace}", with: "emails").replacing("{override}", with: TestPortal.overrideID)
      + sample.query
    return try await portal.request(
      parts[0], path, bytes: sample.body.map { Array($0.utf8) }, token: token,
      headers: sample.body == nil ? [:] : ["Content-Type": "application/json"])
  }

  private func place(_ portal: TestPortal, _ index: Int) async throws -> Case {
    try await portal.makeCatalog()
    let customer = try await portal.signUp("ada\(index)@example.com")
    let confirmation = UUID()
    try await portal.script(
      """
      insert into staff_confirmations (id, account_id, key_count, requester_id, requester_name, reason, expires_at)
      values ('\(confirmation)', '\(customer.accountID)', 26, gen_random_uuid(), 'Hedy', 'leaked',
        now() + interval '1 hour')
      """)
    let (colleague, person) = (UUID(), UUID())
    try await portal.script(
      "insert into users (id, email, password_hash) values ('\(person)', 'person\(index)@example.com', 'x')")
    try await portal.script(
      """
      insert into staff (id, email, name, role, password_hash)
      values ('\(colleague)', 'colleague\(index)@example.com', 'Hedy', 'support', 'x');
      insert into second_factors (staff_id, sealed_secret, confirmed_at)
      values ('\(colleague)', decode(repeat('00', 48), 'hex'), now())
      """)
    return Case(
      account: customer.accountID.uuidString.lowercased(), key: try await customer.createKey().id,
      customer: customer.token, confirmation: confirmation.uuidString.lowercased(),
      token: try await portal.services.serviceTokens.create(
        name: "gateway", permissions: [.verifyKeys], by: Caller(actor: .command(name: "test"))
      ).id.uuidString.lowercased(),
      colleague: colleague.uuidString.lowercased(), person: person.uuidString.lowercased())
  }
}
