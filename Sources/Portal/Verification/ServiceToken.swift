package import Foundation

/// What a gateway or an analyst shows to be let in: named permissions, no account.
package struct ServiceToken: Sendable, Equatable, Invalidatable {
  package enum Permission: String, Sendable, CaseIterable {
    case verifyKeys = "keys.verify"
    case writeUsage = "usage.write"
    case readKeys = "keys.read"
    case writeKeys = "keys.write"
    case readAnalytics = "analytics.read"
  }

  package static let secretPrefix = "lk_svc"
  package static let nameLengthMax = 100

  package var id: UUID
  package var name: String
  package var permissions: [Permission]
  package var expiresAt: Date?
  package var isRevoked: Bool

  package var owner: UUID? { nil }

  func isGood(at now: Date) -> Bool {
    !isRevoked && expiresAt.map { now < $0 } ?? true
  }
}
