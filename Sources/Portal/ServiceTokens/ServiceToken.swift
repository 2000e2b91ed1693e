package import Foundation

/// What a gateway, a backend or an analyst shows to be let in: named permissions, no account. As it is checked.
package struct ServiceToken: Sendable, Equatable {
  package enum Permission: String, Sendable, CaseIterable {
    case verifyKeys = "keys.verify"
    case writeUsage = "usage.write"
    case readKeys = "keys.read"
    case writeKeys = "keys.write"
    case readAnalytics = "analytics.read"

    /// Whether it can be had for one environment. What is summed up over accounts is not kept by environment.
    package var isRestrictable: Bool { self != .readAnalytics }
  }

  package enum Status: String, Sendable, CaseIterable {
    case active, expired, revoked
  }

  package static let secretPrefix = "lk_svc"
  package static let nameLengthMax = 100
  package static let lifetimeDaysMax = 36_500

  package var id: UUID
  package var name: String
  package var permissions: [Permission]
  /// The only one whose keys it knows of; nil: all.
  package var environment: KeyEnvironment?
  package var expiresAt: Date?
  package var isRevoked: Bool

  func isGood(at now: Date) -> Bool {
    !isRevoked && expiresAt.map { now < $0 } ?? true
  }

  /// Who acts with it.
  package func caller(ip: String?) -> Caller {
    Caller(actor: .token(id: id, name: name), ip: ip, environment: environment)
  }
}

/// A service token as those see it who give it out. The secret is not part of it.
package struct ServiceTokenDetails: Sendable, Equatable {
  package var id: UUID
  package var name: String
  package var permissions: [ServiceToken.Permission]
  package var environment: KeyEnvironment?
  package var expiresAt: Date?
  package var revokedAt: Date?
  /// When another took its place.
  package var rolledAt: Date?
  /// The one whose place it took.
  package var replacesID: UUID?
  /// Up to ``ServiceTokenUse/precisionSeconds`` before it was in fact; nil: never.
  package var lastUsedAt: Date?
  package var createdAt: Date

  package func status(at now: Date) -> ServiceToken.Status {
    if revokedAt != nil { return .revoked }
    return expiresAt.map { $0 <= now } ?? false ? .expired : .active
  }
}

/// A service token together with its secret: the one moment at which the secret can be shown.
package struct IssuedServiceToken: Sendable {
  package var details: ServiceTokenDetails
  package var secret: Secret

  package var id: UUID { details.id }
}
