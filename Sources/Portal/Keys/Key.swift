package import Foundation

/// An API key of an account, without its secret.
package struct Key: Sendable, Equatable {
  package typealias Environment = KeyEnvironment

  package enum Status: String, Sendable, CaseIterable {
    case active, disabled, expired, revoked, suspended
  }

  /// The most characters of a key that are stored for display.
  package static let startLengthMax = 32
  package static let nameLengthMax = 100
  package static let rateLimitPerMinuteDefault = 60
  package static let rateLimitPerMinuteMax = 10_000
  package static let graceSecondsMax = 604_800
  /// The revision of a key that has not been changed since it was created.
  package static let firstRevision = 1
  package static let descriptionLengthMax = 500
  package static let metadataByteCountMax = 4_096
  /// Nesting depth of objects and lists, including the outermost object.
  package static let metadataDepthMax = 8

  /// The creator of a key, as named when the key was created.
  package struct Creator: Sendable, Equatable {
    package var kind: String
    package var id: UUID?
    package var name: String
  }

  package var id: UUID
  package var accountID: UUID
  package var name: String
  /// The first characters, by which people recognize it; nil while only the hash of an imported key is known.
  package var start: String?
  package var environment: Environment
  package var scopes: [String]
  /// Nil for none of its own.
  package var rateLimitPerMinute: Int?
  package var limits: [RateLimit]
  package var rateLimitMode: RateLimitMode
  /// Nil if all addresses are allowed.
  package var allowedIPs: [AddressBlock]?
  package var expiresAt: Date?
  package var revokedAt: Date?
  package var disabledAt: Date?
  package var rolledAt: Date?
  package var accountSuspendedAt: Date?
  package var lastUsedAt: Date?
  package var totalRequests: Int
  package var createdAt: Date
  package var description: String?
  package var tags: [String] = []
  /// The text of a JSON object.
  package var metadata: String?
  /// Nil for a key that was created before creators were recorded.
  package var createdBy: Creator?
  /// Incremented by each change.
  package var revision = 1
  /// The api that it is for; nil: all.
  package var apiID: UUID?
  /// What it and its successors begin with; nil: as its api or the deployment says.
  package var prefix: String?
  /// The number of random bytes of it and of its successors; nil: as its api or the default says.
  package var byteLength: Int?
  package var resources: ResourceScopes = .none
  /// The names of its roles, sorted by their bytes, like the next two.
  package var roles: [String] = []
  /// The slugs of the permissions that it was granted directly.
  package var permissions: [String] = []
  /// The slugs of all its permissions, including those of its roles and of those that its plan gives it.
  package var effectivePermissions: [String] = []
  /// The names of all its roles, including those that its plan gives it.
  package var effectiveRoles: [String] = []
  /// What it may still be used for; nil: unlimited. Its balance is as settled, which is at most a second old.
  package var credits: CreditBalance?
  /// The rules of its account, as they are now.
  package var rules: KeyRules

  /// The first of these that applies: revoked, suspended, disabled, expired, active.
  package func status(at now: Date) -> Status {
    if revokedAt != nil { return .revoked }
    if accountSuspendedAt != nil { return .suspended }
    if disabledAt != nil { return .disabled }
    return isExpired(at: now) ? .expired : .active
  }

  func isExpired(at now: Date) -> Bool { effectiveExpiresAt.map { $0 <= now } ?? false }

  // MARK: Settings as limited by the plan, which verification applies

  package var effectiveExpiresAt: Date? {
    let plans = rules.plan.maxKeyLifetimeDays.map { createdAt.adding(days: $0) }
    return [expiresAt, plans].compactMap(\.self).min()
  }

  package var effectiveScopes: [String] { Scope.intersection(scopes, rules.plan.scopes) }

  /// Whether a backend or staff granted it anything, apart from what its plan gives.
  var hasOwnGrants: Bool { !roles.isEmpty || !permissions.isEmpty || !resources.isEmpty }

  package var effectiveResources: ResourceScopes { resources.intersection(rules.plan.scopes) }

  /// The apis that it can be used for; nil for all. Empty if the plan does not have the key's api.
  package var effectiveAPIIDs: [UUID]? {
    guard let plans = rules.plan.apiIDs else { return apiID.map { [$0] } }
    return apiID.map { id in plans.filter { $0 == id } } ?? plans
  }

  /// Nil if neither the key nor the plan has a limit.
  package var effectiveRateLimitPerMinute: Int? {
    [rateLimitPerMinute, rules.plan.rateLimitPerMinuteMax].compactMap(\.self).min()
  }

  /// How the key violates its account's policy, which may be more recent than the key. Empty for a revoked key.
  package var policyViolations: [FieldProblem] {
    revokedAt == nil ? rules.policy.problems(of: KeySettings(of: self), madeAt: createdAt) : []
  }
}

/// A new key with its secret, which can be shown only now.
package struct IssuedKey: Sendable {
  package var key: Key
  package var secret: Secret
}
