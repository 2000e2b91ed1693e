import Foundation
import Portal
import PortalAPI
import PortalApplication
import PortalHTTP
import PortalTesting
import PostgresTesting
import Testing

/// A request that succeeds with a service token that has the permission.
private struct Sample: Sendable {
  let route: String
  /// The query after the path.
  var query = ""
  let permission: ServiceToken.Permission
  /// Another permission that is enough.
  var other: ServiceToken.Permission?
  /// `{key}` is replaced by a key, and `{account}` by the id of its account.
  var body: String?
  var isInHeader = false
  let status: Int
}

@Suite("Permissions of service tokens")
struct TokenPermissionTests {
  private static let limit = #"{"namespace":"emails","identifier":"a","limit":9,"windowMilliseconds":1000}"#

  private static let samples = [
    Sample(route: "POST /v1/verify", permission: .verifyKeys, body: #"{"key":"{key}"}"#, status: 200),
    Sample(
      route: "POST /v1/verify/batch", permission: .verifyKeys, body: #"{"requests":[{"key":"{key}"}]}"#, status: 200),
    Sample(route: "GET /v1/authorize", permission: .verifyKeys, isInHeader: true, status: 200),
    Sample(route: "POST /v1/usage", permission: .writeUsage, body: #"{"events":[]}"#, status: 202),
    Sample(route: "GET /v1/accounts/{id}/keys", permission: .readKeys, status: 200),
    Sample(route: "GET /v1/accounts/{id}/keys/{keyId}", permission: .readKeys, status: 200),
    Sample(route: "GET /v1/accounts/{id}/keys/{keyId}/usage", permission: .readKeys, status: 200),
    Sample(
      route: "POST /v1/accounts/{id}/keys", permission: .writeKeys, body: #"{"name":"n","scopes":["a"]}"#, status: 201),
    Sample(
      route: "PATCH /v1/accounts/{id}/keys/{keyId}", permission: .writeKeys, body: #"{"name":"m"}"#, status: 200),
    Sample(route: "POST /v1/accounts/{id}/keys/{keyId}/roll", permission: .writeKeys, status: 201),
    Sample(route: "DELETE /v1/accounts/{id}/keys/{keyId}", permission: .writeKeys, status: 200),
    Sample(route: "GET /v1/analytics/error-rates", permission: .readAnalytics, status: 200),
    Sample(route: "GET /v1/analytics/growth", permission: .readAnalytics, status: 200),
    Sample(route: "GET /v1/analytics/invoice", query: "?month=2020-01", permission: .readAnalytics, status: 200),
    Sample(route: "GET /v1/analytics/top", permission: .readAnalytics, status: 200),
    Sample(route: "GET /v1/analytics/unused-keys", permission: .readAnalytics, status: 200),
    Sample(route: "GET /v1/analytics/usage", permission: .readAnalytics, status: 200),
    Sample(route: "GET /v1/apis", permission: .readCatalog, status: 200),
    Sample(route: "GET /v1/apis/{api}", permission: .readCatalog, status: 200),
    Sample(route: "POST /v1/apis", permission: .writeCatalog, body: #"{"slug":"new","name":"New"}"#, status: 201),
    Sample(route: "PATCH /v1/apis/{api}", permission: .writeCatalog, body: #"{"name":"Other"}"#, status: 200),
    Sample(route: "DELETE /v1/apis/{api}", permission: .writeCatalog, status: 204),
    Sample(route: "GET /v1/permissions", permission: .readCatalog, status: 200),
    Sample(route: "GET /v1/permissions/{permission}", permission: .readCatalog, status: 200),
    Sample(route: "POST /v1/permissions", permission: .writeCatalog, body: #"{"slug":"new"}"#, status: 201),
    Sample(
      route: "PATCH /v1/permissions/{permission}", permission: .writeCatalog, body: #"{"description":"x"}"#, status: 200
    ),
    Sample(route: "DELETE /v1/permissions/{permission}", permission: .writeCatalog, status: 204),
    Sample(route: "GET /v1/roles", permission: .readCatalog, status: 200),
    Sample(route: "GET /v1/roles/{role}", permission: .readCatalog, status: 200),
    Sample(route: "POST /v1/roles", permission: .writeCatalog, body: #"{"name":"new"}"#, status: 201),
    Sample(route: "PATCH /v1/roles/{role}", permission: .writeCatalog, body: #"{"permissions":["a"]}"#, status: 200),
    Sample(route: "DELETE /v1/roles/{role}", permission: .writeCatalog, status: 204),
    Sample(route: "POST /v1/keys/{id}/roles", permission: .grantKeys, body: #"{"add":["pro"]}"#, status: 200),
    Sample(route: "POST /v1/keys/{id}/permissions", permission: .grantKeys, body: #"{"add":["a"]}"#, status: 200),
    Sample(
      route: "POST /v1/keys/{id}/move", permission: .writeKeys, body: #"{"accountId":"{account}"}"#, status: 200),
    Sample(
      route: "POST /v1/apis/{api}/keys", permission: .writeKeys, body: #"{"name":"n","scopes":[]}"#, status: 201),
    Sample(
      route: "POST /v1/keys/import", permission: .importKeys,
      body: #"{"keys":[{"accountId":"{account}","name":"n","scopes":[],"algorithm":"sha256","hash":"{hash}"}]}"#,
      status: 200),
    Sample(route: "GET /v1/keys/export", permission: .exportKeys, status: 200),
    Sample(
      route: "PUT /v1/keys/{id}/resources", permission: .grantKeys, body: #"{"resources":{"p:1":["a"]}}"#, status: 200),
    Sample(route: "POST /v1/limits", permission: .useLimits, body: #"{"requests":[\#(limit)]}"#, status: 200),
    Sample(
      route: "POST /v1/limits/{namespace}", permission: .useLimits,
      body: #"{"identifier":"a","limit":9,"windowMilliseconds":1000}"#, status: 200),
    Sample(route: "GET /v1/limits", permission: .writeLimits, other: .useLimits, status: 200),
    Sample(route: "GET /v1/limits/{namespace}/overrides", permission: .writeLimits, other: .useLimits, status: 200),
    Sample(
      route: "GET /v1/limits/{namespace}/overrides/{override}", permission: .writeLimits, other: .useLimits, status: 200
    ),
    Sample(
      route: "PUT /v1/limits/{namespace}/overrides", permission: .writeLimits,
      body: #"{"identifier":"user_1","limit":9,"windowMilliseconds":1000}"#, status: 200),
    Sample(route: "DELETE /v1/limits/{namespace}/overrides/{override}", permission: .writeLimits, status: 200),
    Sample(route: "DELETE /v1/limits/{namespace}", permission: .writeLimits, status: 200),
    Sample(route: "GET /v1/accounts", permission: .readAccounts, status: 200),
    Sample(route: "GET /v1/accounts/{id}", permission: .readAccounts, status: 200),
    Sample(route: "POST /v1/accounts", permission: .writeAccounts, body: #"{"name":"n"}"#, status: 201),
    Sample(route: "PATCH /v1/accounts/{id}", permission: .writeAccounts, body: #"{"name":"m"}"#, status: 200),
    Sample(
      route: "POST /v1/accounts/{id}/invitations", permission: .writeAccounts,
      body: #"{"email":"guest@example.com","role":"viewer"}"#, status: 201),
    Sample(route: "GET /v1/keys/{id}/credits", permission: .readKeys, status: 200),
    Sample(route: "PUT /v1/keys/{id}/credits", permission: .writeKeys, body: #"{"remaining":5}"#, status: 200),
    Sample(
      route: "POST /v1/keys/{id}/credits", permission: .writeKeys, body: #"{"operation":"set","value":5}"#,
      status: 200),
    Sample(route: "GET /v1/accounts/{id}/credits", permission: .readAccounts, status: 200),
    Sample(
      route: "PUT /v1/accounts/{id}/credits", permission: .writeAccounts, body: #"{"remaining":5}"#, status: 200),
    Sample(
      route: "POST /v1/accounts/{id}/credits", permission: .writeAccounts,
      body: #"{"operation":"increment","value":5}"#, status: 200),
    Sample(route: "GET /v1/audit/trails", permission: .readAudit, status: 200),
    Sample(route: "GET /v1/audit/trails/{id}", permission: .readAudit, status: 200),
    // The last one: there is no account after it.
    Sample(route: "DELETE /v1/accounts/{id}", permission: .writeAccounts, status: 200),
  ]

  @Test("every route for service tokens requires a permission, and is in the matrix")
  func complete() async throws {
    try await withPortal { portal in
      let table = portal.application.table
      #expect(
        table.tokenPermissions
          == Dictionary(uniqueKeysWithValues: Self.samples.map { ($0.route, $0.permission) }))
      #expect(Set(table.tokenPermissions.keys).isSubset(of: table.all))
      // Each caller gets another list.
      #expect(Set(table.tokenPermissions.keys).intersection(table.permissions.keys) == ["GET /v1/accounts"])
    }
  }

  @Test("every route accepts its permission, and is forbidden with all the others together")
  func matrix() async throws {
    try await withPortal { portal in
      let customer = try await portal.signUp()
      for sample in Self.samples {
        try await portal.makeCatalog()
        let key = try await customer.createKey()
        let others = ServiceToken.Permission.allCases.filter { $0 != sample.permission && $0 != sample.other }
        let weak = try await portal.makeToken(others)
        let rows = try await portal.rowCount()
        let refused = try await send(sample, customer, key, weak)
        expectProblem(refused, 403, "forbidden", "\(sample.route)")
        #expect(refused.body["detail"].string?.contains(sample.permission.rawValue) == true, "\(sample.route)")
        #expect(try await portal.rowCount() == rows, "\(sample.route)")
        let answer = try await send(sample, customer, key, try await portal.makeToken([sample.permission]))
        #expect(answer.status == sample.status, "\(sample.route): \(answer)")
        if let other = sample.other {
          let answer = try await send(sample, customer, key, try await portal.makeToken([other]))
          #expect(answer.status == sample.status, "\(sample.route): \(answer)")
        }
        for id in try await customer.get("/v1/keys?status=active").body["keys"].array.compactMap({ $0["id"].string }) {
          _ = try await customer.delete("/v1/keys/" + id)
        }
      }
    }
  }

  @Test(
    "a token that is revoked, expired, or rolled without a grace period is refused as soon as that is answered",
    arguments: 0..<3)
  func over(_ way: Int) async throws {
    try await withPortal(.live) { portal in
      let customer = try await portal.signUp()
      let key = try await customer.createKey()
      let caller = Caller(actor: .command(name: "test"))
      let tokens = portal.services.serviceTokens
      let token = try await tokens.create(name: "t", permissions: ServiceToken.Permission.allCases, by: caller)
      for _ in 1...2 {
        #expect(try await portal.verify(key.key, token: token.secret.reveal()).body["code"].string == "VALID")
      }
      switch way {
      case 0: _ = try await tokens.revoke(token.id, by: caller)
      case 1:
        try await portal.script("update service_tokens set expires_at = now()")
        try await eventually("the instance knows of the expiry") {
          try await portal.verify(key.key, token: token.secret.reveal()).status == 401
        }
      default: _ = try await tokens.roll(token.id, graceSeconds: 0, by: caller)
      }
      let rows = try await portal.rowCount()
      for sample in Self.samples {
        expectProblem(
          try await send(sample, customer, key, token.secret.reveal()), 401, "unauthenticated", "\(sample.route)")
      }
      #expect(try await portal.rowCount() == rows)
    }
  }

  private func send(
    _ sample: Sample, _ customer: TestCustomer, _ key: (id: String, key: String), _ token: String
  ) async throws -> TestAnswer {
    let parts = sample.route.split(separator: " ").map(String.init)
    let id = parts[1].hasPrefix("/v1/keys/") ? key.id : customer.accountID.uuidString
    let path =
      parts[1].replacing("{id}", with: id).replacing("{keyId}", with: key.id)
      .replacing("{api}", with: "orders").replacing("{permission}", with: "a").replacing("{role}", with: "pro")
      .replacing("{namespace}", with: "emails").replacing("{override}", with: TestPortal.overrideID)
      + sample.query
    let body = sample.body?.replacing("{key}", with: key.key)
      .replacing("{account}", with: customer.accountID.uuidString)
      .replacing("{hash}", with: String(repeating: "0a", count: 32))
    var headers = body == nil ? [:] : ["Content-Type": "application/json"]
    if sample.isInHeader { headers["X-Latchkey-Token"] = token }
    return try await customer.portal.request(
      parts[0], path, bytes: body.map { Array($0.utf8) }, token: sample.isInHeader ? key.key : token, headers: headers)
  }
}
