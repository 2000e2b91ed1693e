import Foundation
import PortalTesting
import Postgres
import PostgresTesting
import Testing

@testable import Portal

@Suite("Statements of credits")
struct CreditsStatementsTests {
  @Test("random walks leave the rows, and give the answers, of the reference", arguments: 0..<8)
  func walks(_ seed: Int) async throws {
    var random = SeededGenerator(seed: UInt64(seed))
    try await withPool { pool in
      let accountID = try await World(pool).makeAccount()
      for number in 0..<6 {
        let available = Int.random(in: 0...30, using: &random)
        var walk = try await Walk(
          CreditsDatabase(pool, accountID: accountID, available: available), CreditsReference(available))
        for step in 0..<Int.random(in: 20...120, using: &random) {
          try await walk.step(using: &random)
          let rows = try await walk.database.rows()
          if let difference = walk.difference ?? (rows == walk.reference.rows ? nil : rows) {
            Issue.record(
              "seed \(seed), walk \(number), step \(step): \(difference), and not \(walk.reference.rows)")
            return
          }
        }
      }
    }
  }

  @Test("the cost of a request is granted while there is enough, and what is wanted beyond it only in part")
  func grants() async throws {
    try await withBucket(100) { database in
      let first = try await database.ask(.first(1, need: 10, want: 1_000), by: 0)
      #expect(first == .ok(granted: 25, remaining: 100))
      let second = try await database.ask(.first(1, need: 40), by: 1)
      #expect(second == .ok(granted: 40, remaining: 100))
      let third = try await database.ask(.first(2, need: 80), by: 1)
      #expect(third?.verdict == .pending)
      // What others would give back counts.
      let fourth = try await database.ask(.first(3, need: 101), by: 1)
      #expect(fourth?.verdict == .refused && fourth?.remaining == 100)
    }
  }

