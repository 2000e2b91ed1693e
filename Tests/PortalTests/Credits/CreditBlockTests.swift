import Testing

@testable import Portal

/// Processes A, B and C with one bucket, and nothing else under way.
private func world(_ available: Int, processes count: Int = 2) -> CreditsWorld {
  CreditsWorld(available, processes: count)
}

private let (a, b, c) = (0, 1, 2)

@Suite("CreditBlock: each shortcut that sells a credit twice or loses one is not taken")
struct CreditBlockCounterexampleTests {
  @Test("a silent instance's block is not given to anybody else, and good when it comes back")
  func silent() {
    var world = world(10)
    world.exchange(by: a, want: 40)
    let held = world.processes[a].block.available
    #expect(held > 0)
    world.silence(a, true)
    world.request(9, by: b)
    world.exchange(by: b)
    #expect(world.refusedCount == 1, "what it holds is out of reach")
    world.request(held, by: a)
    #expect(world.processes[a].block.available == 0 && world.breach == nil)
  }

  @Test("a statement that is executed after a later one does nothing")
  func numbers() {
    var world = world(40)
    world.ask(by: a, want: 10)
    world.giveUp(by: a)
    world.hear(a)
    world.ask(by: a)
    world.execute(1)
    world.answer()
    #expect(world.processes[a].block.available == 0 && world.database.available == 40)
    world.execute(isAnswered: false)
    #expect(world.database.available == 40, "nobody would have this block")
    // The other way round: a late return takes nothing back.
    world.hear(a)
    world.ask(by: a)
    world.giveUp(by: a)
    world.ask(by: a, want: 10)
    world.execute(1)
    world.answer()
    let held = world.processes[a].block.available
    world.execute()
    world.request(held, by: a)
    #expect(held > 0 && world.breach == nil)
  }

  @Test("an answer that comes after a later statement was sent is ignored")
  func lateAnswer() {
    var world = world(40)
    world.ask(by: a, want: 10)
    world.giveUp(by: a)
    world.execute()
    world.hear(a)
    world.ask(by: a)
    world.answer()
    world.request(1, by: a)
    #expect(world.processes[a].block.spent == 0)
    world.execute()
    #expect(world.breach == nil && world.database.available == 40)
  }

  @Test("nothing is spent while a return is under way, nor after giving up on it")
  func frozen() {
    var world = world(40)
    world.exchange(by: a, want: 10)
    world.hear(a)
    world.ask(by: a)
    world.request(1, by: a)
    #expect(world.processes[a].block.spent == 0)
    world.giveUp(by: a)
    world.request(1, by: a)
    #expect(world.processes[a].block.spent == 0 && world.processes[a].block.mustReturn)
    world.execute(isAnswered: false)
    world.comeToRest()
    #expect(world.processes[a].block.spent == 1 && world.breach == nil)
  }

  @Test("a settlement that is repeated or late changes nothing")
  func settledTwice() {
    var world = world(40)
    world.exchange(by: a, want: 10)
    world.request(2, by: a)
    world.settle(by: a)
    world.request(1, by: a)
    world.settle(by: a)
    world.execute(1)
    world.execute(isRepeated: true)
    world.execute()
    #expect(world.database.leases[a]?.settled == 3 && world.breach == nil)
  }

  @Test("a kill before a return is executed loses nothing: the slot is still there")
  func killedBeforeReturn() {
    var world = world(40)
    world.exchange(by: a, want: 10)
    world.request(2, by: a)
    world.hear(a)
    world.ask(by: a)
    world.kill(a)
    world.adopt(a)
    #expect(world.database.available == 38 && world.breach == nil)
    world.execute()
    #expect(world.database.available == 38 && world.breach == nil)
  }

  @Test("a lease of a dead process that is executed after its adoption makes no row", arguments: [true, false])
  func lateLease(_ hasLeasedBefore: Bool) {
    var world = world(40)
    if hasLeasedBefore { world.exchange(by: a, want: 10) }
    world.ask(by: a, want: 10)
    world.kill(a)
    world.adopt(a)
    world.execute()
    #expect(world.database.leases.isEmpty && world.database.available == 40 && world.breach == nil)
  }

  @Test("what was spent of an older generation is not charged to a lease of the new one")
  func slotOfGeneration() {
    var world = world(40)
    world.exchange(by: a, want: 10)
    world.request(2, by: a)
    world.change(.set(2))
    world.hear(a)
    world.ask(by: a, want: 2)
    world.execute()
    world.kill(a)
    world.adopt(a)
    #expect(world.database.available == 2 && world.breach == nil)
  }

