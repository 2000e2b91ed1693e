import PostgresTesting

@testable import Portal

/// Processes that spend from one bucket, a database, and a network that loses, delays and repeats what it carries. What
/// was admitted is also written down, and the balance follows from that alone.
struct CreditsWorld {
  /// A process, with its file, which outlives it.
  struct Process {
    var block = CreditBlock()
    /// What the file says was spent, by generation.
    var slots: [Int: Int] = [:]
    var number = 0
    /// The cost of the request that waits; 0 if none does.
    var need = 0
    /// The costs that are set aside.
    var reserved: [Int] = []
    /// The generation of the bucket when the process heard of a change.
    var heard = 0
    var isAlive = true
  }

  enum Message: Equatable {
    case ask(CreditAsk)
    case settle(generation: Int, spent: Int)
  }

  /// What happened to a generation: it had so much more, so much was spent, and something ended it.
  private struct Chapter {
    var inflow = 0
    var spent = 0
    var end: CreditsReference.Change?
  }

  private(set) var database: CreditsReference
  private(set) var processes: [Process] = []
  private(set) var sent: [(holder: Int, message: Message)] = []
  private(set) var answers: [(holder: Int, number: Int, answer: CreditAnswer)] = []
  private(set) var admittedCount = 0
  private(set) var refusedCount = 0
  private var chapters: [Chapter]
  /// The first promise that was broken.
  private(set) var breach: String?

  init(_ available: Int, processes count: Int) {
    database = CreditsReference(available)
    chapters = [Chapter(inflow: available)]
    for _ in 0..<count { begin() }
  }

  // MARK: What was promised

  /// The balance by what was admitted and changed; nil if more was admitted than there was.
  var balance: Int? {
    var balance = 0
    for chapter in chapters {
      balance += chapter.inflow - chapter.spent
      if balance < 0 { return nil }
      switch chapter.end {
      case .set(let value): balance = value
      case .decrement(let value): balance = max(0, balance - value)
      case .refill(let value): balance = max(value, balance)
      case .increment, nil: break
      }
    }
    return balance
  }

  /// What is not spent of a lease, whoever knows of it.
  private func unspent(_ holder: Int, _ lease: CreditsReference.Lease) -> Int {
    lease.granted - max(lease.settled, processes[holder].slots[lease.generation] ?? 0)
  }

  private mutating func check() {
    guard breach == nil else { return }
    guard let balance else {
      breach = "more was admitted than there was"
      return
    }
    let found = database.available + database.out(unspent: unspent)
    if found != balance { breach = "the balance is \(balance), and rows and files have \(found)" }
    if database.oversold != 0 { breach = "oversold" }
    for (holder, lease) in database.leases where unspent(holder, lease) < 0 { breach = "more is spent than granted" }
  }

  // MARK: Processes

  mutating func begin() {
    database.live.insert(processes.count)
    processes.append(Process())
  }

  /// Admits a request, lets it wait, or refuses it.
  mutating func request(_ cost: Int, by holder: Int) {
    switch processes[holder].block.fit(cost, at: 0) {
    case .fits: take(cost, by: holder)
    case .refused: refusedCount += 1
    case .unsure: if processes[holder].need == 0 { processes[holder].need = cost }
    }
    check()
  }

  private mutating func take(_ cost: Int, by holder: Int) {
    if processes[holder].block.generation.map({ $0 < processes[holder].heard }) != false {
      breach = "admitted under an old generation"
    }
    spend(cost, by: holder) { $0.take(cost) }
  }

  private mutating func spend(_ cost: Int, by holder: Int, _ change: (inout CreditBlock) -> Void) {
    change(&processes[holder].block)
    guard let generation = processes[holder].block.generation else {
      breach = "spent of no generation"
      return
    }
    processes[holder].slots[generation] = processes[holder].block.spent
    chapters[generation].spent += cost
    admittedCount += 1
  }

  mutating func reserve(_ cost: Int, by holder: Int) {
    guard processes[holder].block.fit(cost, at: 0) == .fits else { return }
    processes[holder].block.reserve(cost)
    processes[holder].reserved.append(cost)
  }

  mutating func decide(by holder: Int, isAdmitted: Bool) {
    guard let cost = processes[holder].reserved.popLast() else { return }
    if isAdmitted {
      spend(cost, by: holder) { $0.commit(cost) }
    } else {
      processes[holder].block.release(cost)
    }
    check()
  }

