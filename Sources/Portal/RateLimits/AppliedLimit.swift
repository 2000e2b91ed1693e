import Foundation

/// A limit of a request, and whose it is.
struct AppliedLimit: Sendable, Equatable {
  let limit: RateLimit
  let mode: RateLimitMode
  let window: RateLimitWindowID

  /// `subject` is the lineage of a key, or the account.
  init(_ limit: RateLimit, _ mode: RateLimitMode, of subject: UUID, isAccount: Bool = false) {
    self.limit = limit
    self.mode = mode
    window = RateLimitWindowID(
      subject: subject, digest: limit.digest, isAccount: isAccount, isConsistent: mode == .consistent)
  }
}

/// What a window is found by.
struct RateLimitWindowID: Hashable, Sendable {
  let subject: UUID
  let digest: Int
  /// Those of accounts are kept apart from those of keys.
  let isAccount: Bool
  /// A key and its predecessor may be of different modes. Were their window one, what PostgreSQL decided for the one
  /// would take the place of what was counted here for the other, again and again.
  let isConsistent: Bool

  /// In one word, since this is done for every verification: the last bytes of a UUID are random.
  func hash(into hasher: inout Hasher) { hasher.combine(subject.lowBits ^ UInt64(bitPattern: Int64(digest))) }
}
