import Testing

@testable import Portal

/// A bucket whose waiters are numbers, and a script of answers.
private final class Desk {
  var bucket = CreditBucket<Int>(at: 0)
  var number = 0
  var now = 0
  /// Asked and not answered.
  var asked: CreditAsk?
  var outcomes: [Int: CreditOutcome] = [:]
  var order: [Int] = []
  var wakeAt: Int?

  private func take(_ effects: CreditBucket<Int>.Effects) {
    for (waiter, outcome) in effects.outcomes {
      outcomes[waiter] = outcome
      order.append(waiter)
    }
    if let ask = effects.ask {
      #expect(asked == nil, "one statement at a time")
      asked = ask
    }
    if let at = effects.wakeAt { wakeAt = at }
  }

  func wait(_ waiter: Int, _ cost: Int, until deadline: Int = 2_000) {
    take(bucket.wait(waiter, cost: cost, until: deadline, at: now) { next() })
  }

  /// Whether it was admitted at once.
  func spend(_ cost: Int) -> Bool {
    let (reserved, ask) = bucket.reserve(cost, at: now) { next() }
    if let ask { asked = ask }
    guard case .reserved(let incarnation) = reserved else { return false }
    return bucket.commit(cost, incarnation: incarnation, at: now)
  }

  func answer(
    _ verdict: CreditAnswer.Verdict = .ok, granted: Int = 0, settled: Int = 0, generation: Int = 1,
    isRecalled: Bool = false, remaining: Int = 0, refill: Int? = nil
  ) {
    guard let ask = asked else {
      Issue.record("nothing was asked")
      return
    }
    asked = nil
    var answer = CreditAnswer(verdict: verdict, remaining: remaining, refillMilliseconds: refill)
    if verdict != .gone, verdict != .overtaken {
      answer.lease = .init(generation: generation, granted: granted, settled: settled, isRecalled: isRecalled)
    }
    take(bucket.answered(answer, number: ask.number, at: now) { next() })
  }

  func fail() {
    guard let ask = asked else { return }
    asked = nil
    take(bucket.failed("away", number: ask.number, at: now) { next() })
  }

  func resume(at time: Int) {
    now = time
    take(bucket.resume(at: now) { next() })
  }

  func change() { take(bucket.changed(at: now) { next() }) }
  func recall() { take(bucket.recalled(at: now) { next() }) }
  func tick(at time: Int) {
    now = time
    take(bucket.tick(at: now) { next() })
  }

  private func next() -> Int {
    number += 1
    return number
  }
}

private func leased(_ granted: Int, remaining: Int? = nil) -> Desk {
  let desk = Desk()
  desk.wait(0, 0)
  desk.answer(granted: granted, remaining: remaining ?? granted)
  #expect(desk.outcomes[0] == .reserved(incarnation: 0))
  desk.outcomes = [:]
  desk.order = []
  return desk
}

@Suite("CreditBucket")
struct CreditBucketTests {
  @Test("requests wait for one statement, and are served in their order")
  func order() {
    let desk = Desk()
    for waiter in 1...4 { desk.wait(waiter, waiter == 3 ? 9 : 2) }
    #expect(desk.asked?.need == 2 && desk.asked?.want == 16 && desk.asked?.isReturn == false)
    desk.answer(granted: 5)
    #expect(desk.order == [1, 2])
    // The third is asked for next. The fourth would fit, but comes after it.
    #expect(desk.asked?.need == 9 + 4)
    desk.answer(granted: 15, remaining: 15)
    #expect(desk.order == [1, 2, 3, 4])
    #expect(desk.outcomes.values.allSatisfy { $0 == .reserved(incarnation: 0) })
    #expect(desk.bucket.block.reserved == 15 && desk.bucket.block.available == 0)
  }

  @Test("a request that would fit waits behind one that came before it")
  func behind() {
    let desk = leased(5)
    desk.wait(1, 9)
    #expect(!desk.spend(1))
    desk.answer(granted: 30)
    #expect(desk.order == [1] && desk.spend(1))
  }

