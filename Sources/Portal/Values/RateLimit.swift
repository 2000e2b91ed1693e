import Foundation
import JSON

/// A maximum cost per window, or a token bucket: one of the limits of a key, one that an account's keys share, or one
/// that a request brings along.
package struct RateLimit: Sendable, Hashable {
  /// The maximum number of named limits of a key or of an account, besides its limit per minute. Also the maximum
  /// number of limits that a request may name.
  package static let countMax = 50
  package static let limitMax = 1_000_000
  /// A second to ten years of 366 days.
  package static let windowMillisecondsRange = 1_000...3_660 * 86_400_000
  package static let nameLengthMax = 32
  /// The names of the key's own limit per minute and of the one that the account's keys share; no other limit may have
  /// these names.
  package static let keyName = "default"
  package static let accountName = "account"
  /// The name of the limits that apis have for endpoints, in verdicts. Their ``name`` is the pattern.
  package static let endpointName = "endpoint"

  private static let keyDigest = digest(keyName, 60_000)
  private static let accountDigest = digest(accountName, 60_000)

  package let name: String
  /// The maximum cost within a window, or the size of the bucket.
  package let limit: Int
  /// The length of the window, or the interval of the bucket.
  private let length: Int
  /// The id of its windows, in memory and in the database: a limit with another name or window length is another limit,
  /// one with another maximum is the same. A bucket with other numbers is another bucket.
  let digest: Int
  /// What comes back in each interval of a bucket; 0 for a window.
  private let refill: Int32
  /// Whether it applies to every request. If not, it applies to requests that name it.
  package let isAutomatic: Bool

  package init(name: String, limit: Int, windowMilliseconds: Int, isAutomatic: Bool = true) {
    self.init(
      name: name, limit: limit, windowMilliseconds: windowMilliseconds, digest: Self.digest(name, windowMilliseconds),
      isAutomatic: isAutomatic)
  }

  package init(name: String, bucket: TokenBucket.Settings, isAutomatic: Bool = true) {
    self.init(
      name: name, limit: bucket.size, windowMilliseconds: bucket.intervalMilliseconds,
      digest: Self.digest("\(bucket.intervalMilliseconds)ms \(bucket.size) \(bucket.refill) \(name)"),
      isAutomatic: isAutomatic, refill: Int32(clamping: bucket.refill))
  }

  package init(name: String, limit: Int, windowSeconds: Int) {
    self.init(name: name, limit: limit, windowMilliseconds: SlidingWindow.milliseconds(windowSeconds))
  }

  private init(
    name: String, limit: Int, windowMilliseconds: Int, digest: Int, isAutomatic: Bool, refill: Int32 = 0
  ) {
    self.name = name
    self.limit = limit
    length = windowMilliseconds
    self.refill = refill
    self.digest = digest
    self.isAutomatic = isAutomatic
  }

  static func ofKey(perMinute limit: Int) -> RateLimit {
    RateLimit(name: keyName, limit: limit, windowMilliseconds: 60_000, digest: keyDigest, isAutomatic: true)
  }

  static func ofAccount(perMinute limit: Int) -> RateLimit {
    RateLimit(name: accountName, limit: limit, windowMilliseconds: 60_000, digest: accountDigest, isAutomatic: true)
  }

  /// The limit of an api for a pattern of endpoints. Its windows have a subject of their own.
  static func ofEndpoints(_ pattern: String, _ limit: WindowLimit) -> RateLimit {
    var digest = fnvOffset
    withUnsafeBytes(of: UInt64(truncatingIfNeeded: limit.windowMilliseconds).littleEndian) { bytes in
      for byte in bytes { digest = (digest ^ UInt64(byte)) &* fnvPrime }
    }
    for byte in pattern.utf8 { digest = (digest ^ UInt64(byte)) &* fnvPrime }
    return RateLimit(
      name: pattern, limit: limit.limit, windowMilliseconds: limit.windowMilliseconds,
      digest: Int(bitPattern: UInt(digest)), isAutomatic: true)
  }

  /// Nil for a window.
  package var bucket: TokenBucket.Settings? {
    refill == 0 ? nil : TokenBucket.Settings(size: limit, refill: Int(refill), intervalMilliseconds: length)
  }

  /// The length of the window. For a bucket, the time in which it fills when it is empty: what was used before that
  /// does not matter.
  package var windowMilliseconds: Int { bucket.map { SlidingWindow.bounded(length: $0.fillMilliseconds) } ?? length }

  /// ``windowMilliseconds`` in seconds, rounded up.
  package var windowSeconds: Int { Self.seconds(windowMilliseconds) }

  /// Rounded up.
  package static func seconds(_ milliseconds: Int) -> Int { milliseconds / 1_000 + (milliseconds % 1_000).signum() }

  /// `^[a-z][a-z0-9_-]{0,31}$`, and not reserved.
  package static func isValid(name: String) -> Bool {
    let letters = UInt8(ascii: "a")...UInt8(ascii: "z")
    guard let first = name.utf8.first, letters.contains(first), name.utf8.count <= nameLengthMax else { return false }
    return name.utf8.allSatisfy {
      letters.contains($0) || (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) || "_-".utf8.contains($0)
    } && !isReserved(name: name)
  }

  package static func isReserved(name: String) -> Bool {
    name.hasSameBytes(as: keyName) || name.hasSameBytes(as: accountName)
  }

  private static let fnvOffset: UInt64 = 0xCBF2_9CE4_8422_2325
  private static let fnvPrime: UInt64 = 0x100_0000_01B3

  /// FNV-1a over the name and the window length, in seconds if it is a whole number of them. Two colliding names of one
  /// key would share their windows, which harms only the key's owner, who chose them.
  private static func digest(_ name: String, _ windowMilliseconds: Int) -> Int {
    let isWhole = windowMilliseconds % 1_000 == 0
    // No name has a space.
    return digest(isWhole ? "\(windowMilliseconds / 1_000) \(name)" : "\(windowMilliseconds)ms \(name)")
  }

  private static func digest(_ text: String) -> Int {
    var digest = fnvOffset
    for byte in text.utf8 { digest = (digest ^ UInt64(byte)) &* fnvPrime }
    return Int(bitPattern: UInt(digest))
  }
}

/// Whose windows a limit counts in.
package enum LimitOwner: Sendable {
  case key
  /// The keys of an account share it.
  case account
  /// A key's own windows, for a pattern of endpoints of its api.
  case api
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
    package var owner = LimitOwner.key

    /// The name in header fields, where a pattern of endpoints would need escapes.
    package var shortName: String { owner == .api ? RateLimit.endpointName : limit.name }
  }

  /// The first limit: the key's own limit per minute, if it has one. Nil if there is no limit.
  package let first: Standing?
  /// The other limits: the key's named limits, those that the request brought along, then the account's.
  package let others: [Standing]

  package init(_ only: Standing) {
    first = only
    others = []
  }

  /// In the order of ``KeyLimits/charges(cost:asks:)``.
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

  /// The most limits that header fields list: gateways have little room for them.
  package static let listedCountMax = 10

  /// The limits that header fields list: all of them, or the first ones and the binding one.
  package var listed: RateLimitDecision {
    guard let first, others.count >= Self.listedCountMax else { return self }
    var listed = [first] + others.prefix(Self.listedCountMax - 1)
    if let binding, let place = others.firstIndex(where: { $0.window == binding }), place >= Self.listedCountMax - 1 {
      listed[Self.listedCountMax - 1] = others[place]
    }
    return RateLimitDecision(listed)
  }

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