  @Test("a refusal is preceded by a recall, of which the channel tells once")
  func recalls() async throws {
    try await withBucket(10) { database in
      _ = try await database.ask(.first(1, need: 10), by: 0)
      let bucketID = database.bucketID
      let connection = try await database.pool.openConnection(deadline: muchTooLong)
      var notifications = try await connection.listen(to: ["latchkey_credits"]).makeAsyncIterator()
      #expect(try await database.ask(.first(1, need: 1), by: 1)?.verdict == .pending)
      #expect(try await notifications.next()?.payload == bucketID.text)
      await connection.close()
      #expect(try await database.settle(3, generation: 0, by: 0)?.isRecalled == true)
      let back = CreditAsk(number: 2, generation: 0, spent: 3, keep: 3, need: 0, want: 0, isReturn: true)
      #expect(
        try await database.ask(back, by: 0)
          == CreditAnswer(
            verdict: .ok, lease: .init(generation: 0, granted: 3, settled: 3, isRecalled: false), remaining: 7))
      #expect(try await database.ask(.first(2, need: 1), by: 1) == .ok(granted: 1, remaining: 7))
    }
  }

  @Test("what a holder may still spend of an older generation is not taken back before it hears of the newer one")
  func changedGeneration() async throws {
    try await withBucket(10) { database in
      _ = try await database.ask(.first(1, need: 4), by: 0)
      #expect(try await database.change(.set, 20) == 20)
      let going = CreditAsk(number: 2, generation: 0, spent: 1, keep: 4, need: 2, want: 0, isReturn: false)
      #expect(
        try await database.ask(going, by: 0)
          == CreditAnswer(
            verdict: .changed, lease: .init(generation: 0, granted: 4, settled: 0, isRecalled: false)))
      let frozen = CreditAsk(number: 3, generation: 0, spent: 4, keep: 4, need: 2, want: 0, isReturn: true)
      #expect(
        try await database.ask(frozen, by: 0)
          == CreditAnswer(
            verdict: .ok, lease: .init(generation: 1, granted: 2, settled: 0, isRecalled: false), remaining: 20))
    }
  }

  @Test("a closed holder leases nothing, and cannot be opened again, also if it was closed before it was opened")
  func closedHolder() async throws {
    try await withBucket(10) { database in
      _ = try await database.ask(.first(1, need: 4), by: 0)
      #expect(try await database.adopt(0, slots: [0: 3]) == 1)
      #expect(try await database.adopt(0, slots: [0: 3]) == 0)
      #expect(try await database.ask(.first(2, need: 1), by: 0)?.verdict == .closed)
      #expect(try await !database.open(0))
      #expect(try await database.adopt(7, slots: [:]) == 0)
      #expect(try await !database.open(7))
      #expect(try await database.change(.increment, 1) == 8)
    }
  }

  @Test("an adoption waits for an ask of the holder that is under way, and settles what it leased")
  func adoptionWaits() async throws {
    try await withBucket(10) { database in
      let (pool, bucketID, holder) = (database.pool, database.bucketID, database.id(0))
      try await pool.withConnection { connection in
        try await connection.executeScript("begin; set local role latchkey_gateway")
        _ = try await connection.query(AskCredits(bucket: bucketID, holder: holder, ask: .first(1, need: 4)))
        async let adopted = pool.query(
          AdoptCredits(holder: holder, buckets: [], generations: [], spents: []), as: .gateway)
        try await eventually("the adoption waits") {
          try await pool.number(
            """
            select count(*) from pg_stat_activity
            where datname = current_database() and wait_event_type = 'Lock' and query like '%adopt_credits%'
            """) > 0
        }
        try await connection.executeScript("commit")
        #expect(try await adopted == [1])
      }
      #expect(try await pool.number("select available from credits") == 10)
    }
  }

  @Test("an instance that beats is heard of, whatever its holder does")
  func heartbeats() async throws {
    try await withBucket(10) { database in
      try await database.hear([])
      let id = database.id(0)
      #expect(try await database.pool.lines("select live_credit_holders()") == [])
      try await database.pool.script(
        "insert into instances (id, name, lease_milliseconds, applied_seq) values ('\(id)', 'one', 60000, 0)")
      #expect(try await database.pool.lines("select live_credit_holders()") == [id.text])
      try await database.pool.script("update instances set heartbeat_at = now() - interval '61 seconds'")
      #expect(try await database.pool.lines("select live_credit_holders()") == [])
      _ = try await database.settle(0, generation: 0, by: 0)
      #expect(try await database.pool.lines("select live_credit_holders()") == [id.text])
    }
  }

  @Test("what a file says cannot make a statement fail, however large or negative it is")
  func extremes() async throws {
    try await withBucket(10) { database in
      _ = try await database.ask(.first(1, need: 4), by: 0)
      for extreme in [Int.min, -1, .max] {
        _ = try await database.settle(extreme, generation: 0, by: 0)
        _ = try await database.settle(1, generation: extreme, by: 0)
      }
      let ask = CreditAsk(
        number: .max, generation: .max, spent: .max, keep: .min, need: .max, want: .max, isReturn: true)
      #expect(try await database.ask(ask, by: 0)?.verdict == .refused)
      #expect(try await database.adopt(0, slots: [0: -5, .max: 1, .min: .max]) == 1)
      #expect(try await database.pool.number("select available from credits") == 10)
      _ = try await database.ask(.first(1, need: 4), by: 1)
      #expect(try await database.adopt(1, slots: [0: .max]) == 1)
      let rows = try await database.pool.lines("select available || ' ' || oversold from credits")
      // Bounded, so that sums do not overflow: 10 of the 10^18 had been available.
      #expect(rows == ["0 999999999999999990"])
    }
  }

  @Test("a bucket that is gone is told so, and takes its leases with it")
  func gone() async throws {
    try await withBucket(10) { database in
      _ = try await database.ask(.first(1, need: 4), by: 0)
      try await database.pool.script("delete from credits")
      #expect(try await database.ask(.first(2, need: 4), by: 0)?.verdict == .gone)
      #expect(try await database.settle(1, generation: 0, by: 0) == nil)
      #expect(try await database.pool.number("select count(*) from credit_leases") == 0)
    }
  }

  @Test("after a thousand changes while a holder is away, the oldest generation brings nothing back")
  func manyGenerations() async throws {
    try await withBucket(10) { database in
      _ = try await database.ask(.first(1, need: 4), by: 0)
      for _ in 0..<1_002 { _ = try await database.change(.decrement, 1_000) }
      let counts = try await database.pool.lines("select cardinality(withheld) || ' ' || generation from credits")
      #expect(counts == ["1000 1002"])
      #expect(try await database.change(.increment, 5) == 5)
      #expect(try await database.adopt(0, slots: [:]) == 1)
      #expect(try await database.change(.increment, 1) == 6)
    }
  }

  @Test("concurrent statements on several buckets neither deadlock nor lose a credit")
  func concurrent() async throws {
    try await withPool { pool in
      let accountID = try await World(pool).makeAccount()
      let buckets = (0..<4).map { _ in UUID.version7() }
      for bucket in buckets {
        try await pool.script(
          "insert into credits (id, account_id, available) values ('\(bucket)', '\(accountID)', 1000)")
      }
      let outcomes = await concurrently(8) { number in
        let holder = UUID.version7()
        #expect(try await pool.query(OpenCreditHolder(holder: holder), as: .gateway) == [true])
        var random = SeededGenerator(seed: UInt64(number))
        var spent = buckets.map { _ in 0 }
        var granted = spent
        for ask in 1...150 {
          let place = Int.random(in: 0..<4, using: &random)
          if Int.random(in: 0..<4, using: &random) == 0 {
            _ = try await pool.query(
              SettleCredits(holder: holder, buckets: buckets, generations: [0, 0, 0, 0], spents: spent), as: .gateway)
            continue
          }
          let isReturn = Bool.random(using: &random)
          let answer = try await pool.query(
            AskCredits(
              bucket: buckets[place], holder: holder,
              ask: CreditAsk(
                number: ask, generation: 0, spent: spent[place], keep: spent[place],
                need: Int.random(in: 0...300, using: &random), want: 10, isReturn: isReturn)), as: .gateway
          ).first
          granted[place] = answer?.lease?.granted ?? granted[place]
          spent[place] += Int.random(in: 0...max(0, granted[place] - spent[place]), using: &random) / 8
        }
        _ = try await pool.query(
          AdoptCredits(holder: holder, buckets: buckets, generations: [0, 0, 0, 0], spents: spent), as: .gateway)
        return spent
      }
      #expect(outcomes.errors.isEmpty, "\(outcomes.errors)")
      for (place, bucket) in buckets.enumerated() {
        let left = try await pool.number("select available from credits where id = '\(bucket)'")
        #expect(left + outcomes.values.map { $0[place] }.reduce(0, +) == 1_000)
      }
      #expect(try await pool.number("select sum(oversold) from credits") == 0)
    }
  }
}