  @Test("an answer to a statement that was sent before the log told of a change unfreezes nothing")
  func oldAnswer() {
    var world = world(40)
    world.exchange(by: a, want: 4)
    world.ask(by: a, want: 10)
    world.execute()
    world.change(.set(0))
    world.hear(a)
    world.answer()
    world.request(1, by: a)
    #expect(world.processes[a].block.spent == 0 && world.processes[a].block.mustReturn)
    world.comeToRest()
    #expect(world.refusedCount == 1 && world.breach == nil)
  }

  @Test("what another instance holds is recalled before anybody is refused")
  func recalled() {
    var world = world(8)
    world.exchange(by: a, want: 10)
    world.request(7, by: b)
    world.exchange(by: b)
    #expect(world.refusedCount == 0 && world.processes[b].need == 7)
    world.comeToRest()
    #expect(world.admittedCount == 1 && world.balance == 1 && world.breach == nil)
  }

  @Test("what is withheld of a generation is withheld once, not of each lease")
  func withheldOnce() {
    var world = world(12, processes: 3)
    world.exchange(by: a, want: 40)
    world.exchange(by: b, want: 40)
    let out = 12 - world.database.available
    #expect(out >= 3)
    // All but one of what is out is withheld.
    world.change(.refill(world.database.available + out - 1))
    #expect(world.balance == 12 && world.breach == nil)
    world.request(12, by: c)
    world.comeToRest()
    #expect(world.admittedCount == 1 && world.balance == 0 && world.breach == nil)
  }

  @Test("a refill fills up what was spent and not settled")
  func refillUnsettled() {
    var world = world(4, processes: 1)
    world.exchange(by: a, want: 40)
    world.request(1, by: a)
    world.change(.refill(4))
    #expect(world.balance == 4 && world.breach == nil)
    world.comeToRest()
    #expect(world.balance == 4)
  }

  @Test("a refill to less than the balance lowers nothing")
  func refillLower() {
    var world = world(4, processes: 1)
    world.exchange(by: a, want: 40)
    #expect(world.database.available == 2)
    world.change(.refill(3))
    #expect(world.balance == 4 && world.breach == nil)
  }

  @Test("a decrement below zero is not a debt that a later increment pays")
  func decrement() {
    var world = world(4, processes: 1)
    world.exchange(by: a, want: 40)
    world.request(1, by: a)
    world.change(.decrement(5))
    world.change(.increment(1))
    world.hear(a)
    world.ask(by: a)
    world.execute()
    world.answer()
    #expect(world.balance == 1 && world.database.available == 1 && world.breach == nil)
  }

  @Test("an older generation is not closed while its holder may spend of it")
  func openOlder() {
    var world = world(40, processes: 1)
    world.exchange(by: a, want: 10)
    // In the background: the holder spends on until the answer, which it has not heard is of another generation.
    world.ask(by: a, want: 20)
    world.change(.refill(36))
    world.execute()
    world.request(2, by: a)
    world.answer()
    #expect(world.balance == 38 && world.breach == nil)
    world.request(1, by: a)
    world.comeToRest()
    #expect(world.processes[a].block.generation == 1 && world.balance == 37 && world.breach == nil)
  }

  @Test("a block that was forgotten and leased again continues from what is settled")
  func forgotten() {
    var world = world(40, processes: 1)
    world.exchange(by: a, want: 4)
    world.request(4, by: a)
    world.hear(a)
    world.exchange(by: a)
    #expect(world.processes[a].block.isOver)
    world.forget(a)
    world.exchange(by: a, want: 4)
    #expect(world.processes[a].block.available == 4)
    world.request(4, by: a)
    #expect(world.balance == 32 && world.breach == nil)
  }

  @Test("a refusal says what others would give back, so that a cheaper request is not refused by it")
  func remaining() {
    var world = world(8)
    world.exchange(by: a, want: 40)
    world.request(20, by: b)
    world.exchange(by: b)
    #expect(world.refusedCount == 1)
    #expect(world.processes[b].block.fit(9, at: 0) == .refused(left: 8))
    #expect(world.processes[b].block.fit(8, at: 0) == .unsure)
    world.request(8, by: b)
    world.comeToRest()
    #expect(world.admittedCount == 1 && world.balance == 0 && world.breach == nil)
  }

