package import Foundation

/// A key that its holder has presented. A class, because the context of every request has room for it.
package final class HeldKey: Sendable {
  package let key: VerifiableKey

  init(_ key: VerifiableKey) { self.key = key }

  /// The holder. Nothing is known of them but the key.
  package func caller(ip: String?) -> Caller { Caller(actor: .key(id: key.id, name: key.name), ip: ip) }
}

/// What the holder of a key is told of it.
package struct HeldKeyView: Sendable {
  package var key: Key
  package var status: Key.Status
  /// The key's limits and what is left of them, as far as this instance knows.
  package var limits: RateLimitDecision
  /// What is left of the credits of the key or its account, whichever has less, as far as it is settled. Nil if it may
  /// be used without end.
  package var remainingCredits: Int?
  /// A report on the current day (UTC).
  package var today: UsageReport

  /// When the key has to be rolled: before it expires, and before it is older than the account's policy allows. Nil if
  /// there is no such time, and for a key that is revoked or was rolled.
  package var rollBy: Date? {
    guard key.revokedAt == nil, key.rolledAt == nil else { return nil }
    let policys = key.rules.policy.maxLifetimeDays.map { key.createdAt.adding(days: $0) }
    return [key.effectiveExpiresAt, policys].compactMap(\.self).min()
  }
}
