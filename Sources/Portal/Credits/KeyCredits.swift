import Foundation

/// The buckets that a key spends from. Most keys have none, and a key in the cache has at most a reference to this.
package final class KeyCredits: Sendable, Hashable {
  /// The bucket of the key; nil if it has none.
  let own: UUID?
  /// The bucket of its account; nil if it has none.
  let account: UUID?

  /// Nil if there is neither.
  init?(own: UUID?, account: UUID?) {
    if own == nil, account == nil { return nil }
    self.own = own
    self.account = account == own ? nil : account
  }

  /// Whether all keys of an account may share this.
  var isShareable: Bool { own == nil }

  package static func == (one: KeyCredits, other: KeyCredits) -> Bool {
    one === other || one.own == other.own && one.account == other.account
  }

  package func hash(into hasher: inout Hasher) {
    hasher.combine(own)
    hasher.combine(account)
  }
}

/// Why a request was refused for its cost.
struct CreditRefusal: Equatable, Sendable {
  /// What is left of the bucket.
  var left: Int
  /// The time until the next refill, in milliseconds; nil if none comes.
  var refillMilliseconds: Int?
}

/// What a verdict tells about credits.
package struct CreditStanding: Equatable, Sendable {
  /// What is left of the bucket, or of that with less: as told last by PostgreSQL, less what this instance has spent
  /// since.
  package var remaining: Int
  /// Of a request that is refused for its cost: the seconds until a refill; nil if none comes.
  package var retryAfterSeconds: Int?

  package init(remaining: Int, retryAfterSeconds: Int? = nil) {
    self.remaining = remaining
    self.retryAfterSeconds = retryAfterSeconds
  }

  init(_ refusal: CreditRefusal) {
    remaining = refusal.left
    // At least one second: a client that comes back at once would be refused again.
    retryAfterSeconds = refusal.refillMilliseconds.map { max(1, $0 / 1_000 + ($0 % 1_000 > 0 ? 1 : 0)) }
  }
}
