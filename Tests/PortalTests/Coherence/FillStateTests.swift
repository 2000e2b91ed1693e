import PostgresTesting
import Testing

@testable import Portal

@Suite("FillState")
struct FillStateTests {
  typealias State = FillState<String>

  private var state = State(limits: .init())
  private let start = ContinuousClock.now

  // MARK: Steps

  /// The secrets to be looked up now, by number; nil if the caller waits or is refused.
  private mutating func request(_ number: Int, _ waiter: String, after delay: Duration = .zero) -> [Int]? {
    sent(state.request(.numbered(number), waiter, at: start + delay))
  }

  private mutating func end(
    _ id: UInt64, after delay: Duration = .zero
  ) -> (deliver: [Int: [String]], isTooLate: Bool, send: [Int]?) {
    let action = state.ended(id, at: start + delay)
    let deliver = action.deliver.map { (number($0.hash), $0.waiters.sorted()) }
    return (Dictionary(uniqueKeysWithValues: deliver), action.isTooLate, action.send.map { numbers($0.hashes) })
  }

  private func sent(_ action: State.RequestAction) -> [Int]? {
    if case .send(let batch) = action { numbers(batch.hashes) } else { nil }
  }

  private func isRefused(_ action: State.RequestAction) -> Bool {
    if case .refuse = action { true } else { false }
  }

  private func numbers(_ hashes: [SecretHash]) -> [Int] { hashes.map(number).sorted() }

  private func number(_ hash: SecretHash) -> Int { (0..<2_000).first { .numbered($0) == hash } ?? -1 }

  // MARK: Single flight and batching

  @Test("a secret that is being looked up is not looked up twice; all callers get the result")
  mutating func singleFlight() {
    #expect(request(1, "a") == [1])
    #expect(request(1, "b") == nil)
    #expect(request(1, "c") == nil)
    let (deliver, _, send) = end(1)
    #expect(deliver == [1: ["a", "b", "c"]])
    #expect(send == nil)
    #expect(state.waiterCount == 0)
  }

  @Test("at most two look-ups are in progress; requests that arrive meanwhile go into the next one together")
  mutating func gathering() {
    #expect(request(1, "a") == [1])
    #expect(request(2, "b") == [2])
    #expect(request(3, "c") == nil)
    #expect(request(4, "d") == nil)
    #expect(request(3, "e") == nil)
    let first = end(1)
    #expect(first.deliver == [1: ["a"]])
    #expect(first.send == [3, 4])
    #expect(request(5, "f") == nil)
    let second = end(2)
    #expect(second.deliver == [2: ["b"]])
    #expect(second.send == [5])
    #expect(end(3).deliver == [3: ["c", "e"], 4: ["d"]])
    #expect(end(4).deliver == [5: ["f"]])
    #expect(state.waiterCount == 0)
  }

