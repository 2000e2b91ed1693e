import Foundation
import Postgres
import Synchronization

extension LimitCharge {
  /// The name in `RateLimit` fields. Elsewhere it tells the limits of a key from each other; here the subject does.
  private static let standaloneName = "limit"

  /// A charge to a limit that belongs to no key. `subject` identifies what is counted. The window is a whole number of
  /// seconds.
  init(_ cost: Int, from limit: WindowLimit, of subject: UUID, _ mode: RateLimitMode = .fast) {
    let rate = RateLimit(
      name: Self.standaloneName, limit: limit.limit, windowMilliseconds: limit.windowMilliseconds)
    self.init(AppliedLimit(rate, mode, of: subject), cost)
  }
}

/// Charges to limits of their own. They are in the shards that hold the windows of keys in another limiter: an instance
/// has one limiter for its keys and one for these, so that many subjects do not slow down verifications.
extension RateLimiter {
  /// The maximum number of windows of charges. They take 160 MB.
  static let chargedWindowCountMax = 1 << 21

  /// The charges with windows in one shard, by their places in the list.
  private typealias Group = (shard: Int, places: [Int])

  /// Takes all of the charges, which are of the mode `fast`, if each fits into its limit, otherwise none of them. Of
  /// several from one window, each has to fit with those before it. Nil if that cannot be decided without PostgreSQL;
  /// ``RateLimits`` then can. Throws `.unavailable` if there are too many windows. The standings are those after the
  /// decision, in the order of the charges, each with whether its own charge fits. `now` is in milliseconds since 1970.
  func take(_ charges: [LimitCharge], at now: Int) throws(PortalError) -> [RateLimitDecision.Standing]? {
    let groups = Dictionary(grouping: charges.indices) { Self.shardNumber(charges[$0].applied.window.subject) }
      .map { (shard: $0.key, places: $0.value) }
      // All callers lock in this order.
      .sorted { $0.shard < $1.shard }
    var standings: [(place: Int, standing: RateLimitDecision.Standing)] = []
    let fit = try take(charges, groups[...], .fits, allowance, at: now, &standings)
    if fit == .unsure { return nil }
    return standings.sorted { $0.place < $1.place }.map(\.standing)
  }

  /// Locks the shards one after the other, and decides when all of them are locked. `fit` is that of the charges in the
  /// shards that are locked already.
  private func take(
    _ charges: [LimitCharge], _ groups: ArraySlice<Group>, _ fit: SharedWindow.Fit, _ allowance: RateLimitAllowance,
    at now: Int, _ standings: inout [(place: Int, standing: RateLimitDecision.Standing)]
  ) throws(PortalError) -> SharedWindow.Fit {
    guard let group = groups.first else { return fit }
    return try keys[group.shard].windows.withLock { windows throws(PortalError) in
      windows.sweepIfLarge(at: now)
      let newCount = group.places.count { !windows.has(charges[$0].applied.window) }
      guard windows.hasRoom(for: newCount, of: Self.chargedWindowCountMax / Self.shardCount, at: now) else {
        throw .unavailable(reason: "too many standalone limits are being counted")
      }
      var (fit, fits) = (fit, [SharedWindow.Fit]())
      for place in group.places {
        let charge = charges[place]
        let before = zip(group.places, fits).reduce(0) { sum, other in
          let isAlongside = other.1 != .refused && charges[other.0].applied.window == charge.applied.window
          return isAlongside ? sum + charges[other.0].cost : sum
        }
        fits.append(windows.fit(charge.applied, cost: before + charge.cost, allowance, at: now))
        fit = fit.combined(with: fits[fits.count - 1])
      }
      let decided = try take(charges, groups.dropFirst(), fit, allowance, at: now, &standings)
      if decided == .unsure { return decided }
      if decided == .fits {
        for place in group.places { _ = windows.take(charges[place].applied, charges[place].cost, at: now) }
      }
      for (place, fit) in zip(group.places, fits) {
        let (applied, cost) = (charges[place].applied, charges[place].cost)
        let decision = windows.decision(applied, fit != .refused, cost: cost, at: now)
        standings.append((place, RateLimitDecision.Standing(limit: applied.limit, window: decision)))
      }
      return decided
    }
  }

  private static func shardNumber(_ subject: UUID) -> Int { Int(subject.uuid.15) % shardCount }
}

extension SharedWindow.Fit {
  /// That of both together: what one refuses is refused.
  fileprivate func combined(with other: Self) -> Self {
    if self == .refused || other == .refused { return .refused }
    return self == .unsure || other == .unsure ? .unsure : .fits
  }
}

extension RateLimits {
  /// Takes all of the charges or none, as ``RateLimiter/take(_:at:)``, and exchanges counts with the other instances
  /// where necessary. Throws `.unavailable`, or the error of the database, if that cannot be decided.
  nonisolated func take(_ charges: [LimitCharge]) async throws -> [RateLimitDecision.Standing] {
    var isConnected = true
    while true {
      let now = try await clock.now(on: pool)
      if let standings = try limiter.take(charges, at: now.milliseconds) { return standings }
      guard isConnected else {
        throw PortalError.unavailable(reason: "the instances cannot exchange the counts of a limit")
      }
      isConnected = await exchange()
    }
  }

  /// Takes a charge of the mode `consistent`, which PostgreSQL decides.
  nonisolated func takeConsistently(_ charge: LimitCharge) async throws -> RateLimitDecision.Standing {
    let limit = charge.applied.limit
    guard
      let taken = try await pool.query(TakeRateLimits(charges: [charge]), by: .now + timeout).first,
      let (index, current, previous) = taken.windows.first
    else { throw PostgresError(.protocolViolation, "take_limits answered nothing") }
    let window = SlidingWindow(
      milliseconds: limit.windowMilliseconds, index: index, current: current, previous: previous)
    return RateLimitDecision.Standing(
      limit: limit,
      window: window.decision(taken.isAdmitted, cost: charge.cost, limit: limit.limit, at: taken.atMilliseconds))
  }
}
