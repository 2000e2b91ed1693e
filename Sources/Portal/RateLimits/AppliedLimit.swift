import Foundation

/// A limit that applies to a request, with the window it is counted in.
struct AppliedLimit: Sendable, Equatable {
  let limit: RateLimit
  let mode: RateLimitMode
  let window: RateLimitWindowID
  let owner: LimitOwner

  /// `subject` is the ID of the lineage of a key, or of the account.
  init(_ limit: RateLimit, _ mode: RateLimitMode, of subject: UUID, owner: LimitOwner = .key) {
    self.limit = limit
    self.mode = mode
    self.owner = owner
    window = RateLimitWindowID(
      subject: subject, digest: limit.digest, isAccount: owner == .account, isConsistent: mode == .consistent)
  }
}

/// Identifies a window.
struct RateLimitWindowID: Equatable, Sendable {
  let subject: UUID
  let digest: Int
  /// Windows of accounts are kept apart from those of keys.
  let isAccount: Bool
  /// A key and its predecessor may have different modes. If they shared a window, PostgreSQL's decisions for one would
  /// keep overwriting what was counted here for the other.
  let isConsistent: Bool
}

/// What a request takes from one limit.
struct LimitCharge: Sendable, Equatable {
  let applied: AppliedLimit
  let cost: Int

  init(_ applied: AppliedLimit, _ cost: Int) {
    self.applied = applied
    self.cost = cost
  }
}

/// What a request takes from all limits that apply to it. They all have room, or nothing is taken.
package struct LimitCharges: Sendable, Equatable {
  let lineageID: UUID
  let accountID: UUID
  let all: [LimitCharge]

  /// Whether PostgreSQL decides any of them.
  var needPostgres: Bool { all.contains { $0.applied.mode == .consistent } }
}
