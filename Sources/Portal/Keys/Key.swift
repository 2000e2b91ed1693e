package import Foundation

/// One API key of an account, as its owner sees it. The secret is not part of it.
package struct Key: Sendable, Equatable {
  package typealias Environment = KeyEnvironment

  package enum Status: String, Sendable, CaseIterable {
    case active, disabled, expired, revoked, suspended
  }

  /// Characters of the secret that are stored for display.
  package static let startLength = 12
  package static let nameLengthMax = 100
  package static let rateLimitPerMinuteDefault = 60
  package static let rateLimitPerMinuteMax = 10_000
  package static let graceSecondsMax = 604_800
  /// That of a key that nobody has changed since it was made.
  package static let firstRevision = 1
  package static let descriptionLengthMax = 500
  package static let metadataByteCountMax = 4_096
  /// Objects and lists in each other, the outermost counted.
  package static let metadataDepthMax = 8

  /// Who made a key, as of then.
  package struct Maker: Sendable, Equatable {
    package var kind: String
    package var id: UUID?
    package var name: String
  }

  package var id: UUID
  package var accountID: UUID
  package var name: String
  package var start: String
  package var environment: Environment
  package var scopes: [String]
  package var rateLimitPerMinute: Int
  package var limits: [RateLimit]
  package var rateLimitMode: RateLimitMode
  /// nil: from anywhere.
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
  /// nil for a key that was made before this was written down.
  package var createdBy: Maker?
  /// Counts the changes.
  package var revision = 1
  /// Of its account, as of now.
  package var rules: KeyRules

  /// Derived, the first that applies: revoked, suspended, disabled, expired, active.
  package func status(at now: Date) -> Status {
    if revokedAt != nil { return .revoked }
    if accountSuspendedAt != nil { return .suspended }
    if disabledAt != nil { return .disabled }
    return isExpired(at: now) ? .expired : .active
  }

  func isExpired(at now: Date) -> Bool { effectiveExpiresAt.map { $0 <= now } ?? false }

  // MARK: What the plan leaves of it, as verification has it

  package var effectiveExpiresAt: Date? {
    let plans = rules.plan.maxKeyLifetimeDays.map { createdAt.adding(days: $0) }
    return [expiresAt, plans].compactMap(\.self).min()
  }

  package var effectiveScopes: [String] { Scope.intersection(scopes, rules.plan.scopes) }

  package var effectiveRateLimitPerMinute: Int { min(rateLimitPerMinute, rules.plan.rateLimitPerMinuteMax) }

  /// In what it breaks its account's policy, which may have come later; nothing of a key that is revoked.
  package var policyViolations: [FieldProblem] {
    revokedAt == nil ? rules.policy.problems(of: KeySettings(of: self), madeAt: createdAt) : []
  }
}

/// A key together with its secret: the one moment at which the secret can be shown.
package struct IssuedKey: Sendable {
  package var key: Key
  package var secret: Secret
}
