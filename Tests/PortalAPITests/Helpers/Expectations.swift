import Foundation
import JSON
import PortalAPI
import PortalHTTP
import PortalTesting
import Postgres
import Testing

/// The members of the contract's objects, in its order.
enum Contract {
  static let key = [
    "id", "name", "start", "environment", "scopes", "rateLimitPerMinute", "limits", "rateLimitMode", "allowedIPs",
    "expiresAt", "revokedAt",
    "lastUsedAt", "totalRequests", "createdAt", "status", "description", "tags", "metadata", "createdBy",
    "apiId", "prefix", "byteLength", "resources", "roles", "permissions", "credits", "effective", "policyViolations",
  ]
  static let credits = ["remaining", "held", "refill", "refillAt"]
  static let limit = ["name", "limit", "windowSeconds", "windowMilliseconds", "autoApply"]
  static let plan = ["name", "keyCap", "scopes", "rateLimitPerMinuteMax", "maxKeyLifetimeDays", "apiIds", "roleIds"]
  static let api = ["id", "slug", "name", "keyPrefix", "keyBytes", "isProtected", "endpointLimits", "createdAt"]
  static let permission = ["id", "slug", "description", "createdAt"]
  static let role = ["id", "name", "description", "permissions", "createdAt"]
  static let propagation = ["instances", "acknowledged", "milliseconds"]
  static let login = ["user", "account", "role", "token", "expiresAt"]
  static let verdict = [
    "valid", "code", "keyId", "accountId", "name", "environment", "scopes", "expiresAt", "rateLimit", "limits",
  ]
  static let usage = ["from", "to", "daily", "endpoints", "summary", "completeThrough"]
  static let daily = [
    "date", "successes", "errors", "denied", "averageLatencyMs", "p50LatencyMs", "p95LatencyMs", "p99LatencyMs",
  ]
  static let endpoint = ["endpoint", "successes", "errors", "denied", "averageLatencyMs"]
  static let summary = [
    "totalRequests", "successes", "errors", "denied", "errorRate", "averageLatencyMs", "p50LatencyMs", "p95LatencyMs",
    "p99LatencyMs",
  ]
  static let auditEvent = ["id", "at", "actor", "action", "target", "reason", "ticket", "detail", "ip"]
  static let confirmation = [
    "id", "accountId", "accountName", "keys", "requestedBy", "reason", "ticket", "createdAt", "expiresAt", "keyIds",
  ]
  static let staff = ["id", "email", "name", "role", "disabledAt", "secondFactorEnabledAt", "createdAt"]
  static let warning = "Store this key securely: it won't be shown again."
}

extension JSONValue {
  /// Whether it is a time as in the contract: RFC 3339 in UTC with milliseconds.
  var isTime: Bool {
    string?.wholeMatch(of: /\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z/) != nil
  }

  /// Whether it is an id as in the contract: a UUID version 7 in lower case.
  var isID: Bool {
    string?.wholeMatch(of: /[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}/) != nil
  }
}

extension TestAnswer {
  /// The locations of the problems.
  var locations: [String] { body["errors"].array.compactMap { $0["location"].string } }
}

