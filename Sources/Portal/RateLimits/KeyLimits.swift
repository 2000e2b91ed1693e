package import Foundation
import JSON

/// The limits of one key: its own per minute, its named limits, and the limit that the keys of its account share.
package struct KeyLimits: Sendable, Equatable {
  // Large fields come first to avoid padding, and limits take four bytes: a cache holds a million of these.
  /// Identifies the windows of the key's own limits: the first key of its lineage, so that a successor continues the
  /// windows of its predecessor.
  package var lineageID: UUID
  package var accountID: UUID
  package var named: [RateLimit]
  private var ownPerMinute: Int32?
  private var sharedPerMinute: Int32?
  /// The mode of the key's own limits.
  package var mode: RateLimitMode
  package var accountMode: RateLimitMode

  package init(
    lineageID: UUID, accountID: UUID, perMinute: Int?, named: [RateLimit] = [], mode: RateLimitMode = .fast,
    accountPerMinute: Int? = nil, accountMode: RateLimitMode = .fast
  ) {
    self.lineageID = lineageID
    self.accountID = accountID
    self.named = named
    ownPerMinute = perMinute.map { Int32(clamping: $0) }
    sharedPerMinute = accountPerMinute.map { Int32(clamping: $0) }
    self.mode = mode
    self.accountMode = accountMode
  }

  /// The key's own limit, or the plan's if that is lower; nil if neither has one.
  package var perMinute: Int? {
    get { ownPerMinute.map { Int($0) } }
    set { ownPerMinute = newValue.map { Int32(clamping: $0) } }
  }

  /// Shared by the keys of the account; nil if there is no such limit.
  package var accountPerMinute: Int? {
    get { sharedPerMinute.map { Int($0) } }
    set { sharedPerMinute = newValue.map { Int32(clamping: $0) } }
  }

  /// The key's limit per minute, its named limits, and the account's limit.
  var all: [AppliedLimit] {
    var limits: [AppliedLimit] = []
    if let perMinute { limits.append(AppliedLimit(.ofKey(perMinute: perMinute), mode, of: lineageID)) }
    limits += named.map { AppliedLimit($0, mode, of: lineageID) }
    if let accountPerMinute {
      limits.append(AppliedLimit(.ofAccount(perMinute: accountPerMinute), accountMode, of: accountID, isAccount: true))
    }
    return limits
  }

  /// The limit per minute, if there is no other.
  var onlyPerMinute: Int? { named.isEmpty && sharedPerMinute == nil ? perMinute : nil }

  var isEmpty: Bool { ownPerMinute == nil && named.isEmpty && sharedPerMinute == nil }

  /// Whether PostgreSQL decides any of them.
  var needPostgres: Bool {
    mode == .consistent && (ownPerMinute != nil || !named.isEmpty)
      || sharedPerMinute != nil && accountMode == .consistent
  }
}