  mutating func ask(by holder: Int, want: Int = 0) {
    processes[holder].number += 1
    let process = processes[holder]
    let ask = processes[holder].block.ask(number: process.number, need: process.need, want: want)
    sent.append((holder, .ask(ask)))
  }

  mutating func settle(by holder: Int) {
    guard let generation = processes[holder].block.generation else { return }
    sent.append((holder, .settle(generation: generation, spent: processes[holder].block.spent)))
  }

  mutating func giveUp(by holder: Int) { processes[holder].block.gaveUp(processes[holder].number) }

  /// The process hears of a recall, of a change, or of something that turns out to be nothing.
  mutating func hear(_ holder: Int) {
    processes[holder].block.freeze()
    processes[holder].heard = database.generation
  }

  /// The process has no use for its block any more.
  mutating func forget(_ holder: Int) {
    guard processes[holder].block.isOver, processes[holder].need == 0 else { return }
    processes[holder].block = CreditBlock()
    processes[holder].slots = [:]
  }

  mutating func kill(_ holder: Int) {
    processes[holder].isAlive = false
    processes[holder].need = 0
    processes[holder].reserved = []
    database.live.remove(holder)
  }

  mutating func adopt(_ holder: Int) {
    guard !processes[holder].isAlive else { return }
    database.adopt(holder, slots: processes[holder].slots)
    check()
  }

  /// The process is not heard of, or again.
  mutating func silence(_ holder: Int, _ isSilent: Bool) {
    if isSilent || !processes[holder].isAlive { database.live.remove(holder) } else { database.live.insert(holder) }
  }

  // MARK: The database and the network

  mutating func change(_ change: CreditsReference.Change) {
    let generation = database.generation
    let former = database.available
    database.change(change)
    if database.generation > generation {
      chapters[generation].end = change
      chapters.append(Chapter())
    } else {
      chapters[generation].inflow += database.available - former
    }
    check()
  }

  /// Executes a statement that was sent. Repeated ones stay under way.
  mutating func execute(_ place: Int = 0, isRepeated: Bool = false, isAnswered: Bool = true) {
    guard sent.indices.contains(place) else { return }
    let (holder, message) = isRepeated ? sent[place] : sent.remove(at: place)
    switch message {
    case .settle(let generation, let spent): _ = database.settle(spent, generation: generation, by: holder)
    case .ask(let ask):
      let answer = database.ask(ask, by: holder)
      if answer.verdict == .refused {
        let reached = database.out(of: database.live.union([holder]), unspent: unspent) + database.available
        if ask.need <= reached { breach = "refused \(ask.need) of \(reached)" }
      }
      if isAnswered { answers.append((holder, ask.number, answer)) }
    }
    check()
  }

  mutating func lose(_ place: Int) { if sent.indices.contains(place) { sent.remove(at: place) } }

  mutating func answer(_ place: Int = 0) {
    guard answers.indices.contains(place) else { return }
    let (holder, number, answer) = answers.remove(at: place)
    guard processes[holder].isAlive else { return }
    let former = processes[holder].block.generation
    switch processes[holder].block.answered(answer, number: number, at: 0) {
    case .ignored: return
    case .ended: processes[holder].slots = [:]
    case .continued: break
    case .began:
      if let generation = processes[holder].block.generation {
        processes[holder].slots[generation] = processes[holder].block.spent
      }
      if let former { processes[holder].slots[former] = nil }
    }
    let need = processes[holder].need
    if need > 0, processes[holder].block.fit(need, at: 0) == .fits {
      take(need, by: holder)
      processes[holder].need = 0
    } else if answer.verdict == .refused {
      refusedCount += 1
      processes[holder].need = 0
    }
    if answer.lease?.isRecalled == true { processes[holder].block.freeze() }
    check()
  }

  // MARK: In order

  /// One exchange of a process with the database, nothing lost.
  mutating func exchange(by holder: Int, want: Int = 0) {
    ask(by: holder, want: want)
    execute(sent.count - 1)
    answer(answers.count - 1)
  }

  /// Delivers recalls, and lets everybody answer and ask as long as anybody has to.
  mutating func comeToRest() {
    for _ in 0..<100 {
      for holder in processes.indices where processes[holder].isAlive {
        if database.leases[holder]?.isRecalled == true { processes[holder].block.freeze() }
        if processes[holder].need > 0 || processes[holder].block.mustReturn { exchange(by: holder) }
      }
      let isBusy = processes.contains { $0.isAlive && ($0.need > 0 || $0.block.mustReturn) }
      if !isBusy { return }
    }
    breach = breach ?? "no end of asking"
  }
}
