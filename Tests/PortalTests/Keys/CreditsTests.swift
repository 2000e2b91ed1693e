import Foundation
import PortalTesting
import Postgres
import PostgresTesting
import Testing

@testable import Portal

@Suite("Credits of keys and accounts")
struct CreditsTests {
  @Test("a key gets credits, loses them, and each change is an event with its summary and its reason")
  func changes() async throws {
    try await withPool { pool in
      let world = World(pool)
      let account = try await world.makeAccount()
      let key = try await world.makeKey(account).key
      #expect(key.credits == nil)
      let owner = CreditOwner.key(key.id)
      #expect(try await world.change(.set(10), of: owner)?.remaining == 10)
      #expect(try await world.change(.increment(5), of: owner)?.remaining == 15)
      #expect(try await world.change(.decrement(4), of: owner)?.remaining == 11)
      #expect(try await world.change(.decrement(40), of: owner)?.remaining == 0)
      let refill = CreditRefill(.monthly(day: 31), amount: 100)
      let refilled = try await world.change(.settings(remaining: nil, refill: .set(refill)), of: owner)
      #expect(refilled?.remaining == 0 && refilled?.refill == refill && refilled?.refillAt != nil)
      // Changes nothing, and writes nothing.
      #expect(try await world.change(.settings(remaining: nil, refill: .set(refill)), of: owner) == refilled)
      #expect(try await world.keys.find(key.id, of: account).credits == refilled)
      #expect(try await world.keys.list(of: account).items[0].credits == refilled)
      #expect(try await world.change(.settings(remaining: 7, refill: .remove), of: owner)?.refill == nil)
      #expect(try await world.change(.unlimited, of: owner) == nil)
      #expect(try await world.change(.unlimited, of: owner) == nil)
      #expect(
        try await pool.lines("select detail from audit_events where action = 'key.credits_changed' order by seq") == [
          "set to 10", "increment by 5", "decrement by 4", "decrement by 40", "refill to 100 on day 31 of the month",
          "set to 7, no refills", "unlimited",
        ])
      #expect(try await pool.number("select count(*) from credits") == 0)
    }
  }

  @Test("an account's credits are its own, apart from those of its keys")
  func accounts() async throws {
    try await withPool { pool in
      let world = World(pool)
      let account = try await world.makeAccount()
      let key = try await world.makeKey(account).key
      #expect(try await world.change(.set(10), of: .account(account))?.remaining == 10)
      #expect(try await world.keys.find(key.id, of: account).credits == nil)
      #expect(try await world.managed.find(account).credits?.remaining == 10)
      #expect(try await world.managed.list().items.map { $0.credits?.remaining } == [10])
      #expect(try await world.credits.find(of: .account(account), by: World.caller)?.remaining == 10)
      let daily = CreditRefill(.daily, amount: 3)
      let changes = ManagedAccountChanges(
        name: "Other", credits: .settings(remaining: 4, refill: .set(daily)))
      let changed = try await world.managed.update(account, changes, by: World.caller).account
      #expect(changed.account.name == "Other" && changed.credits?.remaining == 4 && changed.credits?.refill == daily)
      #expect(try await world.actions(on: account).contains("account.credits_changed"))
    }
  }

  @Test("a key and an account are created with credits")
  func created() async throws {
    try await withPool { pool in
      let world = World(pool)
      let (id, now) = (UUID.version7(), try await world.keys.now())
      let settings = CreditSettings(remaining: 20, refill: CreditRefill(.daily, amount: 20))
      try await pool.withTransaction(as: .account(id)) { transaction in
        let account = try await world.managed.create(
          ManagedAccountSettings(name: "Widgets"), credits: settings, id: id, by: World.caller, on: transaction)
        #expect(account.credits?.remaining == 20 && account.credits?.refill == settings.refill)
        let issued = try await world.keys.create(
          .plain, credits: CreditSettings(remaining: 3), for: id, by: World.caller, at: now, on: transaction)
        #expect(issued.key.credits?.remaining == 3 && issued.key.credits?.refill == nil)
        #expect(issued.key.credits?.id != account.credits?.id)
      }
      #expect(try await world.managed.find(id).credits?.remaining == 20)
    }
  }

  @Test("a key's settings and credits change together, or not at all")
  func updated() async throws {
    try await withPool { pool in
      let world = World(pool)
      let account = try await world.makeAccount()
      let key = try await world.makeKey(account).key
      let changes = KeyChanges(name: "Other", credits: .set(3))
      let changed = try await world.keys.update(key.id, of: account, changes, by: World.caller).key
      #expect(changed.name == "Other" && changed.credits?.remaining == 3)
      let free = try await world.makeKey(account).key
      let refill = CreditChange.settings(remaining: nil, refill: .set(CreditRefill(.daily, amount: 1)))
      await #expect(throws: PortalError.creditsUnlimited) {
        try await world.keys.update(
          free.id, of: account, KeyChanges(name: "Other", credits: refill), by: World.caller)
      }
      #expect(try await world.keys.find(free.id, of: account) == free)
    }
  }

  @Test("a key, its predecessor in the grace, and its successor draw from one balance")
  func rolled() async throws {
    try await withPool { pool in
      let world = World(pool)
      let account = try await world.makeAccount()
      let key = try await world.makeKey(account).key
      _ = try await world.change(.set(10), of: .key(key.id))
      let rolled = try await world.keys.roll(key.id, of: account, graceSeconds: 60, by: World.caller)
      let successor = rolled.successor.key
      #expect(successor.credits == rolled.predecessor.credits && successor.credits?.remaining == 10)
      _ = try await world.change(.decrement(4), of: .key(successor.id))
      #expect(try await world.keys.find(key.id, of: account).credits?.remaining == 6)
      _ = try await world.change(.unlimited, of: .key(key.id))
      #expect(try await world.keys.find(successor.id, of: account).credits == nil)
      // And from one that either of them gets.
      _ = try await world.change(.set(5), of: .key(successor.id))
      #expect(try await world.keys.find(key.id, of: account).credits?.remaining == 5)
      let other = try await world.makeKey(account).key
      #expect(try await world.keys.find(other.id, of: account).credits == nil)
    }
  }

  @Test("what cannot be changed is refused, and nothing is written")
  func refused() async throws {
    try await withPool { pool in
      let world = World(pool)
      let account = try await world.makeAccount()
      let key = try await world.makeKey(account).key
      let owner = CreditOwner.key(key.id)
      let events = try await world.actions(on: account).count
      for change in [CreditChange.increment(1), .decrement(1), .settings(remaining: nil, refill: .remove)] {
        await #expect(throws: PortalError.creditsUnlimited) { try await world.change(change, of: owner) }
      }
      for owner in [CreditOwner.key(.version7()), .account(.version7())] {
        await #expect(throws: PortalError.notFound) { try await world.change(.set(1), of: owner) }
      }
      let stranger = Caller(actor: .token(id: .version7(), name: "t"), environment: .test)
      await #expect(throws: PortalError.notFound) { try await world.change(.set(1), of: owner, by: stranger) }
      #expect(try await world.actions(on: account).count == events)
      _ = try await world.change(.set(CreditBalance.amountMax), of: owner)
      let tooMany = "would make more than \(CreditBalance.amountMax) credits"
      await #expect(throws: PortalError.invalid(.creditValue, tooMany)) {
        try await world.change(.increment(1), of: owner)
      }
      #expect(try await world.change(.increment(0), of: owner)?.remaining == CreditBalance.amountMax)
      _ = try await world.keys.revoke(key.id, of: account, by: World.caller)
      await #expect(throws: PortalError.keyNotActive) { try await world.change(.set(1), of: owner) }
    }
  }

  @Test("of twenty concurrent changes none is lost")
  func races() async throws {
    try await withPool { pool in
      let world = World(pool)
      let account = try await world.makeAccount()
      let key = try await world.makeKey(account).key
      _ = try await world.change(.set(1_000), of: .key(key.id))
      for _ in 0..<5 {
        let before = try await world.keys.find(key.id, of: account).credits?.remaining ?? 0
        let outcomes = await concurrently(20) { number in
          try await world.change(number.isMultiple(of: 2) ? .increment(7) : .decrement(3), of: .key(key.id))?.remaining
        }
        #expect(outcomes.errors.isEmpty)
        let after = try await world.keys.find(key.id, of: account).credits?.remaining ?? 0
        #expect(after == before + 40)
        // Each was told a balance that there was: the last one the final.
        #expect(outcomes.values.contains(after))
      }
      // Concurrent gifts to a key without credits make one bucket.
      _ = try await world.change(.unlimited, of: .key(key.id))
      let outcomes = await concurrently(20) { _ in try await world.change(.set(5), of: .key(key.id))?.remaining }
      #expect(outcomes.values.allSatisfy { $0 == 5 } && outcomes.errors.isEmpty)
      #expect(try await pool.number("select count(*) from credits") == 1)
    }
  }

  @Test("changes by people are in the invalidation log; leases, settlements and refills are not")
  func logged() async throws {
    try await withPool { pool in
      let world = World(pool)
      let account = try await world.makeAccount()
      _ = try await world.change(.set(10), of: .account(account))
      let bucket = try #require(try await world.managed.find(account).credits?.id)
      let holder = UUID.version7()
      try await pool.script("delete from invalidation_log")
      _ = try await pool.query(OpenCreditHolder(holder: holder), as: .gateway)
      let ask = CreditAsk(number: 1, generation: nil, spent: 0, keep: 0, need: 4, want: 0, isReturn: false)
      _ = try await pool.query(AskCredits(bucket: bucket, holder: holder, ask: ask), as: .gateway)
      _ = try await pool.query(
        SettleCredits(holder: holder, buckets: [bucket], generations: [0], spents: [4]), as: .gateway)
      try await pool.script(
        """
        update credits set refill_interval = 'daily', refill_amount = 20, refill_at = now() - interval '2 minutes'
        """)
      #expect(try await pool.query(RefillOverdueCredits(count: 10), as: .jobs) == [1])
      #expect(try await pool.number("select count(*) from invalidation_log") == 0)
      for change in [
        CreditChange.set(9), .increment(1), .decrement(2), .settings(remaining: nil, refill: .remove), .unlimited,
      ] {
        _ = try await world.change(change, of: .account(account))
      }
      #expect(
        try await pool.lines("select concat_ws(' ', kind, credits_id) from invalidation_log where kind = 'credits'")
          == Array(repeating: "credits \(bucket.text)", count: 5))
    }
  }

  // MARK: Reading

  @Test("a balance is read after the holders have settled twice, the second time knowing that they were asked")
  func exact() async throws {
    try await withPool { pool in
      let world = World(pool)
      let account = try await world.makeAccount()
      _ = try await world.change(.set(10), of: .account(account))
      let bucket = try #require(try await world.managed.find(account).credits?.id)
      let holder = try await lease(6, of: bucket, pool)
      let reading = Task { try await CreditReadings(pool: pool, timeout: muchTooLong).read(bucket, of: account) }
      try await eventually("the holder is asked") { try await pool.number("select asked from credit_leases") == 1 }
      func settle(_ spent: Int) async throws -> SettledCredit? {
        try await pool.query(
          SettleCredits(holder: holder, buckets: [bucket], generations: [0], spents: [spent]), as: .gateway
        ).first
      }
      // It may have been made before the question.
      #expect(try await settle(1)?.isAsked == true)
      #expect(try await pool.number("select answered from credit_leases") == 0)
      #expect(try await settle(2)?.isAsked == false)
      let balance = try await reading.value
      #expect(balance?.remaining == 8 && balance?.held == 0)
      #expect(try await world.managed.list().items[0].credits?.remaining == 8)
    }
  }

  @Test("what instances have set aside that do not answer, or that nobody hears of, is told apart")
  func held() async throws {
    try await withPool { pool in
      let world = World(pool)
      let account = try await world.makeAccount()
      _ = try await world.change(.set(100), of: .account(account))
      let bucket = try #require(try await world.managed.find(account).credits?.id)
      _ = try await lease(6, of: bucket, pool)
      let dead = try await lease(10, of: bucket, pool)
      try await pool.script("update credit_holders set heard_at = now() - interval '1 minute' where id = '\(dead)'")
      let started = ContinuousClock.now
      let balance = try await CreditReadings(pool: pool, timeout: .milliseconds(50)).read(bucket, of: account)
      #expect(balance?.remaining == 100 && balance?.held == 16)
      #expect(ContinuousClock.now - started >= .milliseconds(50))
      // The one that is not heard of is not waited for.
      try await pool.script("delete from credit_leases where holder_id <> '\(dead)'")
      let later = try await CreditReadings(pool: pool, timeout: muchTooLong).read(bucket, of: account)
      #expect(later?.remaining == 94 && later?.held == 10)
    }
  }

  /// A new holder with so much of a bucket, which is heard of for an hour.
  private func lease(_ amount: Int, of bucket: UUID, _ pool: PostgresPool) async throws -> UUID {
    let holder = UUID.version7()
    _ = try await pool.query(OpenCreditHolder(holder: holder), as: .gateway)
    try await pool.script("update credit_holders set heard_at = now() + interval '1 hour' where id = '\(holder)'")
    let ask = CreditAsk(number: 1, generation: nil, spent: 0, keep: 0, need: amount, want: 0, isReturn: false)
    let answer = try await pool.query(AskCredits(bucket: bucket, holder: holder, ask: ask), as: .gateway).first
    #expect(answer?.lease?.granted == amount)
    return holder
  }

  // MARK: Refills

  @Test("PostgreSQL's next refill is the calendar's, over two years, on every day of the month")
  func calendar() async throws {
    try await withPool { pool in
      for (calendar, interval, day) in [(RefillCalendar.daily, "daily", 1)]
        + [1, 28, 29, 30, 31].map({ (.monthly(day: $0), "monthly", $0) })
      {
        // 2023 and 2024, with its leap day, in steps that meet midnight and its neighbours.
        let found = try await pool.lines(
          """
          select extract(epoch from next_credit_refill('\(interval)', \(day), at))::bigint
          from generate_series('2023-01-01 00:00Z'::timestamptz, '2024-12-31 23:59Z', interval '8 hours') at
          order by at
          """)
        let start = 1_672_531_200
        let expected = stride(from: start, to: start + 731 * 86_400, by: 28_800).map { second in
          calendar.next(after: Date(timeIntervalSince1970: Double(second))).map { "\(Int($0.timeIntervalSince1970))" }
        }
        #expect(found == expected.compactMap(\.self) && found.count == 731 * 3, "\(calendar)")
      }
      #expect(try await pool.text("select next_credit_refill('daily', null, '9999-12-31 12:00Z')") == nil)
      #expect(try await pool.text("select next_credit_refill('monthly', 31, '9999-12-31 00:00Z')") == nil)
    }
  }

  @Test("a refill that is due is done once, by whoever comes first, and moves to the next time after now")
  func lazy() async throws {
    try await withPool { pool in
      let world = World(pool)
      let account = try await world.makeAccount()
      let owner = CreditOwner.account(account)
      let refill = CreditRefill(.monthly(day: 31), amount: 50)
      _ = try await world.change(.settings(remaining: 10, refill: .set(refill)), of: owner)
      let bucket = try #require(try await world.managed.find(account).credits?.id)
      // Away for three months.
      try await pool.script("update credits set refill_at = now() - interval '92 days'")
      // A list does not refill, but tells the balance after the refill.
      #expect(try await world.managed.list().items[0].credits?.remaining == 50)
      #expect(try await pool.number("select available from credits") == 10)
      let holder = UUID.version7()
      _ = try await pool.query(OpenCreditHolder(holder: holder), as: .gateway)
      let outcomes = await concurrently(5) { number in
        let ask = CreditAsk(
          number: number + 1, generation: nil, spent: 0, keep: 0, need: 0, want: 0, isReturn: false)
        return try await pool.query(AskCredits(bucket: bucket, holder: holder, ask: ask), as: .gateway).first
      }
      #expect(outcomes.errors.isEmpty)
      #expect(outcomes.values.allSatisfy { $0?.lease.map { $0.generation == 1 } ?? true })
      #expect(try await pool.number("select count(*) from credits where available = 50 and refill_at > now()") == 1)
      #expect(outcomes.values.contains { ($0?.refillMilliseconds ?? 0) > 0 })
      // It does not lower what is there, and a change does it before.
      _ = try await world.change(.increment(60), of: owner)
      try await pool.script("update credits set refill_at = now() - interval '1 second'")
      #expect(try await world.change(.decrement(100), of: owner)?.remaining == 10)
      try await pool.script("update credits set refill_at = now() - interval '1 second'")
      #expect(try await world.change(.decrement(20), of: owner)?.remaining == 30)
    }
  }

  @Test("the job refills what nobody uses, but only what has been due for a minute")
  func refillJob() async throws {
    try await withPool { pool in
      let world = World(pool)
      let account = try await world.makeAccount()
      let refill = CreditRefill(.daily, amount: 50)
      for number in 0..<3 {
        let key = try await world.makeKey(account).key.id
        _ = try await world.change(.settings(remaining: number, refill: .set(refill)), of: .key(key))
      }
      try await pool.script(
        "update credits set refill_at = now() - interval '30 seconds' - available * interval '1 minute'")
      let run = JobRun(name: "refills", pool: pool, caller: World.caller)
      #expect(try await run.refillCredits() == 2)
      #expect(try await pool.lines("select available from credits order by 1") == ["0", "50", "50"])
    }
  }

  // MARK: Forgiving

  @Test("the leases of a holder that has long been silent come back, with an event that tells how much")
  func forgiven() async throws {
    try await withPool { pool in
      let world = World(pool)
      let account = try await world.makeAccount()
      _ = try await world.change(.set(100), of: .account(account))
      let bucket = try #require(try await world.managed.find(account).credits?.id)
      let holder = try await lease(30, of: bucket, pool)
      _ = try await pool.query(
        SettleCredits(holder: holder, buckets: [bucket], generations: [0], spents: [10]), as: .gateway)
      let other = try await lease(5, of: bucket, pool)
      try await pool.script("update credit_holders set heard_at = now() - interval '2 hours' where id = '\(holder)'")
      let run = JobRun(name: "credits", pool: pool, caller: Caller(actor: .job(name: "credits")))
      // An hour in which nobody could be heard is not a holder's silence: three runs have to agree.
      for expected in [0, 0, 1, 0] { #expect(try await run.tendCredits(CreditSilence()) == expected) }
      #expect(try await pool.number("select available from credits") == 85)
      #expect(
        try await pool.lines("select detail from audit_events where action = 'credits.forgiven'")
          == ["20 that the silent instance \(holder.text) had set aside"])
      // It comes back after all: what it had spent of the forgiven lease is taken from what is available.
      let ask = CreditAsk(number: 2, generation: 0, spent: 30, keep: 30, need: 0, want: 0, isReturn: true)
      let answer = try await pool.query(AskCredits(bucket: bucket, holder: holder, ask: ask), as: .gateway).first
      #expect(answer?.lease == CreditAnswer.Lease(generation: 0, granted: 30, settled: 30, isRecalled: false))
      #expect(try await pool.number("select available from credits") == 65)
      #expect(try await pool.number("select oversold from credits") == 0)
      #expect(try await world.credits.forgive(CreditSilence(seconds: 60, runCount: 0), by: World.caller) == 0)
      #expect(try await pool.number("select granted from credit_leases where holder_id = '\(other)'") == 5)
    }
  }

  @Test("holders that answer again are not counted as silent, and old ones without leases are deleted")
  func holders() async throws {
    try await withPool { pool in
      let world = World(pool)
      let account = try await world.makeAccount()
      _ = try await world.change(.set(100), of: .account(account))
      let bucket = try #require(try await world.managed.find(account).credits?.id)
      let holder = try await lease(30, of: bucket, pool)
      let run = JobRun(name: "credits", pool: pool, caller: World.caller)
      try await pool.script("update credit_holders set heard_at = now() - interval '2 hours'")
      for _ in 0..<2 { #expect(try await run.tendCredits(CreditSilence()) == 0) }
      try await pool.script(
        "insert into instances (id, name, lease_milliseconds, applied_seq) values ('\(holder)', 'one', 60000, 0)")
      #expect(try await run.tendCredits(CreditSilence()) == 0)
      #expect(try await pool.number("select silent_count from credit_holders") == 0)
      // The instance is gone, and when it was last heard of is known.
      try await pool.script("delete from instances; update credit_leases set settled = granted")
      #expect(
        try await pool.number("select count(*) from credit_holders where heard_at > now() - interval '1 hour'") == 1)
      try await pool.script("update credit_holders set heard_at = now() - interval '31 days'")
      #expect(try await run.tendCredits(CreditSilence()) == 0)
      #expect(try await pool.number("select count(*) from credit_leases") == 0)
      #expect(try await pool.number("select count(*) from credit_holders") == 0)
    }
  }

  // MARK: Isolation

  @Test("staff change credits of the account that they named, members none, and an instance only leases")
  func roles() async throws {
    try await withPool { pool in
      let world = World(pool)
      let (one, other) = (
        try await world.makeAccount("ada@example.com"), try await world.makeAccount("bob@example.com")
      )
      let key = try await world.makeKey(one).key
      _ = try await world.change(.set(10), of: .account(one))
      let bucket = try #require(try await world.managed.find(one).credits?.id)
      let before = try await pool.lines("select t::text from credits t")
      func changes(as settings: PostgresSettings) async throws -> Int {
        var count = try await pool.execute(DeleteCredits(accountID: one, bucketID: bucket), as: settings)
        count += try await pool.execute(SetAccountCredits(accountID: one, bucketID: bucket), as: settings)
        count += try await pool.execute(
          SetKeyCredits(accountID: one, keyID: key.id, bucketID: bucket), as: settings)
        count += try await pool.query(
          ForgiveCredits(accountID: one, silence: CreditSilence(seconds: 0, runCount: 0)), as: settings
        ).count
        return count
      }
      for settings in [PostgresSettings.staff, .staff(in: other)] {
        #expect(try await changes(as: settings) == 0)
        #expect(
          try await pool.query(
            ChangeCredits(accountID: one, bucketID: bucket, operation: .set, amount: 1), as: settings
          ).allSatisfy { $0.remaining == nil })
        let insert = InsertCredits(accountID: one, id: .version7(), settings: CreditSettings(remaining: 1))
        await #expect(throws: PostgresError.self) { try await pool.execute(insert, as: settings) }
      }
      for operation in [ChangeCredits.Operation.set, .increment] {
        await #expect(throws: PostgresError.self) {
          try await pool.query(
            ChangeCredits(accountID: one, bucketID: bucket, operation: operation, amount: 1), as: .account(one))
        }
      }
      await #expect(throws: PostgresError.self) {
        try await pool.execute(DeleteCredits(accountID: one, bucketID: bucket), as: .account(one))
      }
      await #expect(throws: PostgresError.self) {
        try await pool.execute(DeleteCredits(accountID: one, bucketID: bucket), as: .gateway)
      }
      #expect(try await pool.lines("select t::text from credits t") == before)
    }
  }
}

extension World {
  /// Changes credits as a request without an idempotency key does.
  @discardableResult
  func change(
    _ change: CreditChange, of owner: CreditOwner, by caller: Caller = World.caller
  ) async throws -> CreditBalance? {
    let account = try await credits.settledAccountID(of: owner, by: caller)
    return try await pool.withTransaction(as: .account(account)) {
      try await credits.change(change, of: owner, in: account, by: caller, on: $0)
    }
  }
}
