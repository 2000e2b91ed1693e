import Portal
import PortalAPI
import PortalApplication
import PortalHTTP
import PortalTesting
import Testing

@Suite("Routes")
struct RouteTableTests {
  private static let operators = ["GET /healthz", "GET /metrics", "GET /readyz"]
  private static let readers = ["GET /openapi.json", "GET /openapi.yaml", "GET /problems/{code}"]
  private static let people = [
    "POST /v1/accept-invitation", "POST /v1/email/verify", "POST /v1/login", "POST /v1/password/forgot",
    "POST /v1/password/reset", "POST /v1/signup",
    "POST /v1/support/login",
  ]
  private static let customers = [
    "DELETE /v1/account", "DELETE /v1/invitations/{id}", "DELETE /v1/keys/{id}", "DELETE /v1/me/second-factor",
    "DELETE /v1/me",
    "DELETE /v1/me/sessions", "DELETE /v1/me/sessions/{id}", "DELETE /v1/members/{id}", "GET /v1/account/policy",
    "GET /v1/audit", "GET /v1/audit/summary", "GET /v1/invitations", "GET /v1/keys", "GET /v1/keys/{id}",
    "GET /v1/keys/{id}/usage", "GET /v1/me", "GET /v1/me/export",
    "GET /v1/me/second-factor", "GET /v1/me/sessions", "GET /v1/members",
    "GET /v1/usage", "PATCH /v1/keys/{id}",
    "PATCH /v1/members/{id}", "POST /v1/accounts/{id}/switch", "POST /v1/email/verification", "POST /v1/invitations",
    "POST /v1/keys", "POST /v1/keys/revoke-all", "POST /v1/keys/{id}/roll", "POST /v1/leave", "POST /v1/logout",
    "POST /v1/me/email", "POST /v1/me/password",
    "POST /v1/me/second-factor", "POST /v1/me/second-factor/confirm", "POST /v1/me/second-factor/recovery-codes",
    "PUT /v1/account/policy",
  ]
  private static let staff = [
    "DELETE /v1/support/confirmations/{id}", "DELETE /v1/support/me/second-factor", "DELETE /v1/support/me/sessions",
    "DELETE /v1/support/me/sessions/{id}", "DELETE /v1/support/tokens/{id}", "GET /v1/support/accounts",
    "GET /v1/support/confirmations", "GET /v1/support/instances", "GET /v1/support/keys", "GET /v1/support/me",
    "GET /v1/support/me/second-factor", "GET /v1/support/me/sessions", "GET /v1/support/plans",
    "GET /v1/support/tokens",
    "POST /v1/support/tokens", "POST /v1/support/tokens/{id}/roll", "PUT /v1/support/plans/{name}",
    "POST /v1/support/accounts/{id}/plan", "POST /v1/support/accounts/{id}/resume",
    "POST /v1/support/accounts/{id}/revoke-keys", "POST /v1/support/accounts/{id}/suspend",
    "POST /v1/support/confirmations/{id}/confirm",
    "POST /v1/support/keys/lookup", "POST /v1/support/keys/{id}/revoke", "POST /v1/support/logout",
    "POST /v1/support/me/password", "POST /v1/support/me/second-factor", "POST /v1/support/me/second-factor/confirm",
    "POST /v1/support/me/second-factor/recovery-codes",
    "GET /v1/support/staff", "GET /v1/support/staff/{id}", "PATCH /v1/support/staff/{id}",
    "DELETE /v1/support/staff/{id}", "DELETE /v1/support/staff/{id}/second-factor",
    "POST /v1/support/keys/revoke", "POST /v1/support/explain",
    "DELETE /v1/support/people/{id}", "GET /v1/support/people/{id}/export",
  ]
  private static let company = [
    "GET /v1/analytics/error-rates", "GET /v1/analytics/growth", "GET /v1/analytics/top",
    "GET /v1/analytics/unused-keys", "GET /v1/analytics/usage", "GET /v1/apis", "POST /v1/apis", "GET /v1/apis/{api}",
    "PATCH /v1/apis/{api}", "DELETE /v1/apis/{api}", "GET /v1/permissions", "POST /v1/permissions",
    "GET /v1/permissions/{permission}", "PATCH /v1/permissions/{permission}", "DELETE /v1/permissions/{permission}",
    "GET /v1/roles", "POST /v1/roles", "GET /v1/roles/{role}", "PATCH /v1/roles/{role}", "DELETE /v1/roles/{role}",
    "POST /v1/keys/{id}/roles", "POST /v1/keys/{id}/permissions", "PUT /v1/keys/{id}/resources", "GET /v1/limits",
    "DELETE /v1/limits/{namespace}", "GET /v1/limits/{namespace}/overrides", "PUT /v1/limits/{namespace}/overrides",
    "GET /v1/limits/{namespace}/overrides/{override}", "DELETE /v1/limits/{namespace}/overrides/{override}",
    "GET /v1/keys/{id}/credits", "PUT /v1/keys/{id}/credits", "POST /v1/keys/{id}/credits",
    "GET /v1/accounts/{id}/credits", "PUT /v1/accounts/{id}/credits", "POST /v1/accounts/{id}/credits",
    "GET /v1/analytics/invoice",
  ]
  private static let gateways = [
    "DELETE /v1/accounts/{id}/keys/{keyId}", "GET /v1/accounts/{id}/keys", "GET /v1/accounts/{id}/keys/{keyId}",
    "GET /v1/accounts/{id}/keys/{keyId}/usage", "PATCH /v1/accounts/{id}/keys/{keyId}", "POST /v1/accounts/{id}/keys",
    "POST /v1/accounts/{id}/keys/{keyId}/roll", "POST /v1/usage", "POST /v1/verify", "POST /v1/verify/batch",
    "DELETE /v1/accounts/{id}", "GET /v1/accounts/{id}", "PATCH /v1/accounts/{id}", "POST /v1/accounts",
    "POST /v1/accounts/{id}/invitations", "POST /v1/limits", "POST /v1/limits/{namespace}",
    "GET /v1/audit/trails", "GET /v1/audit/trails/{id}", "POST /v1/keys/{id}/move", "POST /v1/keys/import",
    "GET /v1/keys/export", "POST /v1/apis/{api}/keys",
  ]
  private static let accountLists = ["GET /v1/accounts"]
  private static let holders = ["GET /v1/self", "DELETE /v1/self"]
  /// Routes with the token in a separate header.
  private static let headerGateways = ["GET /v1/authorize"]

