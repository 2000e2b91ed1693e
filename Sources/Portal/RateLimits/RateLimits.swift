package import Foundation
package import Postgres
import ServiceLifecycle

/// Limits beyond one instance: what the instances admitted in the mode `fast` is exchanged through PostgreSQL, and in
/// the mode `consistent` PostgreSQL decides.
package actor RateLimits: Service {
  /// Between two exchanges.
  private static let interval: Duration = .milliseconds(200)
  /// An instance that is alone publishes every so many times, and only what whoever comes after it will miss: windows
  /// longer than this. The others it publishes when it is not alone any more, and at the end.
  private static let intervalsPerExchangeAlone = 25
  private static let windowSecondsMinAlone = 61
  /// Windows in one statement.
  private static let windowsPerExchangeMax = 5_000

  private let pool: PostgresPool
  private let limiter: RateLimiter
  private let clock: DatabaseClock
  private let instanceID: UUID
  private let observer: Observer
  /// How long PostgreSQL may take for a decision or an exchange.
  private let timeout: Duration
  /// Whether it is about to stop: then it publishes everything.
  private var isEnding = false
  private var last: Task<Bool, Never>?
  /// An exchange that has not begun: it will publish what was admitted before it does.
  private var next: Task<Bool, Never>?

  package init(
    pool: PostgresPool, limiter: RateLimiter, instanceID: UUID, clock: DatabaseClock = DatabaseClock(),
    observer: Observer, timeout: Duration = .seconds(2)
  ) {
    self.pool = pool
    self.limiter = limiter
    self.clock = clock
    self.instanceID = instanceID
    self.observer = observer
    self.timeout = timeout
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

  /// By the last heartbeat, see ``RateLimiter/instanceCount``.
  private var isAlone: Bool { limiter.instanceCount == 1 }

  /// Takes `cost` from all of the limits, or from none, as ``RateLimiter/admit(_:cost:at:)``, with whatever of
  /// PostgreSQL that takes. Throws `.unavailable`, or what the database threw, when it cannot be said.
  package nonisolated func admit(_ limits: KeyLimits, cost: Int) async throws -> RateLimitDecision {
    var taken: RateLimiter.Taken? = RateLimiter.Taken()
    let fast = try await admitFast(limits, cost: cost, &taken)
    guard fast.isAdmitted, limits.needPostgres else { return fast }
    do {
      let decision = try await admitConsistently(limits, cost: cost, fast)
      if !decision.isAdmitted { limiter.release(taken) }
      return decision
    } catch {
      limiter.release(taken)
      throw error
    }
  }

  private nonisolated func admitFast(
    _ limits: KeyLimits, cost: Int, _ taken: inout RateLimiter.Taken?
  ) async throws -> RateLimitDecision {
    var isConnected = true
    while true {
      let now = try await clock.now(on: pool)
      if let decision = limiter.admitFast(limits, cost: cost, at: now.milliseconds, &taken) { return decision }
      guard isConnected else {
        throw PortalError.unavailable(reason: "the instances cannot tell each other of a limit")
      }
      isConnected = await exchange()
    }
  }

  private nonisolated func admitConsistently(
    _ limits: KeyLimits, cost: Int, _ fast: RateLimitDecision
  ) async throws -> RateLimitDecision {
    let limits = limits.all
    let consistent = limits.filter { $0.mode == .consistent }
    guard let taken = try await pool.query(TakeRateLimits(limits: consistent, cost: cost), by: .now + timeout).first
    else {
      throw PostgresError(.protocolViolation, "take_rate_limits answered nothing")
    }
    var windows = taken.windows[...]
    let standings: [RateLimitDecision.Standing] = zip(limits, fast.all).map { applied, standing in
      guard applied.mode == .consistent, let (index, current, previous) = windows.popFirst() else { return standing }
      limiter.decided(
        applied, index: index, current: current, previous: previous)
      let window = SlidingWindow(
        seconds: applied.limit.windowSeconds, index: index, current: current, previous: previous)
      let fits = taken.isAdmitted || window.fits(cost: cost, limit: applied.limit.limit, at: taken.atMilliseconds)
      return RateLimitDecision.Standing(
        limit: applied.limit,
        window: window.decision(fits, cost: cost, limit: applied.limit.limit, at: taken.atMilliseconds))
    }
    return RateLimitDecision(standings)
  }

  /// Tells the other instances what was admitted here until now, and hears of them. Those who ask while an exchange is
  /// under way wait for the next one together. Where nothing was admitted since the last one, there is nothing to tell
  /// or to hear of, and PostgreSQL is not asked, unless it did not answer the last time. False when it did not answer.
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
    let secondsMin = isAlone && !isEnding ? Self.windowSecondsMinAlone : 0
    var queued = limiter.takeQueued(Self.windowsPerExchangeMax, secondsMin: secondsMin)
    if queued.isEmpty, limiter.isConnected { return true }
    repeat {
      do {
        let exchange = ExchangeRateLimits(instanceID: instanceID, queued)
        guard let used = try await pool.query(exchange, by: .now + timeout).first else {
          throw PostgresError(.protocolViolation, "the exchange answered nothing")
        }
        for ((window, publication), told) in try zip(queued, exchange.told(used)) {
          limiter.exchanged(window, publication, others: told)
        }
        limiter.isConnected = true
        observer.observe(.limitsExchanged(windows: queued.count))
      } catch {
        for (window, publication) in queued { limiter.exchanged(window, publication, others: nil) }
        limiter.isConnected = false
        observer.observe(.limitExchangeFailed("\(error)"))
        return false
      }
      guard queued.count == Self.windowsPerExchangeMax else { return true }
      queued = limiter.takeQueued(Self.windowsPerExchangeMax, secondsMin: secondsMin)
    } while !queued.isEmpty
    return true
  }
}
