import PostgresTesting
import Testing

@testable import Portal

/// Several instances that share a limit, and the table through which they exchange counts. An exchange reads the table
/// when it begins and publishes when it ends, so that exchanges cross.
private struct Cluster {
  private struct Exchange {
    let publication: SharedWindow.Publication
    let told: SharedWindow.Pair
  }

  let limit: Int
  var windows: [SharedWindow]
  var allowance: RateLimitAllowance
  private var running: [Exchange?]
  /// By instance, then by index of the fixed window. Others see a row once the exchange that wrote it has ended.
  private var table: [[Int: Int]]
  private(set) var admitted: [Int: Int] = [:]

  init(_ count: Int, limit: Int, seconds: Int) {
    self.limit = limit
    windows = Array(repeating: SharedWindow(milliseconds: seconds * 1_000), count: count)
    running = Array(repeating: nil, count: count)
    table = Array(repeating: [:], count: count)
    allowance = RateLimitAllowance(instanceCount: count)
  }

  mutating func request(_ instance: Int, cost: Int, at now: Int) -> SharedWindow.Fit {
    let fit = windows[instance].fit(cost: cost, limit: limit, allowance, at: now)
    if fit == .fits { admitted[windows[instance].take(cost), default: 0] += cost }
    return fit
  }

  mutating func beginExchange(_ instance: Int) {
    guard running[instance] == nil else { return }
    let publication = windows[instance].publication
    func told(_ index: Int) -> Int {
      table.indices.reduce(0) { $0 + ($1 == instance ? 0 : table[$1][index] ?? 0) }
    }
    running[instance] = Exchange(
      publication: publication,
      told: .init(current: told(publication.index), previous: told(publication.index - 1)))
  }

  mutating func endExchange(_ instance: Int) {
    guard let exchange = running[instance] else { return }
    running[instance] = nil
    let (index, own) = (exchange.publication.index, exchange.publication.own)
    table[instance][index] = max(table[instance][index] ?? 0, own.current)
    table[instance][index - 1] = max(table[instance][index - 1] ?? 0, own.previous)
    windows[instance].exchanged(exchange.publication, others: exchange.told)
  }
}

@Suite("SharedWindow")
struct SharedWindowTests {
  /// The start of a fixed window of ten seconds.
  private let start = 1_800_000_000_000

