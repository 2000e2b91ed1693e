package import Foundation

/// The credential of a gateway, a backend or an analyst. It has permissions and no account. These are the fields that
/// are checked on a request.
package struct ServiceToken: Sendable, Equatable {
  package enum Permission: String, Sendable, CaseIterable {
    case verifyKeys = "keys.verify"
    case writeUsage = "usage.write"
    case readKeys = "keys.read"
    case writeKeys = "keys.write"
    case readAnalytics = "analytics.read"
    case readCatalog = "catalog.read"
    case writeCatalog = "catalog.write"
    case grantKeys = "keys.grant"
    case readAccounts = "accounts.read"
    case writeAccounts = "accounts.write"
    case useLimits = "limits.use"
    case writeLimits = "limits.write"
    case readAudit = "audit.read"
    case importKeys = "keys.import"
    case exportKeys = "keys.export"

    /// Whether it can be restricted to one environment or to some apis. Neither usage, nor the catalog, nor standalone
    /// limits, nor the trails are kept by these; an account's keys of all environments and apis end with it; and
    /// imports and exports concern all keys.
    package var isRestrictable: Bool {
      switch self {
      case .readAnalytics, .readCatalog, .writeCatalog, .writeAccounts, .useLimits, .writeLimits, .readAudit,
        .importKeys, .exportKeys:
        false
      case .verifyKeys, .writeUsage, .readKeys, .writeKeys, .grantKeys, .readAccounts: true
      }
    }
  }

  package enum Status: String, Sendable, CaseIterable {
    case active, expired, revoked
  }

  package static let secretPrefix = "lk_svc"
  package static let nameLengthMax = 100
  package static let lifetimeDaysMax = 36_500
  package static let apiCountMax = 64

  package var id: UUID
  package var name: String
  package var permissions: [Permission]
  /// If set, keys of other environments are not found with this token.
  package var environment: KeyEnvironment?
  /// If set, keys for other apis are not found with this token.
  package var apiIDs: [UUID]?
  package var expiresAt: Date?
  package var isRevoked: Bool

  func isGood(at now: Date) -> Bool {
    !isRevoked && expiresAt.map { now < $0 } ?? true
  }

  /// The caller of requests with this token. `onBehalfOf` is the person that the backend says it acts for.
  package func caller(ip: String?, onBehalfOf: String? = nil) -> Caller {
    Caller(
      actor: .token(id: id, name: name), ip: ip, environment: environment, apiIDs: apiIDs, onBehalfOf: onBehalfOf)
  }
}

/// A service token as staff see it, without the secret.
package struct ServiceTokenDetails: Sendable, Equatable {
  package var id: UUID
  package var name: String
  package var permissions: [ServiceToken.Permission]
  package var environment: KeyEnvironment?
  package var apiIDs: [UUID]?
  package var expiresAt: Date?
  package var revokedAt: Date?
  /// When a successor replaced it.
  package var rolledAt: Date?
  /// The ID of its predecessor.
  package var replacesID: UUID?
  /// Up to ``ServiceTokenUse/precisionSeconds`` before the actual last use; nil if never used.
  package var lastUsedAt: Date?
  package var createdAt: Date

  package func status(at now: Date) -> ServiceToken.Status {
    if revokedAt != nil { return .revoked }
    return expiresAt.map { $0 <= now } ?? false ? .expired : .active
  }
}

/// A new service token with its secret, which can only be shown now.
package struct IssuedServiceToken: Sendable {
  package var details: ServiceTokenDetails
  package var secret: Secret

  package var id: UUID { details.id }
}
