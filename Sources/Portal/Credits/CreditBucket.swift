import DequeModule

/// The answer to a request that waited for a bucket.
enum CreditOutcome: Equatable, Sendable {
  /// The cost is set aside in memory. It has to be committed or released, under this incarnation of the bucket.
  case reserved(incarnation: Int)
  case refused(CreditRefusal)
  /// There is no such bucket.
  case gone
  /// PostgreSQL did not answer in time, for the reason given.
  case unavailable(String)
}

/// A bucket of credits on this instance: its block, and the requests that wait for more. A value without I/O or a
/// clock: ``CreditLedger`` holds it under a lock, and does what its ``Effects`` say.
///
/// - One statement is under way at a time. Requests that do not fit wait and are served in order.
/// - Without waiting requests, more is asked for in the background while less than half of ``want`` is left.
/// - `pending` is asked again after 1, 2, 4, 10, 20, 20 … ms, until a request has waited for as long as it may.
///
/// All times are in milliseconds, of any clock that only goes forward.
struct CreditBucket<Waiter: Sendable>: Sendable {
  /// Whether a request's cost is set aside.
  enum Reserved: Equatable, Sendable {
    case reserved(incarnation: Int)
    case refused(CreditRefusal)
    /// PostgreSQL has to be asked.
    case unsure
  }

  /// What has to be done after an event.
  struct Effects: Sendable {
    /// These have waited long enough.
    var outcomes: [(waiter: Waiter, outcome: CreditOutcome)] = []
    /// To be sent.
    var ask: CreditAsk?
    /// When to call ``resume(at:number:)``.
    var wakeAt: Int?
    /// Whether the block has another generation, so that it needs another slot.
    var hasBegun = false
    /// Whether the block is gone, and with it its slot.
    var hasEnded = false
    /// Whether another instance waits for what this one has.
    var isRecalled = false
    /// What was spent in the second that has passed.
    var spent = 0
  }

  private struct Waiting: Sendable {
    let waiter: Waiter
    let cost: Int
    let deadline: Int
  }

  /// What PostgreSQL said was left, and what it knew to be spent then.
  private struct Told: Equatable, Sendable {
    let remaining: Int
    let settled: Int
  }

  static var wantMin: Int { 16 }
  /// Requests that may wait at a time.
  static var waiterCountMax: Int { 20_000 }
  /// Beyond this there is no lease. Low enough that sums do not overflow.
  static var amountMax: Int { 1 << 60 }
  /// A block that is not used for this long is given back.
  static var idleMilliseconds: Int { 3_600_000 }
  /// The time between two asks in the background, if the first has not brought enough.
  static var quietMilliseconds: Int { 200 }
  /// A bucket of which the instance has nothing is remembered for this long.
  static var memoryMilliseconds: Int { 60_000 }

  private static var pauses: [Int] { [1, 2, 4, 10, 20] }
  private static var pausesAfterFailure: [Int] { [20, 50, 100, 200, 500, 1_000] }

  private(set) var block = CreditBlock()
  /// Changes when the block is lost: what was reserved before can no longer be committed.
  private(set) var incarnation = 0
  private var waiting: Deque<Waiting> = []
  /// The number of the statement that is under way.
  private var asking: Int?
  private var notBefore = Int.min
  /// When ``resume(at:number:)`` will be called.
  private var wakeAt: Int?
  private var quietUntil = Int.min
  private var attempts = 0
  /// Whether nothing but what waits is asked for: the block was recalled, or is unused.
  private var isGivingBack = false
  private var isPending = false
  private var lastFailure: String?
  private var told: Told?
  private var refillAt: Int?
  /// What was spent in this second, and in the one before.
  private var usedNow = 0
  private var used = 0
  private var activeAt: Int

  init(at now: Int) { activeAt = now }

  /// What the instance would like to have: enough for two seconds.
  var want: Int { max(Self.wantMin, 2 * min(used, Self.amountMax / 4)) }

  /// What is left, as told last, less what was spent here since; nil if it was not told.
  var remaining: Int? { told.map { max(0, $0.remaining - (block.spent - $0.settled)) } }

  /// The time until the next refill; nil if none comes.
  func refillMilliseconds(at now: Int) -> Int? { refillAt.map { max(0, $0 - now) } }

  /// Whether the bucket may be forgotten.
  func isOver(at now: Int) -> Bool {
    waiting.isEmpty && asking == nil && block.isOver && now - activeAt >= Self.memoryMilliseconds
  }

  // MARK: Requests

  /// Sets `cost` aside if it fits. Also returns what to ask in the background.
  mutating func reserve(_ cost: Int, at now: Int, number: () -> Int) -> (reserved: Reserved, ask: CreditAsk?) {
    refillIfDue(at: now)
    // Takes nothing, so it depends on nothing.
    if cost == 0, block.generation != nil { return (.reserved(incarnation: incarnation), nil) }
    switch block.fit(cost, at: now) {
    case .refused(let left): return (.refused(refusal(left: left, at: now)), nil)
    case .unsure: return (.unsure, nil)
    case .fits:
      // Those that came before are served first.
      guard waiting.isEmpty else { return (.unsure, nil) }
      block.reserve(cost)
      return (.reserved(incarnation: incarnation), isLow(at: now) ? next(at: now, number: number) : nil)
    }
  }

