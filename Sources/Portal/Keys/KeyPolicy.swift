import Foundation

/// The rules that an account sets for its own keys.
package struct KeyPolicy: Sendable, Equatable {
  package static let lifetimeDaysMax = 36_500
  package static let idleDaysMax = 3_650

  package var isExpiryRequired: Bool
  package var maxLifetimeDays: Int?
  package var isAllowlistRequired: Bool
  /// Each scope of a key must be covered by one of these patterns; nil if any scope is allowed.
  package var allowedScopes: [String]?
  package var disableAfterIdleDays: Int?

  package init(
    isExpiryRequired: Bool = false, maxLifetimeDays: Int? = nil, isAllowlistRequired: Bool = false,
    allowedScopes: [String]? = nil, disableAfterIdleDays: Int? = nil
  ) {
    self.isExpiryRequired = isExpiryRequired
    self.maxLifetimeDays = maxLifetimeDays
    self.isAllowlistRequired = isAllowlistRequired
    self.allowedScopes = allowedScopes
    self.disableAfterIdleDays = disableAfterIdleDays
  }

  /// The rules that a key with these settings would violate.
  func problems(of settings: KeySettings, madeAt createdAt: Date) -> [FieldProblem] {
    var problems = allowedScopes.map { settings.problems(ofScopes: $0, "the account's policy") } ?? []
    if settings.expiresAt == nil, isExpiryRequired || maxLifetimeDays != nil {
      problems.append(FieldProblem(.expiresAt, "is required by the account's policy"))
    } else if let maxLifetimeDays, settings.expiresAt.isAfter(createdAt, days: maxLifetimeDays) {
      problems.append(
        FieldProblem(
          .expiresAt, "must be at most \(maxLifetimeDays) days after the key is made, by the account's policy"))
    }
    if isAllowlistRequired, settings.allowedIPs == nil {
      problems.append(FieldProblem(.allowedIPs, "is required by the account's policy"))
    }
    return problems
  }
}

/// All rules for the keys of an account.
package struct KeyRules: Sendable, Equatable {
  package var plan: Plan
  package var policy: KeyPolicy

  package init(plan: Plan, policy: KeyPolicy = KeyPolicy()) {
    self.plan = plan
    self.policy = policy
  }

  /// Throws all violations, under the code of the first: `.scopeNotAllowed`, `.limitNotAllowed` or `.policyViolation`.
  ///
  /// For an existing key, `fields` are the fields that change. Only they are checked, so that a rule introduced later
  /// does not prevent unrelated changes.
  func check(
    _ settings: KeySettings, of owner: FieldProblem.Owner = .request, madeAt createdAt: Date,
    only fields: Set<FieldProblem.Field>? = nil
  ) throws(PortalError) {
    func relevant(_ problems: [FieldProblem]) -> [FieldProblem] {
      problems.filter { problem in fields?.contains(problem.field.whole) ?? true }
        .map { FieldProblem($0.field, $0.message, of: owner) }
    }
    let scopes = relevant(settings.problems(ofScopes: plan.scopes, "the plan \(plan.name)"))
    let limits = relevant(plan.limitProblems(of: settings, madeAt: createdAt))
    let policy = relevant(policy.problems(of: settings, madeAt: createdAt))
    let all = scopes + limits + policy
    if !scopes.isEmpty { throw .scopeNotAllowed(all) }
    if !limits.isEmpty { throw .limitNotAllowed(all) }
    if !policy.isEmpty { throw .policyViolation(all) }
  }
}

extension Plan {
  fileprivate func limitProblems(of settings: KeySettings, madeAt createdAt: Date) -> [FieldProblem] {
    var problems: [FieldProblem] = []
    // A key without a limit of its own has the plan's.
    if let rateLimitPerMinuteMax, let limit = settings.rateLimitPerMinute, limit > rateLimitPerMinuteMax {
      problems.append(
        FieldProblem(.rateLimitPerMinute, "must be at most \(rateLimitPerMinuteMax) under the plan \(name)"))
    }
    if let apiIDs, let apiID = settings.apiID, !apiIDs.contains(apiID) {
      problems.append(FieldProblem(.api, "is not among the apis of the plan \(name)"))
    }
    if let maxKeyLifetimeDays, settings.expiresAt.isAfter(createdAt, days: maxKeyLifetimeDays) {
      problems.append(
        FieldProblem(
          .expiresAt,
          "must be set, at most \(maxKeyLifetimeDays) days after the key is made, under the plan \(name)"))
    }
    return problems
  }
}

extension KeySettings {
  fileprivate func problems(ofScopes patterns: [String], _ rule: String) -> [FieldProblem] {
    func problems(_ scopes: [String], at field: (Int) -> FieldProblem.Field) -> [FieldProblem] {
      scopes.enumerated().filter { _, scope in !patterns.contains { Scope.covers($0, scope) } }.map { index, scope in
        FieldProblem(field(index), "(\(scope)) is not covered by \(rule)")
      }
    }
    return problems(scopes) { .scope($0) }
      + resources.entries.flatMap { entry in problems(entry.scopes) { .resource(entry.name, $0) } }
  }

  /// The changed fields among those that have rules.
  func ruledFields(changedFrom old: KeySettings) -> Set<FieldProblem.Field> {
    var fields: Set<FieldProblem.Field> = []
    if scopes != old.scopes { fields.insert(.scopes) }
    if rateLimitPerMinute != old.rateLimitPerMinute { fields.insert(.rateLimitPerMinute) }
    if expiresAt != old.expiresAt { fields.insert(.expiresAt) }
    if allowedIPs != old.allowedIPs { fields.insert(.allowedIPs) }
    if apiID != old.apiID { fields.insert(.api) }
    if resources != old.resources { fields.insert(.resources) }
    return fields
  }
}

extension Date? {
  /// True if this is more than `days` days after `date`, or nil, which means never.
  fileprivate func isAfter(_ date: Date, days: Int) -> Bool { self.map { $0 > date.adding(days: days) } ?? true }
}
