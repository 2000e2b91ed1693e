/// A part of a bucket of credits that PostgreSQL has set aside for this instance alone. A value without
/// I/O or a clock: the ledger holds it under a lock, stores ``spent`` into a mapped file before a request is answered,
/// and sends what ``ask(number:need:want:)`` returns.
///
/// - `spent` only grows within a generation. What is not sure yet is `reserved`, and then committed or released.
/// - Before anything is given back, the block is frozen: until an answer to the last statement nothing is spent beyond
///   what the statement said.
/// - A block of an older generation is frozen as soon as a newer one is seen.
struct CreditBlock: Equatable, Sendable {
  enum Fit: Equatable, Sendable {
    case fits
    /// More than all that is left; see ``CreditAnswer/remaining``.
    case refused(left: Int)
    /// PostgreSQL has to be asked.
    case unsure
  }

  /// The result of an answer.
  enum Step: Equatable, Sendable {
    /// The answer was not to the last statement, and changed nothing.
    case ignored
    /// The block has another generation, so it needs a slot of its own: with ``CreditBlock/spent`` as it is now. The
    /// slot of the former generation is free once that one is there.
    case began
    /// The block is what it was, of the same generation.
    case continued
    /// Nothing may be spent any more: the bucket or the holder is gone.
    case ended
  }

  /// How long a refusal is remembered.
  static let refusalMilliseconds = 1_000

  /// Nil before the first answer.
  private(set) var generation: Int?
  private(set) var granted = 0
  private(set) var spent = 0
  private(set) var reserved = 0
  /// What PostgreSQL is known to have of `spent`.
  private(set) var settled = 0
  /// Whether nothing new is admitted.
  private(set) var isFrozen = false
  /// Whether something has to be given back, or a newer generation learned, that no statement under way can do, because
  /// it was sent before.
  private(set) var mustReturn = false
  /// The number of the statement whose answer counts.
  private(set) var awaited: Int?
  /// What was left when a request was refused, and until when that is remembered.
  private var left: Left?

  private struct Left: Equatable, Sendable {
    var amount: Int
    var until: Int
  }

  init() {}

  /// What may be spent without asking.
  var available: Int { isFrozen ? 0 : granted - spent - reserved }

  /// Whether the block and its slot may be forgotten: PostgreSQL has set nothing aside that is not spent, and knows of
  /// all that is.
  var isOver: Bool { spent == granted && spent == settled && reserved == 0 && awaited == nil && !mustReturn }

  // MARK: Requests

  /// Whether `cost` may be taken. `now` is in milliseconds, of any clock that only goes forward.
  func fit(_ cost: Int, at now: Int) -> Fit {
    if cost <= available, !isFrozen, generation != nil { return .fits }
    if let left, cost > left.amount, now < left.until { return .refused(left: left.amount) }
    return .unsure
  }

  /// Takes what fits. The caller stores ``spent`` before it answers.
  mutating func take(_ cost: Int) { spent += cost }

  /// Sets aside what fits, in memory alone, until ``commit(_:)`` or ``release(_:)``.
  mutating func reserve(_ cost: Int) { reserved += cost }

  /// Takes what was reserved, also of a frozen block: what was asked of PostgreSQL counts it as kept.
  mutating func commit(_ cost: Int) {
    reserved -= cost
    spent += cost
  }

  mutating func release(_ cost: Int) { reserved -= cost }

  // MARK: Statements

  /// What to ask PostgreSQL. `number` is above that of every earlier statement of this process, even of those that
  /// failed. From now on, only the answer to this one counts.
  mutating func ask(number: Int, need: Int, want: Int) -> CreditAsk {
    awaited = number
    mustReturn = false
    return CreditAsk(
      number: number, generation: generation, spent: spent, keep: isFrozen ? spent + reserved : granted,
      need: need > 0 ? need + reserved : 0, want: want, isReturn: isFrozen)
  }

  /// Freezes the block: it is recalled, the log has a change, a refill is due, or commits may have been lost.
  mutating func freeze() {
    isFrozen = true
    mustReturn = true
    left = nil
  }

  /// The outcome of a statement is unknown. A frozen block stays frozen. If it was the first statement, something may
  /// be set aside that this instance knows nothing of, and that no recall would reach: it is asked about, too.
  mutating func gaveUp(_ number: Int) {
    guard awaited == number, isFrozen || generation == nil else { return }
    isFrozen = true
    mustReturn = true
  }

  /// Takes an answer to the statement with this number.
  mutating func answered(_ answer: CreditAnswer, number: Int, at now: Int) -> Step {
    guard number == awaited else { return .ignored }
    awaited = nil
    guard let lease = answer.lease else {
      guard answer.verdict == .gone || answer.verdict == .closed else {
        if isFrozen { mustReturn = true }
        return .ignored
      }
      self = CreditBlock()
      return .ended
    }
    if answer.verdict == .changed {
      freeze()
      return .continued
    }
    if answer.verdict == .refused, !mustReturn {
      left = Left(amount: answer.remaining, until: now + Self.refusalMilliseconds)
    }
    let isNew = lease.generation != generation
    if isNew {
      generation = lease.generation
      spent = lease.settled
    }
    granted = lease.granted
    settled = lease.settled
    isFrozen = mustReturn
    return isNew ? .began : .continued
  }

  /// PostgreSQL has stored that this much of this generation was spent.
  mutating func settled(_ told: Int, generation: Int) {
    if generation == self.generation { settled = max(settled, told) }
  }
}
