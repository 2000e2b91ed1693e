package import Foundation
package import Postgres
import ServiceLifecycle

/// Limits across instances. In the mode `fast` the instances exchange through PostgreSQL what they have admitted; in
/// the mode `consistent` PostgreSQL decides.
package actor RateLimits: Service {
  /// The time between two exchanges.
  private static let interval: Duration = .milliseconds(200)
  /// A single instance exchanges only once per this many intervals, and publishes only long windows, which its
  /// successor will still need. It publishes shorter ones once another instance appears, and at shutdown.
  private static let intervalsPerExchangeAlone = 25
  /// The number of windows in one statement.
  private static let windowsPerExchangeMax = 5_000

  let pool: PostgresPool
  let limiter: RateLimiter
  let clock: DatabaseClock
  private let instanceID: UUID
  private let observer: Observer
  /// How long PostgreSQL may take for a decision or an exchange. It is how long a caller waits for a connection, unless
  /// another time was given.
  let timeout: Duration
  /// Whether the instance is shutting down, and therefore publishes every window.
  private var isEnding = false
  private var last: Task<Bool, Never>?
  /// An exchange that has not begun. It will publish everything that is admitted until it begins.
  private var next: Task<Bool, Never>?

  package init(
    pool: PostgresPool, limiter: RateLimiter, instanceID: UUID, clock: DatabaseClock = DatabaseClock(),
    observer: Observer, timeout: Duration? = nil
  ) {
    self.pool = pool
    self.limiter = limiter
    self.clock = clock
    self.instanceID = instanceID
    self.observer = observer
    self.timeout = timeout ?? pool.leaseTimeout
  }

  package func run() async throws {
    try? await cancelWhenGracefulShutdown {
      for number in 0... {
        await self.perform(number)
        try await Task.sleep(for: Self.interval)
      }
    }
    isEnding = true
    await exchange()
  }

  private func perform(_ number: Int) async {
    if !isAlone || number % Self.intervalsPerExchangeAlone == 0 { await exchange() }
  }

  /// As of the last heartbeat, see ``RateLimiter/instanceCount``.
  private var isAlone: Bool { limiter.instanceCount == 1 }

  /// Takes `cost` from all of the limits or from none, as ``RateLimiter/admit(_:cost:at:)``, and asks PostgreSQL where
  /// necessary. Throws `.unavailable`, or the error of the database, if that cannot be decided.
  package nonisolated func admit(_ limits: KeyLimits, cost: Int) async throws -> RateLimitDecision {
    limits.isEmpty ? .unlimited : try await admit(limits.charges(cost: cost))
  }

  /// As ``admit(_:cost:)``, for charges.
  nonisolated func admit(_ charges: LimitCharges) async throws -> RateLimitDecision {
    var reservation: RateLimiter.Reservation? = RateLimiter.Reservation()
    let fast = try await admitFast(charges, &reservation)
    guard fast.isAdmitted, charges.needPostgres else { return fast }
    do {
      let decision = try await admitConsistently(charges, fast)
      if !decision.isAdmitted { limiter.release(reservation) }
      return decision
    } catch {
      limiter.release(reservation)
      throw error
    }
  }

  private nonisolated func admitFast(
    _ charges: LimitCharges, _ reservation: inout RateLimiter.Reservation?
  ) async throws -> RateLimitDecision {
    var isConnected = true
    while true {
      let now = try await clock.now(on: pool)
      if let decision = limiter.admitFast(charges, at: now.milliseconds, &reservation) { return decision }
      guard isConnected else {
        throw PortalError.unavailable(reason: "the instances cannot exchange the counts of a limit")
      }
      isConnected = await exchange()
    }
  }

  private nonisolated func admitConsistently(
    _ charges: LimitCharges, _ fast: RateLimitDecision
  ) async throws -> RateLimitDecision {
    let consistent = charges.all.filter { $0.applied.mode == .consistent }
    guard let taken = try await pool.query(TakeRateLimits(charges: consistent), by: .now + timeout).first else {
      throw PostgresError(.protocolViolation, "take_limits answered nothing")
    }
    var windows = taken.windows[...]
    let standings: [RateLimitDecision.Standing] = zip(charges.all, fast.all).map { charge, standing in
      let (applied, cost) = (charge.applied, charge.cost)
      guard applied.mode == .consistent, let (index, current, previous) = windows.popFirst() else { return standing }
      limiter.decided(
        applied, index: index, current: current, previous: previous)
      let at = taken.atMilliseconds
      let decision: SlidingWindow.Decision
      if let settings = applied.limit.bucket {
        let bucket = TokenBucket(missing: current, time: index)
        let fits = taken.isAdmitted || bucket.peek(cost: cost, settings, at: at).isAdmitted
        decision = bucket.decision(fits, cost: cost, of: settings, at: at)
      } else {
        let window = SlidingWindow(
          milliseconds: applied.limit.windowMilliseconds, index: index, current: current, previous: previous)
        let fits = taken.isAdmitted || window.fits(cost: cost, limit: applied.limit.limit, at: at)
        decision = window.decision(fits, cost: cost, limit: applied.limit.limit, at: at)
      }
      return RateLimitDecision.Standing(limit: applied.limit, window: decision, owner: applied.owner)
    }
    return RateLimitDecision(standings)
  }

  /// Publishes what was admitted here so far, and reads what the other instances have published. Callers that arrive
  /// during an exchange share the next one. If nothing was admitted since the last exchange and that one succeeded,
  /// PostgreSQL is not asked. False if PostgreSQL did not answer.
  @discardableResult
  package func exchange() async -> Bool {
    if let next { return await next.value }
    let exchange = Task { [last] in
      _ = await last?.value
      return await self.exchangeNow()
    }
    next = exchange
    return await exchange.value
  }

  private func exchangeNow() async -> Bool {
    last = next
    next = nil
    let withShort = !isAlone || isEnding
    var queued = limiter.takeQueued(Self.windowsPerExchangeMax, withShort: withShort)
    if queued.isEmpty, limiter.isConnected { return true }
    repeat {
      do {
        let long = queued.filter { $0.publication.milliseconds > ExchangeRateLimits.windowMillisecondsMax }
        let short =
          long.isEmpty
          ? queued : queued.filter { $0.publication.milliseconds <= ExchangeRateLimits.windowMillisecondsMax }
        // Also without windows, so that it is known that PostgreSQL answers.
        if !short.isEmpty || long.isEmpty {
          let exchange = ExchangeRateLimits(instanceID: instanceID, short)
          try told(short, await pool.query(exchange, by: .now + timeout).first)
        }
        if !long.isEmpty {
          let exchange = ExchangeLongRateLimits(instanceID: instanceID, long)
          try told(long, await pool.query(exchange, by: .now + timeout).first)
        }
        limiter.isConnected = true
        observer.observe(.limitsExchanged(windows: queued.count))
      } catch {
        let now = clock.now.milliseconds
        for (window, publication) in queued { limiter.exchanged(window, publication, others: nil, at: now) }
        limiter.isConnected = false
        observer.observe(.limitExchangeFailed("\(error)"))
        return false
      }
      guard queued.count == Self.windowsPerExchangeMax else { return true }
      queued = limiter.takeQueued(Self.windowsPerExchangeMax, withShort: withShort)
    } while !queued.isEmpty
    return true
  }

  /// Stores the other instances' counts, which are the answer to an exchange.
  private func told(
    _ queued: [(window: RateLimitWindowID, publication: SharedWindow.Publication)], _ used: [Int]?
  ) throws(PostgresError) {
    guard let used else { throw PostgresError(.protocolViolation, "the exchange answered nothing") }
    let now = clock.now.milliseconds
    for ((window, publication), others) in zip(queued, try [SharedWindow.Pair](told: used, count: queued.count)) {
      limiter.exchanged(window, publication, others: others, at: now)
    }
  }
}
