import Foundation
import JSON
import Portal
import PortalHTTP

/// The reason for an action of a member of staff.
extension SupportReason: JSONBody {
  init(_ fields: inout RequestFields) throws {
    let reason = fields.supportReason()
    self = try fields.finish(reason) { $0 }
  }
}

struct PlanAssignmentBody {
  /// The name of the plan.
  var plan: String
  var reason: SupportReason
}

extension PlanAssignmentBody: JSONBody {
  init(_ fields: inout RequestFields) throws {
    let plan = fields.string("plan", 1...Plan.nameLengthMax)
    let reason = fields.supportReason()
    self = try fields.finish(plan, reason) { PlanAssignmentBody(plan: $0, reason: $1) }
  }
}

struct PastedKeyBody {
  /// The pasted text, which need not be a key.
  var key: String
}

extension PastedKeyBody: JSONBody {
  init(_ fields: inout RequestFields) throws {
    let key = fields.string("key", 1...KeyFormat.pastedLengthMax)
    self = try fields.finish(key) { PastedKeyBody(key: $0) }
  }
}

extension StaffChanges: JSONBody {
  init(_ fields: inout RequestFields) throws {
    self.init(
      role: fields.change("role") { $0.choice("role") },
      isEnabled: fields.change("enabled") { $0.optionalBool("enabled") })
    try fields.finish()
  }
}

struct PlanBody {
  /// Without what the next two name.
  var plan: Plan
  /// Nil means all.
  var apis: [CatalogReference]?
  var roles: [CatalogReference]
}

extension PlanBody {
  /// `name` comes from the path, the rest from the body.
  init(name: String, _ fields: inout RequestFields) throws {
    let scopes = fields.required("scopes") { $0.optionalScopePatterns("scopes") }
    let keyCap = fields.integerOrNull("keyCap", 1...Plan.keyCapMax)
    let rateLimit = fields.integerOrNull("rateLimitPerMinuteMax", 1...Key.rateLimitPerMinuteMax)
    let lifetime = fields.optionalInteger("maxKeyLifetimeDays", 1...KeyPolicy.lifetimeDaysMax)
    let apis = fields.optionalList("apiIds", 1...Plan.apiCountMax, "must be the id or slug of an api") {
      CatalogReference($0)
    }
    let roles = fields.optionalList("roleIds", 0...Plan.roleCountMax, "must be the id or name of a role") {
      CatalogReference($0)
    }
    self = try fields.finish(keyCap, scopes, rateLimit) {
      PlanBody(
        plan: Plan(name: name, keyCap: $0, scopes: $1, rateLimitPerMinuteMax: $2, maxKeyLifetimeDays: lifetime),
        apis: apis, roles: roles ?? [])
    }
  }
}

struct NewServiceTokenBody {
  var name: String
  var permissions: [ServiceToken.Permission]
  /// Nil means both environments.
  var environment: Key.Environment?
  /// The apis that it is bound to; nil means all.
  var apis: [CatalogReference]?
  var expiresAt: Date?
}

extension NewServiceTokenBody {
  init(_ fields: inout RequestFields, at now: Date) throws {
    let name = fields.typedLine("name", 1...ServiceToken.nameLengthMax)
    let permissions = fields.permissions()
    let environment: Key.Environment? = fields.optionalChoice("environment")
    let apis = fields.optionalList("apiIds", 1...ServiceToken.apiCountMax, "must be the id or slug of an api") {
      CatalogReference($0)
    }
    let expiresAt = fields.futureDate("expiresAt", after: now)
    self = try fields.finish(name, permissions) {
      NewServiceTokenBody(name: $0, permissions: $1, environment: environment, apis: apis, expiresAt: expiresAt)
    }
  }
}

extension RequestFields {
  fileprivate mutating func permissions() -> [ServiceToken.Permission]? {
    var seen: Set<ServiceToken.Permission> = []
    let all = ServiceToken.Permission.allCases
    return list(
      "permissions", 1...all.count,
      "must be one of \(all.map(\.rawValue).joined(separator: ", ")), and must not be repeated"
    ) { text in
      ServiceToken.Permission(named: text).flatMap { seen.insert($0).inserted ? $0 : nil }
    }
  }
}