  @Test(
    "however exchanges cross and windows advance, all instances together exceed the limit by at most 2(n-1)B",
    arguments: 0..<60)
  func bound(_ seed: Int) {
    var random = SeededGenerator(seed: UInt64(seed))
    let count = Int.random(in: 2...5, using: &random)
    let limit = Int.random(in: 1...400, using: &random)
    var cluster = Cluster(count, limit: limit, seconds: 10)
    let block = max(1, limit / (20 * (count - 1)))
    var now = start
    var refusedCount = 0
    // Some seeds flood, some trickle, and some use only two of the instances.
    let pauseMax = [1, 5, 20, 200][seed % 4]
    for _ in 0..<20_000 {
      now += Int.random(in: 0...pauseMax, using: &random)
      let instance =
        seed % 3 == 0 ? Int.random(in: 0..<count, using: &random) % 2 : Int.random(in: 0..<count, using: &random)
      switch Int.random(in: 0..<10, using: &random) {
      case 0: cluster.beginExchange(instance)
      case 1: cluster.endExchange(instance)
      default:
        switch cluster.request(instance, cost: 1, at: now) {
        case .unsure: cluster.beginExchange(instance)
        case .refused: refusedCount += 1
        case .fits: break
        }
      }
    }
    let worst = cluster.admitted.values.max() ?? 0
    #expect(worst <= limit + 2 * (count - 1) * block, "limit \(limit), \(count) instances")
    if limit >= 20 * (count - 1) { #expect(Double(worst) <= 1.1 * Double(limit)) }
    #expect(pauseMax > 5 || refusedCount > 0)
  }

  @Test("a single instance admits exactly the limit without an exchange")
  func alone() {
    var cluster = Cluster(1, limit: 1_000, seconds: 10)
    for _ in 0..<1_000 { #expect(cluster.request(0, cost: 1, at: start) == .fits) }
    #expect(cluster.request(0, cost: 1, at: start) == .refused)
  }

  @Test("an instance may admit a small share of the limit, or one request, before it has to exchange")
  func ahead() {
    for (count, limit, expected) in [(3, 100, 2), (3, 400, 10), (2, 400, 20), (5, 60, 1), (3, 3, 1)] {
      var cluster = Cluster(count, limit: limit, seconds: 10)
      for _ in 0..<expected { #expect(cluster.request(0, cost: 1, at: start) == .fits) }
      #expect(cluster.request(0, cost: 1, at: start) == .unsure)
      cluster.beginExchange(0)
      cluster.endExchange(0)
      #expect(cluster.request(0, cost: 1, at: start) == .fits)
    }
    // A single request that costs more is admitted.
    var cluster = Cluster(3, limit: 100, seconds: 10)
    #expect(cluster.request(0, cost: 50, at: start) == .fits)
    #expect(cluster.request(0, cost: 1, at: start) == .unsure)
  }

  @Test("an exchange brings the others' counts of the current and the previous window")
  func hears() {
    var cluster = Cluster(2, limit: 100, seconds: 10)
    #expect(cluster.request(0, cost: 80, at: start) == .fits)
    for instance in [0, 1] {
      cluster.beginExchange(instance)
      cluster.endExchange(instance)
    }
    _ = cluster.request(1, cost: 1, at: start)
    cluster.beginExchange(1)
    cluster.endExchange(1)
    #expect(cluster.windows[1].window.peek(cost: 0, limit: 100, at: start).remaining == 19)
    // Half of 81 still counts in the middle of the next window.
    #expect(cluster.request(1, cost: 60, at: start + 15_000) == .refused)
    #expect(cluster.request(1, cost: 59, at: start + 15_000) == .fits)
  }

  @Test("extreme counts from other instances or the database do not crash")
  func typedNumbers() {
    let extremes = [0, 1, -1, 100, 1 << 31, 1 << 32, 1 << 53, .max, .max - 1, .min]
    var random = SeededGenerator(seed: 6)
    for _ in 0..<500 {
      var window = SharedWindow(milliseconds: extremes.randomElement(using: &random) ?? 1)
      var now = start
      for _ in 0..<40 {
        let (one, other) = (extremes.randomElement(using: &random) ?? 0, extremes.randomElement(using: &random) ?? 0)
        now += Int.random(in: -100_000...100_000, using: &random)
        let allowance = RateLimitAllowance(instanceCount: Int.random(in: 1...5, using: &random))
        switch Int.random(in: 0..<4, using: &random) {
        case 0: window.decided(index: one, current: other, previous: one)
        case 1: window.exchanged(window.publication, others: .init(current: one, previous: other))
        case 2: _ = window.window.peek(cost: 1_000, limit: 1_000_000, at: now)
        default: if window.fit(cost: 5, limit: 1_000, allowance, at: now) == .fits { window.take(5) }
        }
        _ = (window.isOver(at: now), window.window.decision(false, cost: 1, limit: 10, at: now))
      }
    }
  }

  @Test("while there are no exchanges, the shares of all instances add up to what was left")
  func disconnected() {
    var cluster = Cluster(4, limit: 1_000, seconds: 10)
    cluster.allowance.isConnected = false
    for instance in 0..<4 {
      var count = 0
      while cluster.request(instance, cost: 1, at: start) == .fits { count += 1 }
      #expect(count == 250)
    }
  }

  @Test("released units can be taken again, except those that were published")
  func givesBack() {
    var window = SharedWindow(milliseconds: 10_000)
    let alone = RateLimitAllowance()
    #expect(window.fit(cost: 10, limit: 10, alone, at: start) == .fits)
    let index = window.take(10)
    window.release(4, takenAt: index)
    #expect(window.fit(cost: 4, limit: 10, alone, at: start) == .fits)
    #expect(window.fit(cost: 5, limit: 10, alone, at: start) == .refused)
    window.exchanged(window.publication, others: .init())
    window.release(4, takenAt: index)
    #expect(window.fit(cost: 5, limit: 10, alone, at: start) == .refused)
    // In the next window it counts as the previous one.
    #expect(window.fit(cost: 4, limit: 10, alone, at: start + 10_000) == .fits)
    window.take(4)
    window.release(3, takenAt: index)
    #expect(window.fit(cost: 1, limit: 10, alone, at: start + 10_000) == .refused)
    window.release(4, takenAt: index + 1)
    #expect(window.fit(cost: 4, limit: 10, alone, at: start + 10_000) == .fits)
  }

  @Test(
    "a clock that is set back admits no more, and refuses for at most two windows",
    arguments: [9_000, 15_000, 3_600_000])
  func clockSetBack(_ back: Int) {
    for exchangesBefore in [false, true] {
      var cluster = Cluster(2, limit: 100, seconds: 10)
      func exchange(_ cluster: inout Cluster) {
        // Twice, because an instance may have read the counts just before the other published.
        for instance in [0, 1, 0, 1] {
          cluster.beginExchange(instance)
          cluster.endExchange(instance)
        }
      }
      func flood(_ cluster: inout Cluster, at now: Int) -> Int {
        var count = 0
        for number in 0..<400 {
          switch cluster.request(number % 2, cost: 1, at: start + now) {
          case .fits: count += 1
          case .unsure: exchange(&cluster)
          case .refused: break
          }
        }
        return count
      }
      #expect((100...110).contains(flood(&cluster, at: 2_000)))
      if exchangesBefore { exchange(&cluster) }
      #expect(flood(&cluster, at: 2_500 - back) <= 10, "hardly anything more is admitted")
      // All is forgotten within two windows, except what the other had published in a window that recurs.
      #expect((50...110).contains(flood(&cluster, at: 22_500 - back)))
      #expect(flood(&cluster, at: 23_000 - back) <= 10)
    }
  }

  @Test("a late answer to an exchange counts for the previous window, or not at all")
  func lateAnswer() {
    for (windows, expected) in [(0, 40), (1, 40), (2, 100)] {
      var window = SharedWindow(milliseconds: 10_000)
      _ = window.fit(cost: 1, limit: 100, RateLimitAllowance(), at: start)
      let publication = window.publication
      let later = start + windows * 10_000
      _ = window.fit(cost: 1, limit: 100, RateLimitAllowance(), at: later)
      window.exchanged(publication, others: .init(current: 60, previous: 0))
      #expect(window.window.peek(cost: 0, limit: 100, at: later).remaining == expected)
    }
  }

  @Test(
    "windows of ten years count up to the limit, and forget within two windows", arguments: [1_000, 1_001, 500_000])
  func longWindows(_ limit: Int) {
    let length = RateLimit.windowMillisecondsRange.upperBound
    let year = 365 * 86_400_000
    // The beginning of a window.
    let begin = start / length * length
    var window = SharedWindow(milliseconds: length)
    #expect(window.milliseconds == length)
    #expect(window.fit(cost: limit, limit: limit, RateLimitAllowance(), at: begin + year) == .fits)
    window.take(limit)
    #expect(window.publication.index == begin / length && window.publication.milliseconds == length)
    #expect(window.fit(cost: 1, limit: limit, RateLimitAllowance(), at: begin + length - 1) == .refused)
    // A tenth of it has slid out, but for what is rounded.
    #expect(
      window.fit(cost: limit / 10 - 1, limit: limit, RateLimitAllowance(), at: begin + length + length / 10) == .fits)
    #expect(
      window.fit(cost: limit / 10 + 2, limit: limit, RateLimitAllowance(), at: begin + length + length / 10) == .refused
    )
    #expect(!window.isOver(at: begin + 2 * length - 1) && window.isOver(at: begin + 3 * length))
    #expect(window.fit(cost: limit, limit: limit, RateLimitAllowance(), at: begin + 3 * length) == .fits)
  }
}