  @Test("pending is asked again after 1, 2, 4, 10, 20, 20 ms, and refused when the request has waited for the lease")
  func pending() {
    let desk = Desk()
    desk.wait(1, 9, until: 100)
    var times: [Int] = []
    while desk.outcomes.isEmpty, times.count < 20 {
      desk.answer(.pending, remaining: 12)
      #expect(desk.asked == nil)
      desk.resume(at: min(desk.wakeAt ?? 100, 100))
      times.append(desk.now)
    }
    #expect(times == [1, 3, 7, 17, 37, 57, 77, 97, 100])
    #expect(desk.outcomes[1] == .refused(CreditRefusal(left: 12, refillMilliseconds: nil)))
  }

  @Test("a refusal is for those that cost more than is left; the next one is asked for")
  func refused() {
    let desk = Desk()
    desk.wait(1, 50)
    desk.wait(2, 8)
    desk.wait(3, 20)
    desk.answer(.refused, granted: 0, remaining: 10, refill: 61_500)
    let refusal = CreditRefusal(left: 10, refillMilliseconds: 61_500)
    #expect(desk.outcomes == [1: .refused(refusal), 3: .refused(refusal)])
    #expect(CreditStanding(refusal) == CreditStanding(remaining: 10, retryAfterSeconds: 62))
    #expect(desk.asked?.need == 8)
    desk.answer(granted: 8, remaining: 10)
    #expect(desk.outcomes[2] == .reserved(incarnation: 0))
  }

  @Test("a refusal is remembered for a second and ends with a change")
  func remembered() {
    let desk = Desk()
    desk.wait(1, 5)
    desk.answer(.refused, remaining: 3)
    desk.wait(2, 5)
    #expect(desk.outcomes[2] == .refused(CreditRefusal(left: 3)) && desk.asked == nil)
    desk.change()
    desk.asked = nil
    desk.wait(3, 5)
    #expect(desk.outcomes[3] == nil)
  }

  @Test("a refusal that was decided before a change is asked again")
  func refusedBeforeChange() {
    let desk = leased(0)
    desk.wait(1, 5)
    desk.change()
    desk.answer(.refused, granted: 0, remaining: 0)
    #expect(desk.outcomes[1] == nil && desk.asked?.need == 5 && desk.asked?.isReturn == true)
    desk.answer(granted: 5, generation: 2, remaining: 5)
    #expect(desk.outcomes[1] == .reserved(incarnation: 0))
  }

  @Test("more is asked for in the background while less than half of what two seconds need is left")
  func background() {
    let desk = leased(20)
    #expect(desk.spend(12) && desk.asked == nil)
    #expect(desk.spend(1))
    let ask = desk.asked
    #expect(ask?.need == 0 && ask?.want == 16 && ask?.isReturn == false && ask?.keep == 20)
    #expect(desk.spend(1), "nobody waits for it")
    desk.answer(granted: 20, settled: 13)
    #expect(desk.spend(1) && desk.asked == nil, "it has brought nothing: not at once again")
    desk.now += CreditBucket<Int>.quietMilliseconds
    #expect(desk.spend(1) && desk.asked != nil)
  }