  /// Why `cost` is refused without asking; nil if it is not.
  func refusal(of cost: Int, at now: Int) -> CreditRefusal? {
    guard case .refused(let left) = block.fit(cost, at: now) else { return nil }
    return refusal(left: left, at: now)
  }

  private func refusal(left: Int, at now: Int) -> CreditRefusal {
    CreditRefusal(left: left, refillMilliseconds: refillMilliseconds(at: now))
  }

  /// Lets a request wait until `deadline`, unless it can be answered at once.
  mutating func wait(_ waiter: Waiter, cost: Int, until deadline: Int, at now: Int, number: () -> Int) -> Effects {
    let (reserved, ask) = reserve(cost, at: now, number: number)
    var effects = Effects()
    effects.ask = ask
    switch reserved {
    case .reserved(let incarnation): effects.outcomes = [(waiter, .reserved(incarnation: incarnation))]
    case .refused(let refusal): effects.outcomes = [(waiter, .refused(refusal))]
    case .unsure where waiting.count >= Self.waiterCountMax:
      effects.outcomes = [(waiter, .unavailable("too many requests already wait for credits"))]
    case .unsure:
      waiting.append(Waiting(waiter: waiter, cost: cost, deadline: deadline))
      go(on: &effects, at: now, number)
    }
    return effects
  }

  /// Takes what was reserved. The caller stores what is spent before it answers. False if the block was lost since.
  mutating func commit(_ cost: Int, incarnation: Int, at now: Int) -> Bool {
    guard incarnation == self.incarnation else { return false }
    if cost > 0 {
      block.commit(cost)
      usedNow &+= cost
    }
    activeAt = now
    return true
  }

  mutating func release(_ cost: Int, incarnation: Int) {
    if incarnation == self.incarnation, cost > 0 { block.release(cost) }
  }

  // MARK: Statements

  /// Takes the answer to a statement.
  mutating func answered(_ answer: CreditAnswer, number asked: Int, at now: Int, number: () -> Int) -> Effects {
    guard asked == asking else { return Effects() }
    guard answer.isPossible(amountMax: Self.amountMax) else {
      return failed("PostgreSQL answered an impossible lease", number: asked, at: now, number: number)
    }
    asking = nil
    lastFailure = nil
    var effects = Effects()
    switch block.answered(answer, number: asked, at: now) {
    case .ended:
      effects.hasEnded = true
      effects.outcomes = waiting.map { ($0.waiter, .gone) }
      forget(at: now)
      return effects
    case .began: effects.hasBegun = true
    case .continued, .ignored: break
    }
    take(answer, at: now)
    serve(&effects)
    refuse(answer, &effects, at: now)
    if answer.lease?.isRecalled == true {
      effects.isRecalled = true
      freeze(isRecalled: true)
      // What is reserved cannot be given back yet.
      if block.reserved > 0 { pause(Self.pauses, at: now) }
    }
    if isLow(at: now) { quietUntil = now + Self.quietMilliseconds }
    go(on: &effects, at: now, number)
    return effects
  }

  /// Notes what the answer tells, and when the next statement may follow.
  private mutating func take(_ answer: CreditAnswer, at now: Int) {
    if let lease = answer.lease, answer.verdict != .changed {
      told = Told(remaining: answer.remaining, settled: lease.settled)
      refillAt = answer.refillMilliseconds.map { now + max(0, min($0, Self.amountMax)) }
    }
    isPending = answer.verdict == .pending
    switch answer.verdict {
    case .ok: if answer.lease?.isRecalled != true { attempts = 0 }
    case .pending, .overtaken: pause(Self.pauses, at: now)
    // At once the first time. It may have to be repeated for as long as something is reserved.
    case .changed: if attempts == 0 { attempts = 1 } else { pause(Self.pauses, at: now) }
    case .refused, .gone, .closed: break
    }
  }

  /// Refuses what costs more than is left, unless something has changed since the statement was sent.
  private mutating func refuse(_ answer: CreditAnswer, _ effects: inout Effects, at now: Int) {
    guard answer.verdict == .refused, !block.mustReturn else { return }
    let refusal = refusal(left: answer.remaining, at: now)
    let count = effects.outcomes.count
    for one in waiting where one.cost > answer.remaining { effects.outcomes.append((one.waiter, .refused(refusal))) }
    waiting.removeAll { $0.cost > answer.remaining }
    if waiting.isEmpty || effects.outcomes.count > count {
      attempts = 0
    } else {
      // It would do, but other requests have reserved a part that they may yet release.
      pause(Self.pauses, at: now)
    }
  }

  private mutating func serve(_ effects: inout Effects) {
    while let first = waiting.first, first.cost == 0 && block.generation != nil || first.cost <= block.available {
      guard block.generation != nil else { return }
      waiting.removeFirst()
      if first.cost > 0 { block.reserve(first.cost) }
      effects.outcomes.append((first.waiter, .reserved(incarnation: incarnation)))
    }
  }

