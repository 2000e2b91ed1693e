import Foundation

/// A maximum cost per window: one of the limits of a key, or the one that an account's keys share.
package struct RateLimit: Sendable, Equatable {
  /// The maximum number of named limits of a key, besides its own limit per minute.
  package static let countMax = 8
  package static let limitMax = 1_000_000
  package static let windowSecondsMax = 86_400
  private static let nameLengthMax = 32
  /// The names of the key's own limit per minute and of the one that the account's keys share; no other limit may have
  /// these names.
  package static let keyName = "default"
  package static let accountName = "account"

  private static let keyDigest = digest(keyName, 60)
  private static let accountDigest = digest(accountName, 60)

  package let name: String
  /// The maximum cost within a window.
  package let limit: Int
  package let windowSeconds: Int
  /// The id of its windows, in memory and in the database: a limit with another name or window length is another limit,
  /// one with another maximum is the same.
  let digest: Int

  package init(name: String, limit: Int, windowSeconds: Int) {
    self.init(name: name, limit: limit, windowSeconds: windowSeconds, digest: Self.digest(name, windowSeconds))
  }

  private init(name: String, limit: Int, windowSeconds: Int, digest: Int) {
    self.name = name
    self.limit = limit
    self.windowSeconds = windowSeconds
    self.digest = digest
  }

  static func ofKey(perMinute limit: Int) -> RateLimit {
    RateLimit(name: keyName, limit: limit, windowSeconds: 60, digest: keyDigest)
  }

  static func ofAccount(perMinute limit: Int) -> RateLimit {
    RateLimit(name: accountName, limit: limit, windowSeconds: 60, digest: accountDigest)
  }

  /// `^[a-z][a-z0-9_-]{0,31}$`, and not reserved.
  package static func isValid(name: String) -> Bool {
    let letters = UInt8(ascii: "a")...UInt8(ascii: "z")
    guard let first = name.utf8.first, letters.contains(first), name.utf8.count <= nameLengthMax else { return false }
    return name.utf8.allSatisfy {
      letters.contains($0) || (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) || "_-".utf8.contains($0)
    } && ![keyName, accountName].contains(name)
  }

  /// FNV-1a over the name and the window length. Two colliding names of one key would share their windows, which harms
  /// only the key's owner, who chose them.
  private static func digest(_ name: String, _ windowSeconds: Int) -> Int {
    var digest: UInt64 = 0xCBF2_9CE4_8422_2325
    for byte in "\(windowSeconds) \(name)".utf8 { digest = (digest ^ UInt64(byte)) &* 0x100_0000_01B3 }
    return Int(bitPattern: UInt(digest))
  }
}

/// Where a limit is decided.
package enum RateLimitMode: String, Sendable, CaseIterable {
  /// By the instance that is asked, immediately. Instances exchange what they have admitted; together they may exceed
  /// the limit by as much as ``RateLimitAllowance`` says.
  case fast
  /// By PostgreSQL, with one statement per decision: the limit is never exceeded.
  case consistent
}

/// The combined decision of the limits of one request.
package struct RateLimitDecision: Sendable, Equatable {
  /// The state of one limit after the decision.
  package struct Standing: Sendable, Equatable {
    package var limit: RateLimit
    package var window: SlidingWindow.Decision
  }

  /// The first limit: the key's own limit per minute, if it has one. Nil if there is no limit.
  package let first: Standing?
  /// The other limits: the key's named limits, then the account's.
  package let others: [Standing]

  package init(_ only: Standing) {
    first = only
    others = []
  }

  /// In the order of ``KeyLimits/all``.
  init(_ standings: [Standing]) {
    first = standings.first
    others = Array(standings.dropFirst())
  }

  /// The decision where there is no limit, which admits.
  static let unlimited = RateLimitDecision([])

  /// A placeholder until it is decided.
  static let undecided = RateLimitDecision(
    Standing(
      limit: .ofKey(perMinute: 0),
      window: SlidingWindow.Decision(
        isAdmitted: false, limit: 0, remaining: 0, resetSeconds: 0, retryAfterSeconds: 0)))

  package var all: [Standing] { (first.map { [$0] } ?? []) + others }

  package var isAdmitted: Bool {
    first.map { $0.window.isAdmitted } ?? true && others.allSatisfy(\.window.isAdmitted)
  }

  /// The decision that determines the answer: among limits that refuse, the one with the longest wait; otherwise the
  /// one with the least remaining. Nil if there is no limit.
  package var binding: SlidingWindow.Decision? {
    guard let first else { return nil }
    return others.reduce(first.window) { binding, other in
      if binding.isAdmitted != other.window.isAdmitted { return binding.isAdmitted ? other.window : binding }
      return binding.isAdmitted
        ? (other.window.remaining < binding.remaining ? other.window : binding)
        : (other.window.waitSeconds > binding.waitSeconds ? other.window : binding)
    }
  }
}

extension SlidingWindow.Decision {
  fileprivate var waitSeconds: Int { retryAfterSeconds ?? .max }
}
