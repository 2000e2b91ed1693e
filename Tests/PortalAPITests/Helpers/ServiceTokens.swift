import PortalAPI
import PortalHTTP
import PortalTesting
import Postgres
import PostgresTesting
import Testing

extension Contract {
  static let serviceToken = [
    "id", "name", "permissions", "environment", "apiIds", "expiresAt", "revokedAt", "rolledAt", "replacesId",
    "lastUsedAt",
    "createdAt", "status",
  ]
  static let tokenWarning = "Store this token securely: it won't be shown again."
}

extension TestPortal {
  /// Creates a service token as an admin; `more` are further members of the body, each with a comma before it.
  func makeToken(as admin: String, _ more: String = "") async throws -> (id: String, token: String) {
    let answer = try await post(
      "/v1/support/tokens", "{\"name\":\"shop\",\"permissions\":[\"keys.verify\"]\(more)}", token: admin)
    guard let id = answer.body["id"].string, let token = answer.body["token"].string else {
      throw TestSetupError(description: "making a token answered \(answer)")
    }
    return (id, token)
  }
}

/// Expects that the support role may not send this request, and that nothing has changed.
func expectAdminOnly(_ portal: TestPortal, _ method: String, _ path: String, _ body: String? = nil) async throws {
  let support = try await portal.logInStaff("support@example.com")
  let rows = try await portal.rowCount()
  let answer = try await portal.request(
    method, path, bytes: body.map { Array($0.utf8) }, token: support,
    headers: body == nil ? [:] : ["Content-Type": "application/json"])
  expectProblem(answer, 403, "forbidden")
  #expect(try await portal.rowCount() == rows)
}

/// The audit events that belong to no account, in order.
struct SystemEvents: PostgresStatement {
  typealias Row = String
  static let sql = """
    select concat_ws(' ', actor_kind, actor_name, action, target_id) from audit_events where account_id is null
    order by seq
    """
}