  @Test("a look-up takes a maximum number of secrets, and the rest go into the next one")
  mutating func batchBound() {
    state = State(limits: .init(batchesInFlightMax: 1, secretsPerBatchMax: 3))
    #expect(request(0, "0") == [0])
    for number in 1...7 { #expect(request(number, "\(number)") == nil) }
    var delivered: [Int: [String]] = [:]
    var id: UInt64 = 1
    var sizes: [Int] = []
    while state.waiterCount > 0 {
      let (deliver, _, send) = end(id)
      delivered.merge(deliver) { one, other in one + other }
      if let send { sizes.append(send.count) }
      id += 1
    }
    #expect(sizes == [3, 3, 1])
    #expect(delivered == Dictionary(uniqueKeysWithValues: (0...7).map { ($0, ["\($0)"]) }))
  }

  // MARK: The lease

  @Test("a request for a look-up that was sent the lease ago joins the next one")
  mutating func joinPastLease() {
    #expect(request(1, "a") == [1])
    #expect(request(1, "b", after: .milliseconds(1_999)) == nil)
    #expect(request(1, "c", after: .seconds(2)) == [1])
    #expect(end(2, after: .milliseconds(2_500)).deliver == [1: ["c"]])
  }

  @Test("a result that is as old as the lease is too late for all its waiters, a younger one is not")
  mutating func tooOld() {
    for (number, delay) in [(1, 1_999), (2, 2_000), (3, 60_000)] {
      #expect(request(number, "a") == [number])
      #expect(request(number, "b") == nil)
      let (deliver, isTooLate, send) = end(UInt64(number), after: .milliseconds(delay))
      #expect(deliver == [number: ["a", "b"]])
      #expect(isTooLate == (delay >= 2_000))
      #expect(send == nil)
      #expect(state.waiterCount == 0)
    }
  }

  // MARK: Bounds

  @Test("a caller beyond the maximum is refused until some have been answered")
  mutating func waiterBound() {
    state = State(limits: .init(waiterCountMax: 3))
    _ = state.request(.numbered(1), "a", at: start)
    _ = state.request(.numbered(1), "b", at: start)
    _ = state.request(.numbered(2), "c", at: start)
    #expect(isRefused(state.request(.numbered(1), "d", at: start)))
    #expect(state.waiterCount == 3)
    #expect(end(1).deliver == [1: ["a", "b"]])
    #expect(!isRefused(state.request(.numbered(1), "e", at: start)))
  }

  @Test("the end of a look-up that has already ended does nothing")
  mutating func endedTwice() {
    _ = request(1, "a")
    _ = end(1)
    let (deliver, _, send) = end(1)
    #expect(deliver == [:])
    #expect(send == nil)
    #expect(state.waiterCount == 0)
  }

  /// No caller may wait for ever or be answered twice: a continuation would leak or trap.
  @Test("whatever happens, every caller is answered exactly once", arguments: 0..<20)
  mutating func everybodyOnce(_ seed: Int) {
    var random = SeededGenerator(seed: UInt64(seed))
    state = State(limits: .init(batchesInFlightMax: 2, secretsPerBatchMax: 3, waiterCountMax: 30))
    var waiting: Set<String> = []
    var running: [UInt64] = []
    var now = start
    func took(_ action: State.EndAction) {
      for waiter in action.deliver.flatMap(\.waiters) { #expect(waiting.remove(waiter) != nil) }
      if let batch = action.send { running.append(batch.id) }
    }
    for step in 0..<500 {
      now += .milliseconds(Int.random(in: 0...700, using: &random))
      if Bool.random(using: &random) {
        let hash = SecretHash.numbered(Int.random(in: 0..<10, using: &random))
        switch state.request(hash, "\(step)", at: now) {
        case .send(let batch):
          running.append(batch.id)
          waiting.insert("\(step)")
        case .wait: waiting.insert("\(step)")
        case .refuse: #expect(waiting.count == 30)
        }
      } else if let index = running.indices.randomElement(using: &random) {
        took(state.ended(running.remove(at: index), at: now))
      }
      #expect(running.count <= 2)
      #expect(state.waiterCount == waiting.count)
    }
    while let id = running.popLast() { took(state.ended(id, at: now)) }
    #expect(waiting.isEmpty)
  }

  @Test("the next statement has the texts of the secrets that it looks up, as far as callers have given them")
  func texts() throws {
    var state = State(limits: .init(batchesInFlightMax: 1))
    let now = ContinuousClock.now
    let text = Secret(presented: "one")
    guard case .send(let first) = state.request(.numbered(1), "a", secret: text, at: now) else {
      Issue.record("the first request is sent at once")
      return
    }
    #expect(first.secrets[.numbered(1)]?.reveal() == "one" && first.secrets.count == 1)
    _ = state.request(.numbered(2), "b", at: now)
    _ = state.request(.numbered(3), "c", secret: Secret(presented: "three"), at: now)
    let next = try #require(state.ended(first.id, at: now).send)
    #expect(Set(next.hashes) == [.numbered(2), .numbered(3)])
    #expect(next.secrets.mapValues { $0.reveal() } == [.numbered(3): "three"])
  }
}
