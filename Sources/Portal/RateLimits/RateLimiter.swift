import Foundation
import Synchronization

/// The windows of this instance, in memory. They decide limits of the mode `fast`, and hold PostgreSQL's last decisions
/// for limits of the mode `consistent`. Windows of keys and of accounts are in separate shards, locked in this order.
/// Keys of the same lineage share windows.
package final class RateLimiter: Sendable {
  static let shardCount = 16

  /// The costs that a request took, so that they can be given back.
  struct Reservation {
    var parts: [(window: RateLimitWindowID, index: Int, cost: Int)] = []
  }

  final class Shard: Sendable {
    let windows: Mutex<RateLimitWindows>

    init(isAccount: Bool) { windows = Mutex(RateLimitWindows(isAccount: isAccount)) }
  }

  let keys = (0..<RateLimiter.shardCount).map { _ in Shard(isAccount: false) }
  private let accounts = (0..<RateLimiter.shardCount).map { _ in Shard(isAccount: true) }
  private let liveInstanceCount = Atomic<Int>(RateLimitAllowance().instanceCount)
  private let connected = Atomic<Bool>(RateLimitAllowance().isConnected)

  package init() {}

  /// How much an instance may admit before the next exchange.
  var allowance: RateLimitAllowance {
    RateLimitAllowance(
      instanceCount: liveInstanceCount.load(ordering: .relaxed), isConnected: connected.load(ordering: .relaxed))
  }

  /// Whether the last exchange succeeded.
  var isConnected: Bool {
    get { connected.load(ordering: .relaxed) }
    set { connected.store(newValue, ordering: .relaxed) }
  }

  /// The number of live instances, including this one. The follower of the invalidation log sets it before it renews
  /// the lease of the caches, so that no verdict uses a number older than the lease.
  package var instanceCount: Int {
    get { liveInstanceCount.load(ordering: .relaxed) }
    set { liveInstanceCount.store(newValue, ordering: .relaxed) }
  }

  /// Takes `cost` from all of the limits if it fits into all of them, otherwise from none. Nil if that cannot be
  /// decided without PostgreSQL; ``RateLimits`` then can. `now` is in milliseconds since 1970.
  package func admit(_ limits: KeyLimits, cost: Int, at now: Int) -> RateLimitDecision? {
    var reservation: Reservation?
    return admit(limits, cost: cost, at: now, &reservation)
  }

  /// As ``admit(_:cost:at:)``, and adds the costs it takes to `reservation`, unless that is nil.
  func admit(_ limits: KeyLimits, cost: Int, at now: Int, _ reservation: inout Reservation?) -> RateLimitDecision? {
    if limits.needPostgres { return nil }
    guard let perMinute = limits.onlyPerMinute else {
      return limits.isEmpty ? .unlimited : admitFast(limits.charges(cost: cost), at: now, &reservation)
    }
    guard let (decision, window, index) = admitToOne(perMinute, of: limits.lineageID, cost: cost, at: now) else {
      return nil
    }
    if decision.isAdmitted { reservation?.parts.append((window, index, cost)) }
    return decision
  }

  /// As ``admit(_:cost:at:_:)``, for charges.
  func admit(_ charges: LimitCharges, at now: Int, _ reservation: inout Reservation?) -> RateLimitDecision? {
    charges.needPostgres ? nil : admitFast(charges, at: now, &reservation)
  }

  /// The state of the limits as far as this instance knows. Takes nothing.
  package func peek(_ limits: KeyLimits, at now: Int) -> RateLimitDecision {
    limits.isEmpty ? .unlimited : peek(limits.charges(cost: 0), at: now)
  }

  /// As ``peek(_:at:)-(KeyLimits,_)``, for the limits that are charged.
  func peek(_ charges: LimitCharges, at now: Int) -> RateLimitDecision {
    withWindows(of: charges) { keyWindows, accountWindows in
      RateLimitDecision(
        charges.all.map { charge in
          let isAccount = charge.applied.window.isAccount
          return RateLimitDecision.Standing(
            limit: charge.applied.limit,
            window: (isAccount ? accountWindows : keyWindows).peek(charge.applied, at: now), owner: charge.applied.owner
          )
        })
    }
  }

  /// For a key with only a limit per minute, as most keys are.
  private func admitToOne(
    _ perMinute: Int, of lineageID: UUID, cost: Int, at now: Int
  ) -> (decision: RateLimitDecision, window: RateLimitWindowID, index: Int)? {
    let allowance = allowance
    let limit = AppliedLimit(.ofKey(perMinute: perMinute), .fast, of: lineageID)
    return shard(limit.window).windows.withLock { windows in
      windows.sweepIfLarge(at: now)
      return windows.admit(limit, cost: cost, allowance, at: now).map { standing, index in
        (RateLimitDecision(standing), limit.window, index)
      }
    }
  }

  /// As ``admit(_:at:_:)``, for the limits of the mode `fast` alone.
  func admitFast(_ charges: LimitCharges, at now: Int, _ reservation: inout Reservation?) -> RateLimitDecision? {
    let (all, allowance) = (charges.all, allowance)
    return withWindows(of: charges) { keyWindows, accountWindows in
      keyWindows.sweepIfLarge(at: now)
      accountWindows.sweepIfLarge(at: now)
      let fits = all.map { charge in
        guard charge.applied.mode == .fast else { return SharedWindow.Fit.fits }
        return charge.applied.window.isAccount
          ? accountWindows.fit(charge.applied, cost: charge.cost, allowance, at: now)
          : keyWindows.fit(charge.applied, cost: charge.cost, allowance, at: now)
      }
      let isRefused = fits.contains(.refused)
      if !isRefused, fits.contains(.unsure) { return nil }
      return RateLimitDecision(
        zip(all, fits).map { charge, fit in
          let (applied, cost) = (charge.applied, charge.cost)
          let isAccount = applied.window.isAccount
          if !isRefused, applied.mode == .fast {
            let index =
              isAccount ? accountWindows.take(applied, cost, at: now) : keyWindows.take(applied, cost, at: now)
            reservation?.parts.append((applied.window, index, cost))
          }
          let windows = isAccount ? accountWindows : keyWindows
          return RateLimitDecision.Standing(
            limit: applied.limit, window: windows.decision(applied, fit != .refused, cost: cost, at: now),
            owner: charge.applied.owner)
        })
    }
  }

  func release(_ reservation: Reservation?) {
    for part in reservation?.parts ?? [] {
      shard(part.window).windows.withLock { $0.release(part.window, part.cost, takenAt: part.index) }
    }
  }

  /// Stores what PostgreSQL decided, for ``peek(_:at:)``.
  func decided(_ applied: AppliedLimit, index: Int, current: Int, previous: Int) {
    shard(applied.window).windows.withLock {
      $0.decided(applied, index: index, current: current, previous: previous)
    }
  }

  // MARK: Exchange

  /// Takes up to `count` windows in which something was admitted since they were last published; those of at most a
  /// minute only if `withShort`.
  func takeQueued(
    _ count: Int, withShort: Bool
  ) -> [(window: RateLimitWindowID, publication: SharedWindow.Publication)] {
    var taken: [(RateLimitWindowID, SharedWindow.Publication)] = []
    for shard in keys + accounts where taken.count < count {
      taken += shard.windows.withLock { $0.takeQueued(count - taken.count, withShort: withShort) }
    }
    return taken
  }

  /// Stores the other instances' counts for what was published; nil if publishing failed, which queues the window
  /// again.
  func exchanged(
    _ window: RateLimitWindowID, _ publication: SharedWindow.Publication, others: SharedWindow.Pair?, at now: Int
  ) {
    shard(window).windows.withLock { $0.exchanged(window, publication, others: others, at: now) }
  }

  // MARK: Shards

  private func withWindows<Result>(
    of charges: LimitCharges, _ body: (inout RateLimitWindows, inout RateLimitWindows) -> Result
  ) -> Result {
    Self.shard(charges.lineageID, keys).windows.withLock { keyWindows in
      Self.shard(charges.accountID, accounts).windows.withLock { body(&keyWindows, &$0) }
    }
  }

  private func shard(_ window: RateLimitWindowID) -> Shard {
    Self.shard(window.subject, window.isAccount ? accounts : keys)
  }

  private static func shard(_ subject: UUID, _ shards: [Shard]) -> Shard {
    shards[Int(subject.uuid.15) % shards.count]
  }
}
