package import Foundation
import JSON

/// The limits of one key: its own per minute, its named limits, and the limit that the keys of its account share.
package struct KeyLimits: Sendable, Equatable {
  // Large fields come first to avoid padding: a cache holds a million of these.
  /// Identifies the windows of the key's own limits: the first key of its lineage, so that a successor continues the
  /// windows of its predecessor.
  package var lineageID: UUID
  package var accountID: UUID
  /// The key's own limit, or the plan's if that is lower.
  package var perMinute: Int
  package var named: [RateLimit]
  /// Shared by the keys of the account; nil if there is no such limit.
  package var accountPerMinute: Int?
  /// The mode of the key's own limits.
  package var mode: RateLimitMode
  package var accountMode: RateLimitMode

  package init(
    lineageID: UUID, accountID: UUID, perMinute: Int, named: [RateLimit] = [], mode: RateLimitMode = .fast,
    accountPerMinute: Int? = nil, accountMode: RateLimitMode = .fast
  ) {
    self.lineageID = lineageID
    self.accountID = accountID
    self.perMinute = perMinute
    self.named = named
    self.accountPerMinute = accountPerMinute
    self.mode = mode
    self.accountMode = accountMode
  }

  /// The key's limit per minute, its named limits, and the account's limit.
  var all: [AppliedLimit] {
    var limits = [AppliedLimit(.ofKey(perMinute: perMinute), mode, of: lineageID)]
    limits += named.map { AppliedLimit($0, mode, of: lineageID) }
    if let accountPerMinute {
      limits.append(AppliedLimit(.ofAccount(perMinute: accountPerMinute), accountMode, of: accountID, isAccount: true))
    }
    return limits
  }

  /// Whether the limit per minute is the only one.
  var hasOne: Bool { named.isEmpty && accountPerMinute == nil }

  /// Whether PostgreSQL decides any of them.
  var needPostgres: Bool { mode == .consistent || accountPerMinute != nil && accountMode == .consistent }
}