/// Expects a problem document as in the contract, with this code, and with an error at `location` if one is given.
func expectProblem(
  _ answer: TestAnswer, _ status: Int, _ code: String, at location: String? = nil, _ comment: Comment? = nil,
  sourceLocation: SourceLocation = #_sourceLocation
) {
  #expect(answer.status == status, comment, sourceLocation: sourceLocation)
  #expect(answer.code == code, comment, sourceLocation: sourceLocation)
  #expect(answer.header("Content-Type") == "application/problem+json", comment, sourceLocation: sourceLocation)
  #expect(answer.header("Cache-Control") == "no-store", comment, sourceLocation: sourceLocation)
  let names = ["type", "title", "status", "detail", "code", "requestId"]
  #expect(
    answer.body.names == names + (answer.body["errors"] == .null ? [] : ["errors"]), comment,
    sourceLocation: sourceLocation)
  #expect(
    answer.body["type"].string == "/problems/" + code, comment, sourceLocation: sourceLocation)
  #expect(answer.body["status"].integer == status, comment, sourceLocation: sourceLocation)
  #expect(answer.body["title"].string?.isEmpty == false, comment, sourceLocation: sourceLocation)
  #expect(answer.body["detail"].string?.isEmpty == false, comment, sourceLocation: sourceLocation)
  #expect(answer.body["requestId"].string?.isEmpty == false, comment, sourceLocation: sourceLocation)
  #expect(answer.header("X-Request-Id") == answer.body["requestId"].string, comment, sourceLocation: sourceLocation)
  for error in answer.body["errors"].array {
    #expect(error.names == ["location", "message"], comment, sourceLocation: sourceLocation)
  }
  if let location {
    #expect(answer.locations.contains(location), comment, sourceLocation: sourceLocation)
  }
}

/// Expects a `Key` of the contract, with the members `more` after it.
func expectKey(_ key: JSONValue, _ more: [String] = [], sourceLocation: SourceLocation = #_sourceLocation) {
  #expect(key.names == Contract.key + more, sourceLocation: sourceLocation)
  #expect(key["id"].isID, sourceLocation: sourceLocation)
  #expect(key["createdAt"].isTime, sourceLocation: sourceLocation)
  for name in ["expiresAt", "revokedAt", "lastUsedAt"] where key[name] != .null {
    #expect(key[name].isTime, sourceLocation: sourceLocation)
  }
}

/// Expects the propagation that revoking, rolling and suspending report: the one instance here has acknowledged it.
func expectPropagation(_ value: JSONValue, sourceLocation: SourceLocation = #_sourceLocation) {
  #expect(value.names == Contract.propagation, sourceLocation: sourceLocation)
  #expect(value["instances"].integer == 1, sourceLocation: sourceLocation)
  #expect(value["acknowledged"].integer == 1, sourceLocation: sourceLocation)
  #expect((0..<15_000).contains(value["milliseconds"].integer ?? -1), sourceLocation: sourceLocation)
}

/// The number of keys, whatever their status.
struct CountKeys: PostgresStatement {
  typealias Row = Int
  static let sql = "select count(*) from api_keys"
}

/// Counts rows and changes in all tables that a request could have written to.
struct CountAllRows: PostgresStatement {
  typealias Row = Int
  static let sql = """
    select (select count(*) from api_keys) + (select count(*) from accounts) + (select count(*) from users)
      + (select count(*) from memberships) + (select count(*) from sessions) + (select count(*) from staff_sessions)
      + (select count(*) from audit_events) + (select count(*) from usage_batches)
      + (select count(*) from api_keys where revoked_at is not null)
      + (select coalesce(sum(revision), 0)::bigint from api_keys)
      + (select count(*) from accounts where suspended_at is not null)
      + (select count(*) from accounts where plan <> 'default') + (select count(*) from key_policies)
      + (select count(*) from staff_confirmations) + (select count(*) from second_factors)
      + (select coalesce(sum(revision), 0)::bigint from staff)
      + (select sum(key_cap) from plans)::bigint
      + (select count(*) from limit_namespaces)
      + (select coalesce(sum(limit_value), 0)::bigint + count(*) from limit_overrides)
    """
}

extension TestPortal {
  func keyCount() async throws -> Int { try await pool.query(CountKeys()).first ?? -1 }

  func invalidationCount() async throws -> Int { try await pool.query(CountInvalidations()).first ?? -1 }

  func rowCount() async throws -> Int { try await pool.query(CountAllRows()).first ?? -1 }
}

/// The number of rows in the invalidation log.
struct CountInvalidations: PostgresStatement {
  typealias Row = Int
  static let sql = "select count(*) from invalidation_log"
}