  @Test("what is wanted follows the use of the last second")
  func want() {
    let desk = leased(10_000)
    for _ in 0..<100 { #expect(desk.spend(30)) }
    desk.tick(at: 1_000)
    #expect(desk.bucket.want == 6_000)
    desk.asked = nil
    desk.tick(at: 2_000)
    #expect(desk.bucket.want == 16)
  }

  @Test("what is left is what was told, less what was spent since")
  func remaining() {
    let desk = leased(20, remaining: 1_000)
    #expect(desk.bucket.remaining == 1_000 && desk.spend(7) && desk.bucket.remaining == 993)
    #expect(Desk().bucket.remaining == nil)
  }

  @Test("waiting requests are served before a recalled block is returned")
  func recalled() {
    let desk = leased(20)
    desk.wait(1, 30)
    desk.answer(granted: 50, isRecalled: true)
    #expect(desk.order == [1])
    // It keeps what is reserved, and asks again after a moment.
    #expect(desk.asked == nil && desk.bucket.block.isFrozen && desk.wakeAt == 1)
    _ = desk.bucket.commit(30, incarnation: 0, at: 0)
    desk.resume(at: 1)
    #expect(desk.asked?.isReturn == true && desk.asked?.keep == 30 && desk.asked?.want == 0)
    #expect(!desk.spend(1))
    desk.answer(granted: 30, settled: 30)
    #expect(!desk.bucket.block.isFrozen)
  }

  @Test(
    "a recall or a change that arrives while a statement is under way is followed by a return",
    arguments: [true, false])
  func changeDuring(_ isRecall: Bool) {
    let desk = leased(20)
    desk.wait(1, 30)
    if isRecall { desk.recall() } else { desk.change() }
    #expect(!desk.spend(1))
    desk.answer(granted: 30, remaining: 30)
    #expect(desk.bucket.block.isFrozen && desk.asked?.isReturn == true && desk.outcomes.isEmpty)
    #expect(desk.asked?.need == 30 && desk.asked?.want == (isRecall ? 0 : 16))
    desk.answer(granted: 30, remaining: 30)
    #expect(desk.order == [1])
  }

  @Test("after a failure a frozen block stays frozen, and requests are unavailable when they have waited long enough")
  func failed() {
    let desk = leased(20)
    desk.wait(1, 30, until: 100)
    desk.fail()
    #expect(desk.outcomes.isEmpty && desk.wakeAt == 20)
    desk.resume(at: 20)
    #expect(desk.asked?.number == 3)
    desk.fail()
    desk.resume(at: 100)
    #expect(desk.outcomes[1] == .unavailable("away"))
    desk.asked = nil
    let frozen = leased(20)
    frozen.recall()
    frozen.fail()
    #expect(!frozen.spend(1))
    frozen.resume(at: 20)
    #expect(frozen.asked?.isReturn == true)
  }

  @Test("a bucket that is gone is said to be gone, and what was reserved of it cannot be taken")
  func gone() {
    let desk = leased(20)
    let (reserved, _) = desk.bucket.reserve(5, at: 0) { 9 }
    #expect(reserved == .reserved(incarnation: 0))
    desk.wait(1, 30)
    desk.answer(.gone)
    #expect(desk.outcomes[1] == .gone)
    let isTaken = desk.bucket.commit(5, incarnation: 0, at: 0)
    #expect(!isTaken)
    #expect(desk.bucket.block == CreditBlock() && desk.bucket.incarnation == 1)
  }

  @Test("at the time of a refill the block is frozen and asked for anew")
  func refill() {
    let desk = Desk()
    desk.wait(1, 2)
    desk.answer(granted: 20, remaining: 20, refill: 500)
    desk.now = 499
    #expect(desk.spend(1))
    desk.now = 500
    desk.asked = nil
    #expect(!desk.spend(1))
    desk.wait(2, 1)
    #expect(desk.asked?.isReturn == true)
  }

  @Test("what costs nothing is admitted with any block, also a frozen or exhausted one")
  func free() {
    let desk = leased(0)
    #expect(desk.spend(0))
    desk.recall()
    #expect(desk.spend(0))
  }

  @Test("what is far above the use of a second is returned, and all of it after an hour without use")
  func surplus() {
    var desk = leased(65)
    desk.tick(at: 500)
    #expect(desk.asked == nil)
    desk = leased(68)
    desk.tick(at: 1_000)
    #expect(desk.asked?.isReturn == true && desk.asked?.want == 16)
    desk.answer(granted: 16)
    desk.tick(at: 2_000)
    #expect(desk.asked == nil)
    desk.tick(at: 2_000 + CreditBucket<Int>.idleMilliseconds)
    #expect(desk.asked?.isReturn == true && desk.asked?.want == 0)
    desk.answer(granted: 0)
    #expect(!desk.bucket.isOver(at: desk.now))
    #expect(desk.bucket.isOver(at: desk.now + CreditBucket<Int>.memoryMilliseconds))
  }

  @Test("a lease with impossible numbers is a failure", arguments: [(-1, 0), (5, 6), (.max, 0)] as [(Int, Int)])
  func impossible(_ granted: Int, _ settled: Int) {
    let desk = Desk()
    desk.wait(1, 1, until: 10)
    desk.answer(granted: granted, settled: settled)
    desk.resume(at: 10)
    #expect(desk.outcomes[1] == .unavailable("PostgreSQL answered an impossible lease"))
  }
}