  @Test("the routes are exactly those of the contract")
  func all() async throws {
    try await withPortal { portal in
      let known =
        Self.operators + Self.readers + Self.people + Self.customers + Self.staff + Self.company + Self.gateways
        + Self.headerGateways + Self.accountLists + Self.holders
      #expect(portal.application.table.all == known.sorted())
    }
  }

  @Test("every route accepts only its own kind of credentials; with any other, the request is unauthenticated")
  func credentials() async throws {
    try await withPortal { portal in
      let customer = try await portal.signUp()
      let credentials = [
        "customer": customer.token, "staff": try await portal.logInStaff(),
        "gateway": try await portal.makeToken(ServiceToken.Permission.allCases),
        "key": try await customer.createKey().key, "nobody": Secret.random(prefix: "lk_session").reveal(),
      ]
      let rows = try await portal.rowCount()
      let groups = [
        (Self.customers, ["customer"]), (Self.staff, ["staff"]), (Self.company, ["staff", "gateway"]),
        (Self.gateways, ["gateway"]), (Self.accountLists, ["customer", "gateway"]), (Self.holders, ["key"]),
      ]
      for (routes, owners) in groups {
        for route in routes {
          let (method, path) = parts(of: route)
          expectProblem(try await portal.request(method, path), 401, "unauthenticated", "\(route)")
          for (holder, token) in credentials where !owners.contains(holder) {
            let answer = try await portal.request(method, path, token: token)
            expectProblem(answer, 401, "unauthenticated", "\(holder) at \(route)")
            #expect(answer.header("WWW-Authenticate") == "Bearer realm=\"latchkey\"")
          }
          for (holder, token) in credentials where holder != "customer" || !owners.contains("customer") {
            let headers = ["Cookie": "latchkey=" + token, "Origin": "http://127.0.0.1:8080"]
            expectProblem(
              try await portal.request(method, path, headers: headers), 401, "unauthenticated",
              "\(holder)'s as a cookie at \(route)")
          }
        }
      }
      #expect(try await portal.rowCount() == rows)
    }
  }

  @Test("with a wrong method, the answer names the allowed methods, even without credentials")
  func methods() async throws {
    try await withPortal { portal in
      let byPath = Dictionary(grouping: portal.application.table.all) { parts(of: $0).path }
      for (path, routes) in byPath {
        let allowed = routes.map { parts(of: $0).method }.sorted()
        // HEAD is answered wherever GET is.
        let named = (allowed + (allowed.contains("GET") ? ["HEAD"] : [])).sorted()
        for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "BREW"] where !allowed.contains(method) {
          let answer = try await portal.request(method, path)
          expectProblem(answer, 405, "method_not_allowed", "\(method) \(path)")
          #expect(answer.header("Allow") == named.joined(separator: ", "), "\(method) \(path)")
        }
      }
      #expect(byPath.count > 70)
    }
  }

  @Test("a path with an empty segment is not found, whatever the method, even without credentials")
  func emptySegments() async throws {
    try await withPortal { portal in
      for route in portal.application.table.all {
        let (method, path) = parts(of: route)
        let doubled = path.replacing("/", with: "//")
        for wrong in [path + "/", path + "//", "/" + path, doubled, path + "/?limit=1"] {
          expectProblem(try await portal.request(method, wrong), 404, "not_found", "\(method) \(wrong)")
        }
        expectProblem(try await portal.request("BREW", path + "/"), 404, "not_found", "\(path)/")
      }
      let metrics = try await portal.text("/metrics").text
      #expect(metrics.contains(#"{route="NotFound",method="GET",status="404"}"#))
      #expect(!metrics.contains(#"route="/metrics",method="GET",status="404""#))
    }
  }

  @Test("at / there is nothing but where to look, as in any API")
  func root() async throws {
    try await withPortal { portal in
      for path in ["/", "/?a=b"] {
        let answer = try await portal.get(path)
        expectProblem(answer, 404, "not_found")
        for place in ["/openapi.json", "/openapi.yaml", "/readyz"] {
          #expect(answer.body["detail"].string?.contains(place) == true)
        }
      }
      expectProblem(try await portal.request("POST", "/"), 404, "not_found")
    }
  }

  private func parts(of route: String) -> (method: String, path: String) {
    let parts = route.split(separator: " ")
    return (
      String(parts[0]),
      String(parts[1]).replacing("{id}", with: "018f4e6a-0000-7000-8000-000000000000").replacing(
        "{keyId}", with: "018f4e6a-0000-7000-8000-000000000001"
      ).replacing("{name}", with: "small").replacing("{code}", with: "not_found").replacing(/{[a-z]+}/, with: "orders")
    )
  }
}
