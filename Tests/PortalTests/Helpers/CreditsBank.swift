import Foundation
import PostgresTesting
import Synchronization

@testable import Portal

/// The database's side of a few buckets, for ledgers without PostgreSQL. Each statement is executed at once and
/// answered a moment later, and whoever is recalled is told.
final class CreditsBank: Sendable {
  fileprivate struct State {
    var buckets: [UUID: CreditsReference] = [:]
    /// The numbers of holders, in the order in which they first asked.
    var holders: [UUID] = []
    var ledgers: [UUID: CreditLedger] = [:]
    var opened: [UUID] = []
    var failureCount = 0
    var random: SeededGenerator?
    var askCount = 0
  }

  private let state = Mutex(State())

  /// With a seed, statements are delayed, and some of them, or their answers, are lost.
  init(_ buckets: [UUID: Int], seed: Int? = nil) {
    state.withLock { state in
      state.buckets = buckets.mapValues { CreditsReference($0) }
      state.random = seed.map { SeededGenerator(seed: UInt64($0)) }
    }
  }

  /// A process that leases of these buckets.
  func makeLedger(spool: String? = nil, lease: Duration = .seconds(5)) -> CreditLedger {
    let holder = UUID.version7()
    let ledger = CreditLedger(
      holder: holder, spool: spool, lease: lease,
      open: { id in
        self.state.withLock { state in
          state.opened.append(id)
          return !state.closes(id)
        }
      },
      ask: { bucket, holder, ask in try await self.ask(bucket, holder, ask) })
    state.withLock { state in
      state.ledgers[holder] = ledger
      let number = state.number(of: holder)
      for id in state.buckets.keys { state.buckets[id]?.live.insert(number) }
    }
    return ledger
  }

  private enum Fate { case answered, lost, unanswered }

  /// What becomes of the next statement, and how many times it and its answer yield to others.
  private func nextFate() -> (fate: Fate, delays: (Int, Int)) {
    state.withLock { state in
      guard state.random != nil else { return (.answered, (0, 1)) }
      let number = Int.random(in: 0..<20, using: &state.random!)
      let delays = (Int.random(in: 0..<20, using: &state.random!), Int.random(in: 0..<20, using: &state.random!))
      return (number == 0 ? .lost : number == 1 ? .unanswered : .answered, delays)
    }
  }

  private func ask(_ bucket: UUID, _ holder: UUID, _ ask: CreditAsk) async throws -> CreditAnswer {
    let (fate, delays) = nextFate()
    for _ in 0..<delays.0 { await Task.yield() }
    if fate == .lost { throw PortalError.unavailable(reason: "lost") }
    let (answer, recalled) = try state.withLock { state -> (CreditAnswer, [CreditLedger]) in
      state.askCount += 1
      if state.failureCount > 0 {
        state.failureCount -= 1
        throw PortalError.unavailable(reason: "the bank is closed")
      }
      let number = state.number(of: holder)
      guard let answer = state.buckets[bucket]?.ask(ask, by: number) else { return (CreditAnswer(verdict: .gone), []) }
      guard answer.verdict == .pending else { return (answer, []) }
      let others = state.buckets[bucket]?.leases.filter { $0.value.isRecalled }.keys.map { state.holders[$0] } ?? []
      return (answer, others.compactMap { state.ledgers[$0] })
    }
    for ledger in recalled { ledger.recalled(bucket) }
    for _ in 0..<delays.1 { await Task.yield() }
    if fate == .unanswered { throw PortalError.unavailable(reason: "the answer was lost") }
    return answer
  }

  /// The next statements fail without being executed.
  func failNext(_ count: Int) { state.withLock { $0.failureCount = count } }

  func change(_ bucket: UUID, _ change: CreditsReference.Change) {
    let ledgers = state.withLock { state in
      state.buckets[bucket]?.change(change)
      return Array(state.ledgers.values)
    }
    for ledger in ledgers { ledger.changed(bucket) }
  }

  /// Lets ledgers that nothing else uses end, as processes do.
  func forgetLedgers() { state.withLock { $0.ledgers = [:] } }

  func remove(_ bucket: UUID) { state.withLock { $0.buckets[bucket] = nil } }

  /// Settles what a process says that it has spent, and closes it.
  func close(_ holder: UUID, _ spendings: [CreditSlots.Spending]) {
    state.withLock { state in
      let number = state.number(of: holder)
      for id in state.buckets.keys {
        let slots = spendings.filter { $0.bucket == id }.map { ($0.generation, $0.spent) }
        state.buckets[id]?.adopt(number, slots: Dictionary(slots) { max($0, $1) })
        state.buckets[id]?.live.remove(number)
      }
    }
  }

  var openedHolders: [UUID] { state.withLock { $0.opened } }
  var askCount: Int { state.withLock { $0.askCount } }

  /// The balance, with what holders have not spent by what they have settled.
  func balance(_ bucket: UUID) -> Int? { state.withLock { $0.buckets[bucket].map { $0.available + $0.out() } } }

  func oversold(_ bucket: UUID) -> Int? { state.withLock { $0.buckets[bucket]?.oversold } }
}

extension CreditsBank.State {
  fileprivate mutating func number(of holder: UUID) -> Int {
    if let number = holders.firstIndex(of: holder) { return number }
    holders.append(holder)
    return holders.count - 1
  }

  fileprivate mutating func closes(_ holder: UUID) -> Bool {
    let number = number(of: holder)
    return buckets.values.contains { $0.closed.contains(number) }
  }
}

extension CreditLedger {
  /// Spends as a verdict does; true if the cost was taken.
  func spend(_ cost: Int, of credits: KeyCredits) async throws -> Bool {
    switch reserve(credits, cost: cost, at: .now) {
    case .reserved(let reservation):
      _ = commit(reservation, at: .now)
      return true
    case .refused: return false
    case .unsure: break
    }
    guard case .reserved(let reservation) = try await reserveWaiting(credits, cost: cost) else { return false }
    _ = commit(reservation, at: .now)
    return true
  }
}
