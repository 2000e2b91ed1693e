@testable import Portal

/// The database's side of credits, for one bucket: what the functions of `migrations/0030_credits.sql` do, as a value.
struct CreditsReference: Equatable {
  struct Lease: Equatable {
    var generation: Int
    var granted = 0
    var settled = 0
    var number = 0
    var isRecalled = false
  }

  var generation = 0
  var available: Int
  /// What is withheld of each older generation that may still bring something back; nil: all of it.
  var withheld: [Int?] = []
  /// The generation of the first of these.
  var carriedFrom = 0
  var oversold = 0
  /// By holder, as are the following.
  var leases: [Int: Lease] = [:]
  var closed: Set<Int> = []
  /// Those that are heard of.
  var live: Set<Int> = []

  init(_ available: Int) { self.available = available }

  // MARK: Balance

  /// What comes back of `returned` unspent credits of an older generation.
  private mutating func carry(_ returned: Int, from origin: Int) -> Int {
    var (back, origin) = (returned, origin)
    while origin < generation, back > 0 {
      let place = origin - carriedFrom
      guard place >= 0, let held = withheld[place] else { return 0 }
      let part = min(back, held)
      withheld[place] = held - part
      back -= part
      origin += 1
    }
    return back
  }

  /// What would come back of the leases of these holders, of all if nil, if they spent nothing more.
  func out(of holders: Set<Int>? = nil, unspent: (Int, Lease) -> Int = { $1.granted - $1.settled }) -> Int {
    var total = 0
    for number in carriedFrom...generation {
      for (holder, lease) in leases where lease.generation == number && holders?.contains(holder) != false {
        total += unspent(holder, lease)
      }
      guard number < generation else { break }
      total = withheld[number - carriedFrom].map { max(0, total - $0) } ?? 0
    }
    return total
  }

  // MARK: Statements

  mutating func ask(_ ask: CreditAsk, by holder: Int) -> CreditAnswer {
    guard !closed.contains(holder) else { return CreditAnswer(verdict: .closed) }
    var lease = leases[holder] ?? Lease(generation: generation)
    guard ask.number > lease.number else { return CreditAnswer(verdict: .overtaken) }
    lease.number = ask.number
    var (spent, keep) = (ask.spent, ask.keep)
    if lease.generation != generation {
      if ask.generation == lease.generation {
        if keep > spent {
          leases[holder] = lease
          return CreditAnswer(verdict: .changed, lease: told(lease))
        }
        lease.settled = max(lease.settled, min(spent, lease.granted))
      }
      available += carry(lease.granted - lease.settled, from: lease.generation)
      lease = Lease(generation: generation, number: lease.number)
    }
    if ask.generation != generation { (spent, keep) = (0, 0) }
    if spent > lease.granted {
      let part = min(available, spent - lease.granted)
      available -= part
      oversold += spent - lease.granted - part
      lease.granted = spent
    }
    lease.settled = max(lease.settled, spent)
    keep = min(max(keep, lease.settled), lease.granted)
    if ask.isReturn || lease.isRecalled {
      available += lease.granted - keep
      lease.granted = keep
      if keep == lease.settled { lease.isRecalled = false }
    }
    let missing = ask.need > 0 ? lease.settled + ask.need - lease.granted : 0
    var verdict = CreditAnswer.Verdict.ok
    let others = live.subtracting([holder])
    let out = out(of: others)
    let remaining = available + lease.granted - lease.settled + out
    if missing <= available || missing <= 0 {
      var part = max(0, missing)
      if !lease.isRecalled {
        let wanted = lease.settled + ask.need + ask.want - lease.granted
        part = max(part, min(wanted, available / (2 * max(1, live.count))))
      }
      available -= part
      lease.granted += part
    } else {
      if out > 0, available + out >= missing {
        verdict = .pending
        for other in others where leases[other].map({ $0.granted > $0.settled }) == true {
          leases[other]?.isRecalled = true
        }
      } else {
        verdict = .refused
      }
    }
    leases[holder] = lease
    return CreditAnswer(verdict: verdict, lease: told(lease), remaining: remaining)
  }

  private func told(_ lease: Lease) -> CreditAnswer.Lease {
    CreditAnswer.Lease(
      generation: lease.generation, granted: lease.granted, settled: lease.settled, isRecalled: lease.isRecalled)
  }

  /// Returns whether the lease is recalled.
  mutating func settle(_ spent: Int, generation: Int, by holder: Int) -> Bool {
    guard var lease = leases[holder], lease.generation == generation, (lease.settled...lease.granted).contains(spent)
    else { return false }
    lease.settled = spent
    leases[holder] = lease
    return lease.isRecalled
  }

  /// `slots` has what the files of the dead process say: what was spent, by generation.
  mutating func adopt(_ holder: Int, slots: [Int: Int]) {
    closed.insert(holder)
    guard let lease = leases.removeValue(forKey: holder) else { return }
    let used = max(lease.settled, slots[lease.generation] ?? 0)
    if used > lease.granted, lease.generation == generation {
      let part = min(available, used - lease.granted)
      available -= part
      oversold += used - lease.granted - part
    }
    available += carry(max(0, lease.granted - used), from: lease.generation)
  }

  // MARK: Changes

  enum Change: Equatable {
    case set(Int)
    case increment(Int)
    case decrement(Int)
    case refill(Int)
  }

  mutating func change(_ change: Change) {
    switch change {
    case .increment(let value): available += value
    case .set(let value): begin(withholding: nil, available: value)
    case .decrement(let value) where value <= available: available -= value
    case .decrement(let value): begin(withholding: value - available, available: 0)
    case .refill(let value) where value > available: begin(withholding: value - available, available: value)
    case .refill: break
    }
  }

  private mutating func begin(withholding amount: Int?, available: Int) {
    withheld.append(amount)
    self.available = available
    generation += 1
    let first = leases.values.filter { $0.granted > $0.settled }.map(\.generation).min() ?? generation
    if first > carriedFrom {
      withheld.removeFirst(first - carriedFrom)
      carriedFrom = first
    }
  }
}
