package import Foundation

/// One API key of an account, as its owner sees it. The secret is not part of it.
package struct Key: Sendable, Equatable {
  package enum Environment: String, Sendable, CaseIterable {
    case live, test
  }

  package enum Status: String, Sendable, CaseIterable {
    case active, disabled, expired, revoked, suspended
  }

  /// Characters of the secret that are stored for display.
  package static let startLength = 12
  package static let nameLengthMax = 100
  package static let rateLimitPerMinuteDefault = 60
  package static let rateLimitPerMinuteMax = 10_000
  package static let graceSecondsMax = 604_800

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

  /// Derived, the first that applies: revoked, suspended, disabled, expired, active.
  package func status(at now: Date) -> Status {
    if revokedAt != nil { return .revoked }
    if accountSuspendedAt != nil { return .suspended }
    if disabledAt != nil { return .disabled }
    if let expiresAt, expiresAt <= now { return .expired }
    return .active
  }
}

/// What a customer chooses when making a key.
package struct KeySettings: Sendable, Equatable {
  package var name: String
  package var environment: Key.Environment
  package var scopes: [String]
  package var rateLimitPerMinute: Int
  /// Beside the one per minute.
  package var limits: [RateLimit]
  package var rateLimitMode: RateLimitMode
  package var allowedIPs: [AddressBlock]?
  package var expiresAt: Date?

  package init(
    name: String, environment: Key.Environment = .live, scopes: [String],
    rateLimitPerMinute: Int = Key.rateLimitPerMinuteDefault, limits: [RateLimit] = [],
    rateLimitMode: RateLimitMode = .fast, allowedIPs: [AddressBlock]? = nil, expiresAt: Date? = nil
  ) {
    self.name = name
    self.environment = environment
    self.scopes = scopes
    self.rateLimitPerMinute = rateLimitPerMinute
    self.limits = limits
    self.rateLimitMode = rateLimitMode
    self.allowedIPs = allowedIPs
    self.expiresAt = expiresAt
  }

  /// Refuses what the plan does not cover.
  func check(against plan: Plan) throws(PortalError) {
    let refused = scopes.filter { scope in !plan.scopes.contains { Scope.covers($0, scope) } }
    guard refused.isEmpty else { throw .scopeNotAllowed(refused) }
    guard rateLimitPerMinute <= plan.rateLimitPerMinuteMax else {
      throw .limitNotAllowed(
        reason: "The plan \(plan.name) allows at most \(plan.rateLimitPerMinuteMax) requests per minute and key.")
    }
  }
}

/// A key together with its secret: the one moment at which the secret can be shown.
package struct IssuedKey: Sendable {
  package var key: Key
  package var secret: Secret
}

/// How this deployment's keys look: `<prefix>_<environment>_<secret><checksum>`.
package struct KeyFormat: Sendable {
  package let prefix: String

  /// Nil unless the prefix is 2 to 16 lower-case letters and digits, beginning with a letter.
  package init?(prefix: String) {
    let bytes = prefix.utf8
    guard (2...16).contains(bytes.count), let first = bytes.first, (97...122).contains(first),
      bytes.allSatisfy({ (97...122).contains($0) || (48...57).contains($0) })
    else { return nil }
    self.prefix = prefix
  }

  func makeSecret(_ environment: Key.Environment) -> Secret {
    .random(prefix: prefix + "_" + environment.rawValue)
  }

  /// What a presented text is looked up by; nil if no look-up can find it.
  package func hash(of secret: Secret) -> SecretHash? { mayExist(secret) ? secret.hash : nil }

  /// What looks like one of ours must have a right checksum; anything else may be a key whose hash was brought from
  /// another system.
  package func mayExist(_ secret: Secret) -> Bool {
    let text = secret.reveal()
    guard !text.isEmpty, text.utf8.count <= Secret.lengthMax else { return false }
    for environment in Key.Environment.allCases {
      let own = prefix + "_" + environment.rawValue
      if text.hasPrefix(own + "_") { return secret.isWellFormed(prefix: own) }
    }
    return true
  }
}
