package import Foundation
import JSON

/// The limits of one key: its own per minute, the limit per minute that the keys of its account share, and the named
/// limits of both.
package struct KeyLimits: Sendable, Equatable {
  // Large fields come first to avoid padding, and limits take four bytes: a cache holds a million of these.
  /// Identifies the windows of the key's own limits: the first key of its lineage, so that a successor continues the
  /// windows of its predecessor.
  package var lineageID: UUID
  package var accountID: UUID
  /// Nil for most keys.
  var allNamed: NamedLimits?
  private var ownPerMinute: Int32?
  private var sharedPerMinute: Int32?
  /// The mode of the key's own limits.
  package var mode: RateLimitMode
  package var accountMode: RateLimitMode

  package init(
    lineageID: UUID, accountID: UUID, perMinute: Int?, named: [RateLimit] = [], mode: RateLimitMode = .fast,
    accountPerMinute: Int? = nil, accountNamed: [RateLimit] = [], accountMode: RateLimitMode = .fast
  ) {
    self.lineageID = lineageID
    self.accountID = accountID
    allNamed = NamedLimits(ofKey: named, ofAccount: accountNamed)
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

  package var named: [RateLimit] {
    get { allNamed?.ofKey ?? [] }
    set { allNamed = NamedLimits(ofKey: newValue, ofAccount: accountNamed) }
  }

  /// Shared by the keys of the account.
  package var accountNamed: [RateLimit] {
    get { allNamed?.ofAccount ?? [] }
    set { allNamed = NamedLimits(ofKey: named, ofAccount: newValue) }
  }

  /// What a request takes: from the key's limit per minute, its named limits, those that the request brings along, that
  /// of its api for the endpoint, and the account's limits, in this order. A named limit applies if it is automatic, or
  /// if one of `asks` has its name. `asks` may replace the cost for the limits that they name.
  func charges(
    cost: Int, asks: [LimitAsk] = [], endpoint: (limit: RateLimit, apiID: UUID)? = nil
  ) -> LimitCharges {
    var all: [LimitCharge] = []
    func add(_ limit: RateLimit, _ mode: RateLimitMode, of subject: UUID, owner: LimitOwner = .key) {
      let ask = asks.first { $0.name.hasSameBytes(as: limit.name) }
      guard limit.isAutomatic || ask != nil else { return }
      all.append(LimitCharge(AppliedLimit(limit, mode, of: subject, owner: owner), ask?.cost ?? cost))
    }
    if let perMinute { add(.ofKey(perMinute: perMinute), mode, of: lineageID) }
    for limit in named { add(limit, mode, of: lineageID) }
    for ask in asks {
      guard let own = ask.own else { continue }
      let limit = RateLimit(name: ask.name, limit: own.limit, windowMilliseconds: own.windowMilliseconds)
      all.append(LimitCharge(AppliedLimit(limit, mode, of: lineageID.forBroughtLimits), ask.cost ?? cost))
    }
    if let (limit, apiID) = endpoint {
      all.append(LimitCharge(AppliedLimit(limit, mode, of: lineageID.mixed(with: apiID), owner: .api), cost))
    }
    if let accountPerMinute {
      add(.ofAccount(perMinute: accountPerMinute), accountMode, of: accountID, owner: .account)
    }
    for limit in accountNamed { add(limit, accountMode, of: accountID, owner: .account) }
    return LimitCharges(lineageID: lineageID, accountID: accountID, all: all)
  }

  /// The indexes of the limits that a request names without numbers, and that neither the key nor its account has.
  func unknown(_ asks: [LimitAsk]) -> [Int] {
    asks.indices.filter { asks[$0].own == nil && !has(asks[$0].name) }
  }

  private func has(_ name: String) -> Bool {
    if name.hasSameBytes(as: RateLimit.keyName) { return ownPerMinute != nil }
    if name.hasSameBytes(as: RateLimit.accountName) { return sharedPerMinute != nil }
    return allNamed?.has(name) ?? false
  }

  /// The limit per minute, if there is no other.
  var onlyPerMinute: Int? { allNamed == nil && sharedPerMinute == nil ? perMinute : nil }

  var isEmpty: Bool { ownPerMinute == nil && allNamed == nil && sharedPerMinute == nil }

  /// Whether PostgreSQL decides any of them.
  var needPostgres: Bool {
    mode == .consistent && (ownPerMinute != nil || allNamed?.ofKey.isEmpty == false)
      || accountMode == .consistent && (sharedPerMinute != nil || allNamed?.ofAccount.isEmpty == false)
  }
}

/// The named limits of a key and those of its account. A key in the cache has at most a reference to them; equal ones
/// are shared.
final class NamedLimits: Sendable, Hashable {
  let ofKey: [RateLimit]
  /// Shared by the keys of the account.
  let ofAccount: [RateLimit]

  /// Nil if there are none.
  init?(ofKey: [RateLimit], ofAccount: [RateLimit]) {
    if ofKey.isEmpty, ofAccount.isEmpty { return nil }
    self.ofKey = ofKey
    self.ofAccount = ofAccount
  }

  func has(_ name: String) -> Bool {
    ofKey.contains { $0.name.hasSameBytes(as: name) } || ofAccount.contains { $0.name.hasSameBytes(as: name) }
  }

  static func == (one: NamedLimits, other: NamedLimits) -> Bool {
    one === other || one.ofKey == other.ofKey && one.ofAccount == other.ofAccount
  }

  func hash(into hasher: inout Hasher) {
    hasher.combine(ofKey)
    hasher.combine(ofAccount)
  }
}

extension UUID {
  /// The subject of the windows of limits that requests bring along: apart from those of the key's own limits, whose
  /// names its owner chooses.
  fileprivate var forBroughtLimits: UUID { mixed(with: Self.broughtLimits) }

  private static let broughtLimits = UUID(
    uuid: (0x62, 0x72, 0x6F, 0x75, 0x67, 0x68, 0x74, 0x20, 0x6C, 0x69, 0x6D, 0x69, 0x74, 0x73, 0x20, 0x20))

  /// Another subject of windows, in the same shard: all bytes but the last differ from those of this id as the other's
  /// bytes say.
  func mixed(with other: UUID) -> UUID {
    let (one, other) = (uuid, other.uuid)
    return UUID(
      uuid: (
        one.0 ^ other.0, one.1 ^ other.1, one.2 ^ other.2, one.3 ^ other.3, one.4 ^ other.4, one.5 ^ other.5,
        one.6 ^ other.6, one.7 ^ other.7, one.8 ^ other.8, one.9 ^ other.9, one.10 ^ other.10, one.11 ^ other.11,
        one.12 ^ other.12, one.13 ^ other.13, one.14 ^ other.14, one.15
      ))
  }
}