  @Test("what is reserved is kept by a return, and may be committed after it")
  func reserved() {
    var world = world(40)
    world.exchange(by: a, want: 8)
    world.reserve(3, by: a)
    world.hear(a)
    world.ask(by: a)
    world.execute()
    world.decide(by: a, isAdmitted: true)
    world.answer()
    #expect(world.balance == 37 && world.processes[a].block.available == 0 && world.breach == nil)
  }
}

@Suite("CreditBlock")
struct CreditBlockTests {
  private static let granted = CreditAnswer(
    verdict: .ok, lease: .init(generation: 3, granted: 10, settled: 0, isRecalled: false))

  private func leased() -> CreditBlock {
    var block = CreditBlock()
    _ = block.ask(number: 1, need: 2, want: 8)
    #expect(block.answered(Self.granted, number: 1, at: 0) == .began)
    return block
  }

  @Test("without a block nothing fits, not even what costs nothing")
  func new() {
    var block = CreditBlock()
    #expect(block.fit(0, at: 0) == .unsure && block.fit(1, at: 0) == .unsure && block.isOver)
    #expect(
      block.ask(number: 1, need: 2, want: 8)
        == CreditAsk(number: 1, generation: nil, spent: 0, keep: 0, need: 2, want: 8, isReturn: false))
  }

  @Test("what was leased is spent to the last one")
  func spending() {
    var block = leased()
    for number in 1...10 {
      #expect(block.fit(1, at: 0) == .fits)
      block.take(1)
      #expect(block.spent == number)
    }
    #expect(block.fit(1, at: 0) == .unsure && block.fit(0, at: 0) == .fits)
  }

  @Test("an ask in the background keeps all that may be spent, a return only what is spent or reserved")
  func keep() {
    var block = leased()
    block.take(2)
    block.reserve(3)
    #expect(block.available == 5)
    #expect(
      block.ask(number: 2, need: 0, want: 8)
        == CreditAsk(number: 2, generation: 3, spent: 2, keep: 10, need: 0, want: 8, isReturn: false))
    block.freeze()
    #expect(
      block.ask(number: 3, need: 4, want: 8)
        == CreditAsk(number: 3, generation: 3, spent: 2, keep: 5, need: 7, want: 8, isReturn: true),
      "what is reserved is needed beside what waits")
    block.release(3)
    #expect(block.reserved == 0 && block.available == 0)
  }

  @Test("a refusal is remembered for a second, for what costs more than was left, and until anything changes")
  func refusal() {
    var block = leased()
    block.take(10)
    _ = block.ask(number: 2, need: 5, want: 0)
    let answer = CreditAnswer(
      verdict: .refused, lease: .init(generation: 3, granted: 10, settled: 10, isRecalled: false), remaining: 3)
    #expect(block.answered(answer, number: 2, at: 100) == .continued)
    #expect(block.fit(4, at: 1_099) == .refused(left: 3) && block.fit(3, at: 100) == .unsure)
    #expect(block.fit(4, at: 1_100) == .unsure)
    block.freeze()
    #expect(block.fit(4, at: 101) == .unsure)
  }

  @Test("an answer counts once, and only the last one")
  func answers() {
    var block = leased()
    #expect(block.answered(Self.granted, number: 1, at: 0) == .ignored)
    _ = block.ask(number: 2, need: 0, want: 8)
    _ = block.ask(number: 3, need: 0, want: 8)
    #expect(block.answered(Self.granted, number: 2, at: 0) == .ignored)
    #expect(block.answered(Self.granted, number: 3, at: 0) == .continued)
  }

  @Test("of a bucket or a holder that is gone nothing is left", arguments: [CreditAnswer.Verdict.gone, .closed])
  func gone(_ verdict: CreditAnswer.Verdict) {
    var block = leased()
    _ = block.ask(number: 2, need: 0, want: 8)
    #expect(block.answered(CreditAnswer(verdict: verdict), number: 2, at: 0) == .ended)
    #expect(block == CreditBlock())
  }

  @Test("a frozen block whose statement was overtaken asks again")
  func overtaken() {
    var block = leased()
    block.freeze()
    _ = block.ask(number: 2, need: 0, want: 0)
    #expect(!block.mustReturn)
    #expect(block.answered(CreditAnswer(verdict: .overtaken), number: 2, at: 0) == .ignored)
    #expect(block.isFrozen && block.mustReturn)
  }

  @Test("it may be forgotten when PostgreSQL has all of it")
  func over() {
    var block = leased()
    #expect(!block.isOver)
    block.take(10)
    #expect(!block.isOver)
    block.settled(10, generation: 2)
    #expect(!block.isOver)
    block.settled(10, generation: 3)
    #expect(block.isOver)
  }
}
