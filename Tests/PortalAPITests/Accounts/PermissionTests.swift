import Foundation
import Portal
import PortalAPI
import PortalApplication
import PortalHTTP
import PortalTesting
import Testing

/// A request that succeeds for every caller who is permitted to send it.
private struct Sample: Sendable {
  let route: String
  /// The id in the path: of a key, a member or an account.
  var id: @Sendable (House) -> String = { $0.key }
  var body: String?
  /// The status for a member whose role suffices.
  let status: Int
  /// The status for the id of another account; nil if the path has no id.
  var foreignStatus: Int?
}

/// An account with a key and a member in each role.
private struct House: Sendable {
  let account: String
  let key: String
  /// A developer whom other members may change.
  let other: String
  let invitation: String
  /// A session of the member with the role.
  let session: String
}

@Suite("Permissions of roles")
struct PermissionTests {
  /// Every route of an account's members.
  private static let samples: [Sample] = [
    Sample(route: "DELETE /v1/account", body: #"{"password":"correct horse battery"}"#, status: 200),
    Sample(route: "DELETE /v1/invitations/{id}", id: { $0.invitation }, status: 204, foreignStatus: 404),
    Sample(route: "DELETE /v1/keys/{id}", status: 200, foreignStatus: 404),
    Sample(route: "DELETE /v1/members/{id}", id: { $0.other }, status: 204, foreignStatus: 404),
    Sample(route: "GET /v1/account/policy", status: 200),
    Sample(
      route: "PUT /v1/account/policy",
      body:
        #"{"expiryRequired":false,"maxLifetimeDays":null,"allowlistRequired":false,"allowedScopes":null,"#
        + #""disableAfterIdleDays":null}"#,
      status: 200),
    Sample(route: "GET /v1/accounts", status: 200),
    Sample(route: "GET /v1/audit", status: 200),
    Sample(route: "GET /v1/audit/summary", status: 200),
    Sample(route: "GET /v1/invitations", status: 200),
    Sample(route: "GET /v1/keys", status: 200),
    Sample(route: "GET /v1/keys/{id}", status: 200, foreignStatus: 404),
    Sample(route: "GET /v1/keys/{id}/usage", status: 200, foreignStatus: 404),
    Sample(route: "GET /v1/me", status: 200),
    Sample(route: "DELETE /v1/me", body: #"{"password":"correct horse battery"}"#, status: 200),
    Sample(route: "GET /v1/me/export", status: 200),
    Sample(route: "GET /v1/me/sessions", status: 200),
    Sample(route: "DELETE /v1/me/sessions", status: 200),
    Sample(route: "DELETE /v1/me/sessions/{id}", id: { $0.session }, status: 204, foreignStatus: 404),
    Sample(
      route: "POST /v1/me/password",
      body: #"{"password":"correct horse battery","newPassword":"another battery staple"}"#, status: 200),
    Sample(
      route: "POST /v1/me/email", body: #"{"password":"correct horse battery","email":"new-address@example.com"}"#,
      status: 200),
    Sample(route: "GET /v1/me/second-factor", status: 200),
    Sample(
      route: "POST /v1/me/second-factor", body: #"{"password":"correct horse battery"}"#, status: 201),
    // There is no second factor yet.
    Sample(route: "POST /v1/me/second-factor/confirm", body: #"{"code":"123456"}"#, status: 404),
    Sample(
      route: "POST /v1/me/second-factor/recovery-codes",
      body: #"{"password":"correct horse battery","code":"123456"}"#, status: 404),
    Sample(
      route: "DELETE /v1/me/second-factor", body: #"{"password":"correct horse battery","code":"123456"}"#,
      status: 404),
    Sample(route: "GET /v1/members", status: 200),
    Sample(route: "GET /v1/usage", status: 200),
    Sample(
      route: "PATCH /v1/members/{id}", id: { $0.other }, body: #"{"role":"viewer"}"#, status: 200, foreignStatus: 404),
    Sample(route: "POST /v1/accounts/{id}/switch", id: { $0.account }, status: 200, foreignStatus: 404),
    // Without mail, the route is mail_not_configured for every permitted caller.
    Sample(route: "POST /v1/email/verification", status: 403),
    Sample(
      route: "POST /v1/invitations", body: #"{"email":"new@example.com","role":"admin"}"#, status: 201),
    Sample(route: "POST /v1/keys", body: #"{"name":"Key","scopes":["a"]}"#, status: 201),
    Sample(route: "PATCH /v1/keys/{id}", body: #"{"name":"Other"}"#, status: 200, foreignStatus: 404),
    Sample(route: "POST /v1/keys/revoke-all", status: 200),
    Sample(route: "POST /v1/keys/{id}/roll", status: 201, foreignStatus: 404),
    Sample(route: "POST /v1/leave", status: 204),
    Sample(route: "POST /v1/logout", status: 204),
  ]

  /// The permissions of each role, in ascending order, as in docs/SECURITY.md.
  private static let table: [MemberRole: Set<MemberPermission>] = [
    .viewer: [.useSession, .readKeys, .readUsage, .readAudit, .readMembers],
    .developer: [.useSession, .readKeys, .readUsage, .readAudit, .readMembers, .changeKeys],
    .admin: [
      .useSession, .readKeys, .readUsage, .readAudit, .readMembers, .changeKeys, .changeMembers, .changePolicy,
    ],
    .owner: Set(MemberPermission.allCases),
  ]

  @Test("a role has exactly the permissions in the table", arguments: MemberRole.allCases)
  func permissions(role: MemberRole) {
    #expect(Set(MemberPermission.allCases.filter { role.permits($0) }) == Self.table[role])
  }

  @Test("every route of members declares its permission and is in the matrix")
  func complete() async throws {
    try await withPortal { portal in
      let table = portal.application.table
      #expect(Set(table.permissions.keys) == Set(Self.samples.map(\.route)))
      #expect(Set(table.permissions.keys).isSubset(of: Set(table.all)))
    }
  }

  @Test(
    """
    every route, for every role: it succeeds in the own account if the role permits it, and is forbidden otherwise; \
    ids of another account are not found
    """,
    arguments: MemberRole.allCases)
  func matrix(role: MemberRole) async throws {
    try await withPortal(configure: { $0.secretBox = secretBox }) { portal in
      for (index, sample) in Self.samples.enumerated() {
        let permission = try #require(portal.application.table.permissions[sample.route])
        let (own, token) = try await house(portal, role, "own\(index)")
        let (foreign, _) = try await house(portal, .owner, "foreign\(index)")
        if let foreignStatus = sample.foreignStatus {
          let before = try await portal.rowCount()
          let answer = try await send(sample, to: portal, foreign, token)
          let expected = role.permits(permission) ? foreignStatus : 403
          #expect(answer.status == expected, "\(role) at another's \(sample.route)")
          #expect(try await portal.rowCount() == before)
        }
        let before = try await portal.rowCount()
        let answer = try await send(sample, to: portal, own, token)
        if role.permits(permission) {
          #expect(answer.status == sample.status, "\(role) at \(sample.route): \(answer.code ?? "")")
        } else {
          expectProblem(answer, 403, "forbidden", "\(role) at \(sample.route)")
          #expect(try await portal.rowCount() == before, "\(role) at \(sample.route)")
        }
      }
    }
  }

  @Test("a session of a removed member is unauthenticated")
  func removed() async throws {
    try await withPortal { portal in
      for (index, sample) in Self.samples.enumerated() {
        let (own, token) = try await house(portal, .owner, "gone\(index)")
        try await portal.script("delete from memberships where account_id = '\(own.account)' and role = 'owner'")
        expectProblem(try await send(sample, to: portal, own, token), 401, "unauthenticated", "\(sample.route)")
      }
    }
  }

  private func send(_ sample: Sample, to portal: TestPortal, _ house: House, _ token: String) async throws -> TestAnswer
  {
    let parts = sample.route.split(separator: " ").map(String.init)
    let path = parts[1].replacing("{id}", with: sample.id(house))
    return try await portal.request(
      parts[0], path, bytes: sample.body.map { Array($0.utf8) }, token: token,
      headers: sample.body == nil ? [:] : ["Content-Type": "application/json"])
  }

  /// Creates an account, and returns the token of a member with the role.
  private func house(_ portal: TestPortal, _ role: MemberRole, _ name: String) async throws -> (House, token: String) {
    let owner = try await portal.signUp("\(name)-owner@example.com")
    let key = try await owner.createKey().id
    let other = try await owner.makeMember("\(name)-other@example.com", .developer)
    let member = role == .owner ? owner.token : try await owner.makeMember("\(name)@example.com", role).token
    let invitation = try await owner.post("/v1/invitations", #"{"email":"guest@example.com","role":"viewer"}"#)
      .body["id"].string
    if role == .owner { _ = try await owner.makeMember("\(name)-second@example.com", .owner) }
    let session = try await portal.get("/v1/me/sessions", token: member).body["sessions"][0]["id"].string
    return (
      House(
        account: owner.accountID.uuidString.lowercased(), key: key, other: other.userID,
        invitation: try #require(invitation), session: try #require(session)), member
    )
  }
}