  /// The outcome of a statement is unknown.
  mutating func failed(_ reason: String, number asked: Int, at now: Int, number: () -> Int) -> Effects {
    guard asked == asking else { return Effects() }
    asking = nil
    isPending = false
    lastFailure = reason
    block.gaveUp(asked)
    pause(Self.pausesAfterFailure, at: now)
    quietUntil = now + 1_000
    var effects = Effects()
    go(on: &effects, at: now, number)
    return effects
  }

  private mutating func pause(_ pauses: [Int], at now: Int) {
    notBefore = now + pauses[min(attempts, pauses.count - 1)]
    attempts += 1
  }

  /// A pause or the time of a request has ended.
  mutating func resume(at now: Int, number: () -> Int) -> Effects {
    var effects = Effects()
    go(on: &effects, at: now, number)
    return effects
  }

  // MARK: Changes

  /// The bucket was changed, or it is not known whether it was.
  mutating func changed(at now: Int, number: () -> Int) -> Effects {
    freeze(isRecalled: false)
    return resume(at: now, number: number)
  }

  /// Another instance waits for what this one has.
  mutating func recalled(at now: Int, number: () -> Int) -> Effects {
    freeze(isRecalled: true)
    var effects = resume(at: now, number: number)
    effects.isRecalled = true
    return effects
  }

  private mutating func freeze(isRecalled: Bool) {
    if block.generation == nil, asking == nil, block.awaited == nil {
      // Only a refusal is remembered.
      block = CreditBlock()
      return
    }
    block.freeze()
    isGivingBack = isRecalled
  }

  private mutating func refillIfDue(at now: Int) {
    guard let refillAt, refillAt <= now else { return }
    self.refillAt = nil
    freeze(isRecalled: false)
  }

  /// PostgreSQL has stored that this much was spent.
  mutating func settled(_ told: Int, generation: Int) { block.settled(told, generation: generation) }

  /// A second has passed: gives back what is not used.
  mutating func tick(at now: Int, number: () -> Int) -> Effects {
    used = usedNow
    usedNow = 0
    if asking == nil, waiting.isEmpty, !block.isFrozen {
      if now - activeAt >= Self.idleMilliseconds, !block.isOver {
        freeze(isRecalled: true)
      } else if block.available / 4 > max(used, Self.wantMin) {
        freeze(isRecalled: false)
      }
    }
    var effects = resume(at: now, number: number)
    effects.spent = used
    return effects
  }

  /// The instance spends nothing any more.
  mutating func end() -> [(waiter: Waiter, outcome: CreditOutcome)] {
    defer { waiting = [] }
    return waiting.map { ($0.waiter, .unavailable("the server is shutting down")) }
  }

  /// The holder was closed: whatever the block had belongs to others. Requests go on waiting.
  mutating func lose(at now: Int, number: () -> Int) -> Effects {
    let waiting = waiting
    forget(at: now)
    self.waiting = waiting
    var effects = resume(at: now, number: number)
    effects.hasEnded = true
    return effects
  }

  private mutating func forget(at now: Int) {
    let next = incarnation + 1
    self = CreditBucket(at: now)
    incarnation = next
  }

  // MARK: The next statement

  private func isLow(at now: Int) -> Bool {
    block.generation != nil && !block.isFrozen && block.available < want / 2 && now >= quietUntil
  }

  private mutating func go(on effects: inout Effects, at now: Int, _ number: () -> Int) {
    expire(&effects, at: now)
    if effects.ask == nil { effects.ask = next(at: now, number: number) }
    if let wakeAt, wakeAt <= now { self.wakeAt = nil }
    guard asking == nil, block.mustReturn || !waiting.isEmpty, wakeAt.map({ $0 > notBefore }) ?? true else { return }
    wakeAt = notBefore
    effects.wakeAt = notBefore
  }

  private mutating func expire(_ effects: inout Effects, at now: Int) {
    guard waiting.contains(where: { $0.deadline <= now }) else { return }
    let outcome =
      isPending
      ? CreditOutcome.refused(refusal(left: remaining ?? 0, at: now))
      : .unavailable(lastFailure ?? "PostgreSQL takes longer than the lease to answer")
    for one in waiting where one.deadline <= now { effects.outcomes.append((one.waiter, outcome)) }
    waiting.removeAll { $0.deadline <= now }
  }

  private mutating func next(at now: Int, number: () -> Int) -> CreditAsk? {
    guard asking == nil, now >= notBefore else { return nil }
    guard block.mustReturn || !waiting.isEmpty || isLow(at: now) else { return nil }
    let asked = number()
    asking = asked
    activeAt = now
    defer { isGivingBack = false }
    return block.ask(number: asked, need: waiting.first?.cost ?? 0, want: isGivingBack ? 0 : want)
  }
}

extension CreditAnswer {
  /// Whether sums with it stay within bounds.
  fileprivate func isPossible(amountMax: Int) -> Bool {
    guard let lease else { return true }
    return lease.generation >= 0 && lease.settled >= 0 && lease.granted >= lease.settled && lease.granted <= amountMax
      && (0...amountMax).contains(remaining)
  }
}