/// Runs `body` with a bucket and two open holders, 0 and 1, that are heard of for as long as the test takes.
private func withBucket(_ available: Int, _ body: (inout CreditsDatabase) async throws -> Void) async throws {
  try await withPool { pool in
    let accountID = try await World(pool).makeAccount()
    var database = try await CreditsDatabase(pool, accountID: accountID, available: available)
    for holder in 0..<2 { #expect(try await database.open(holder)) }
    try await pool.script("update credit_holders set heard_at = now() + interval '1 hour'")
    try await body(&database)
  }
}

extension CreditAsk {
  fileprivate static func first(_ number: Int, need: Int, want: Int = 0) -> CreditAsk {
    CreditAsk(number: number, generation: nil, spent: 0, keep: 0, need: need, want: want, isReturn: false)
  }
}

extension CreditAnswer {
  fileprivate static func ok(granted: Int, remaining: Int) -> CreditAnswer {
    CreditAnswer(
      verdict: .ok, lease: Lease(generation: 0, granted: granted, settled: 0, isRecalled: false), remaining: remaining)
  }
}

/// The same steps in a database and in the reference.
private struct Walk {
  var database: CreditsDatabase
  var reference: CreditsReference
  private(set) var difference: String?
  private var numbers: [Int] = []

  init(_ database: CreditsDatabase, _ reference: CreditsReference) async throws {
    (self.database, self.reference) = (database, reference)
    for _ in 0..<2 { try await begin() }
  }

  private mutating func begin() async throws {
    if try await !database.open(numbers.count) { difference = "\(numbers.count) cannot be opened" }
    reference.live.insert(numbers.count)
    numbers.append(0)
  }

  mutating func step(using random: inout SeededGenerator) async throws {
    let holder = Int.random(in: numbers.indices, using: &random)
    switch Int.random(in: 0..<100, using: &random) {
    case 0..<55: try await ask(by: holder, using: &random)
    case 55..<75: try await settle(by: holder, using: &random)
    case 75..<79: try await adopt(holder, using: &random)
    case 79..<83:
      if !reference.closed.contains(holder), reference.live.remove(holder) == nil { reference.live.insert(holder) }
    case 83..<86: if numbers.count < 7 { try await begin() }
    default: try await change(using: &random)
    }
  }

  private mutating func ask(by holder: Int, using random: inout SeededGenerator) async throws {
    numbers[holder] += Int.random(in: 0...9, using: &random) == 0 && numbers[holder] > 0 ? 0 : 1
    let lease = reference.leases[holder]
    let (settled, granted) = (lease?.settled ?? 0, lease?.granted ?? 0)
    // Seldom more than granted, as after a failover.
    let most = Int.random(in: 0..<14, using: &random) == 0 ? granted + 3 : granted
    let spent = Int.random(in: settled...most, using: &random)
    let keep = Bool.random(using: &random) ? spent : Int.random(in: spent...max(spent, granted), using: &random)
    let generations = [nil, lease?.generation, lease?.generation, reference.generation]
    let ask = CreditAsk(
      number: max(1, numbers[holder] - (Int.random(in: 0..<12, using: &random) == 0 ? 1 : 0)),
      generation: generations[Int.random(in: 0..<4, using: &random)], spent: spent, keep: keep,
      need: Bool.random(using: &random) ? 0 : Int.random(in: 1...6, using: &random),
      want: 3 * Int.random(in: 0...5, using: &random), isReturn: Bool.random(using: &random))
    try await database.hear(reference.live)
    let (found, expected) = (try await database.ask(ask, by: holder), reference.ask(ask, by: holder))
    if found != expected { difference = "\(ask) by \(holder): \(found as Any) instead of \(expected)" }
  }

  private mutating func settle(by holder: Int, using random: inout SeededGenerator) async throws {
    let lease = reference.leases[holder]
    let generation = Bool.random(using: &random) ? lease?.generation ?? 0 : reference.generation
    let spent = Int.random(in: 0...(lease?.granted ?? 0) + 2, using: &random)
    let isRecalled = reference.settle(spent, generation: generation, by: holder)
    let found = try await database.settle(spent, generation: generation, by: holder)
    let after = reference.leases[holder].flatMap { $0.generation == generation ? $0 : nil }
    if found?.settled != after?.settled || found?.isRecalled != after?.isRecalled || isRecalled && found == nil {
      difference = "settling \(spent) by \(holder): \(found as Any)"
    }
  }

  private mutating func adopt(_ holder: Int, using random: inout SeededGenerator) async throws {
    var slots: [Int: Int] = [:]
    if let lease = reference.leases[holder], Int.random(in: 0..<5, using: &random) > 0 {
      slots[lease.generation] = Int.random(in: 0...lease.granted + 2, using: &random)
    }
    if Int.random(in: 0..<3, using: &random) == 0 {
      slots[reference.generation] = Int.random(in: 0...5, using: &random)
    }
    let count = reference.leases[holder] == nil ? 0 : 1
    reference.adopt(holder, slots: slots)
    reference.live.remove(holder)
    if try await database.adopt(holder, slots: slots) != count { difference = "adopting \(holder)" }
  }

  private mutating func change(using random: inout SeededGenerator) async throws {
    let amount = Int.random(in: 1...20, using: &random)
    let remaining: Int?
    switch Int.random(in: 0..<4, using: &random) {
    case 0:
      remaining = try await database.change(.set, amount)
      reference.change(.set(amount))
    case 1:
      remaining = try await database.change(.increment, amount)
      reference.change(.increment(amount))
    case 2:
      remaining = try await database.change(.decrement, amount)
      reference.change(.decrement(amount))
    default:
      remaining = try await database.change(.refill, amount)
      reference.change(.refill(amount))
    }
    if remaining != reference.available + reference.out() { difference = "\(remaining as Any) remaining" }
  }
}
