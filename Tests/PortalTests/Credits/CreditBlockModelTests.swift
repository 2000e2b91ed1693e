import PostgresTesting
import Testing

@testable import Portal

/// In every state: the balance by the rows and the files is that by what was admitted and changed, so nothing is sold
/// twice and nothing is lost, and nobody is refused what can be reached. In the end: it can be used up to the last one.
@Suite("CreditBlock against a model")
struct CreditBlockModelTests {
  @Test("random walks with lost, late and repeated statements, kills and changes", arguments: 0..<150)
  func walks(_ seed: Int) {
    var random = SeededGenerator(seed: UInt64(seed))
    var (admittedCount, refusedCount) = (0, 0)
    for number in 0..<20 {
      var world = CreditsWorld(
        Int.random(in: 0...30, using: &random), processes: Int.random(in: 1...4, using: &random))
      for _ in 0..<Int.random(in: 20...800, using: &random) {
        step(&world, using: &random)
        if world.breach != nil { break }
      }
      if world.breach == nil { end(&world, using: &random) }
      if let breach = world.breach {
        Issue.record("seed \(seed), walk \(number): \(breach)")
        return
      }
      admittedCount += world.admittedCount
      refusedCount += world.refusedCount
    }
    #expect(admittedCount > 100 && refusedCount > 20)
  }

  private func step(_ world: inout CreditsWorld, using random: inout SeededGenerator) {
    let alive = world.processes.indices.filter { world.processes[$0].isAlive }
    guard let holder = alive.randomElement(using: &random) else {
      world.begin()
      return
    }
    let amount = Int.random(in: 1...5, using: &random)
    switch Int.random(in: 0..<100, using: &random) {
    case 0..<28: world.request(amount, by: holder)
    case 28..<45:
      let process = world.processes[holder]
      guard process.need > 0 || process.block.mustReturn || amount == 1 else { return }
      // Seldom before the last one is answered.
      guard process.block.awaited == nil || Int.random(in: 0..<8, using: &random) == 0 else { return }
      world.ask(by: holder, want: Bool.random(using: &random) ? 0 : 3 * amount)
    case 45..<62:
      // Mostly in order, mostly answered, seldom lost.
      guard !world.sent.isEmpty else { return }
      let place = Int.random(in: 0..<3, using: &random) == 0 ? world.sent.indices.randomElement(using: &random)! : 0
      if Int.random(in: 0..<12, using: &random) == 0 {
        world.lose(place)
      } else {
        world.execute(
          place, isRepeated: Int.random(in: 0..<8, using: &random) == 0,
          isAnswered: Int.random(in: 0..<8, using: &random) != 0)
      }
    case 62..<76:
      guard let place = world.answers.indices.randomElement(using: &random) else { return }
      world.answer(Bool.random(using: &random) ? place : 0)
    case 76..<80: world.settle(by: holder)
    case 80..<84: world.hear(holder)
    case 84: world.giveUp(by: holder)
    case 85..<88: world.reserve(amount, by: holder)
    case 88..<91: world.decide(by: holder, isAdmitted: Bool.random(using: &random))
    case 91:
      world.kill(holder)
      if Bool.random(using: &random) { world.begin() }
    case 92: world.adopt(Int.random(in: world.processes.indices, using: &random))
    case 93: world.silence(holder, Bool.random(using: &random))
    case 94: world.change(.set(4 * amount))
    case 95: world.change(.increment(amount))
    case 96: world.change(.decrement(3 * amount))
    case 97: world.change(.refill(4 * amount))
    case 98: world.forget(holder)
    default: if world.processes.count < 6 { world.begin() }
    }
  }

  private func end(_ world: inout CreditsWorld, using random: inout SeededGenerator) {
    while !world.sent.isEmpty { world.execute(isAnswered: Bool.random(using: &random)) }
    while !world.answers.isEmpty { world.answer() }
    for holder in world.processes.indices {
      while !world.processes[holder].reserved.isEmpty { world.decide(by: holder, isAdmitted: false) }
      world.silence(holder, false)
      world.adopt(holder)
    }
    world.begin()
    world.comeToRest()
    let last = world.processes.count - 1
    guard world.breach == nil, let balance = world.balance else { return }
    let before = world.admittedCount
    if balance > 0 {
      world.request(balance, by: last)
      world.comeToRest()
      if world.breach == nil, world.admittedCount != before + 1 {
        Issue.record("\(balance) are left and cannot be used")
      }
    }
    let refusedCount = world.refusedCount
    world.request(1, by: last)
    world.comeToRest()
    if world.breach == nil, world.refusedCount == refusedCount { Issue.record("one more was admitted") }
  }
}
