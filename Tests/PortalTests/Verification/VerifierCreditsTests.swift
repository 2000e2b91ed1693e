import Foundation
import PortalTesting
import Postgres
import PostgresTesting
import Testing

@testable import Portal

/// A verifier with its ledger, and an account with keys.
private struct Gate {
  let world: World
  let verifier: Verifier
  let account: UUID

  init(_ pool: PostgresPool) async throws {
    world = World(pool)
    var limits = CoherentCacheState<VerifiableKey>.Limits()
    limits.lease = .seconds(600)
    verifier = world.makeVerifier(limits)
    account = try await world.makeAccount()
    _ = try await verifier.clock.now(on: pool)
  }

  private var pool: PostgresPool { world.pool }

  /// A key with credits of its own, if any, in the cache.
  func makeKey(credits: Int?, perMinute: Int? = 1_000, _ mode: RateLimitMode = .fast) async throws -> SecretHash {
    let issued = try await world.makeKey(
      account, KeySettings(name: "Key", scopes: ["a"], rateLimitPerMinute: perMinute, rateLimitMode: mode))
    if let credits { try await give(credits, to: "api_keys", issued.key.id) }
    _ = try await verifier.keys.cache.apply(pool.newestSync())
    guard let hash = world.format.hash(of: issued.secret) else { throw PortalError.notFound }
    return hash
  }

  func giveAccount(_ credits: Int) async throws { try await give(credits, to: "accounts", account) }

  private func give(_ credits: Int, to table: String, _ id: UUID) async throws {
    try await pool.script(
      """
      with bucket as (
        insert into credits (id, account_id, available) values (gen_random_uuid(), '\(account)', \(credits))
        returning id
      )
      update \(table) set credits_id = bucket.id from bucket where \(table).id = '\(id)'
      """)
  }

  func verify(_ hash: SecretHash, cost: Int = 1, credits: Int = 1) async throws -> Verdict {
    try await verifier.verify(VerificationRequest(hash: hash, cost: cost, creditCost: credits))
  }

  /// Ends the verifier's spending, and returns the balances of all buckets, the smallest first.
  func balances() async throws -> [String] {
    await CreditSettler(pool: pool, ledger: verifier.credits, spool: nil, observer: Observer([])).end()
    return try await pool.lines("select available from credits order by available")
  }
}

private func withGate(_ body: (Gate) async throws -> Void) async throws {
  try await withPool { try await body(try await Gate($0)) }
}

@Suite("Verifier, with credits")
struct VerifierCreditsTests {
  @Test("credits are taken to the last one; a refusal takes none and says what is left")
  func lastOne() async throws {
    try await withGate { gate in
      let key = try await gate.makeKey(credits: 40)
      var left = 40
      for cost in [1, 9, 0, 20, 5] {
        let verdict = try await gate.verify(key, credits: cost)
        left -= cost
        #expect(verdict.code == .valid && verdict.credits == CreditStanding(remaining: left))
      }
      for _ in 1...3 {
        let refused = try await gate.verify(key, credits: 6)
        #expect(refused.code == .usageExceeded && refused.credits == CreditStanding(remaining: 5))
      }
      #expect(try await gate.verify(key, credits: 5).isValid)
      #expect(try await gate.verify(key).code == .usageExceeded)
      #expect(try await gate.balances() == ["0"])
    }
  }

  @Test("a key whose credits fit is answered from memory, and one that has to ask is not")
  func cached() async throws {
    try await withGate { gate in
      let key = try await gate.makeKey(credits: 1_000)
      let request = VerificationRequest(hash: key)
      #expect(try await gate.verify(key).isValid)
      let batches = gate.world.pool.statistics.batchCount
      for number in 1...5 {
        let verdict = gate.verifier.verifyCached(request, at: gate.verifier.clock.now)
        #expect(verdict?.code == .valid && verdict?.credits?.remaining == 999 - number)
      }
      let dear = VerificationRequest(hash: key, creditCost: 900)
      #expect(gate.verifier.verifyCached(dear, at: gate.verifier.clock.now) == nil)
      #expect(gate.world.pool.statistics.batchCount == batches)
      #expect(try await gate.verify(key, credits: 900).credits?.remaining == 94)
    }
  }

  @Test(
    "what a limit refuses takes no credit, and what credits refuse takes no limit", arguments: RateLimitMode.allCases)
  func limits(_ mode: RateLimitMode) async throws {
    try await withGate { gate in
      let key = try await gate.makeKey(credits: 10, perMinute: 5, mode)
      for _ in 1...3 {
        #expect(try await gate.verify(key, cost: 2, credits: 11).code == .usageExceeded)
        #expect(try await gate.verify(key, cost: 6, credits: 2).code == .rateLimited)
      }
      let fast = mode == .fast
      #expect(try await gate.verify(key, cost: 6, credits: 11).code == (fast ? .rateLimited : .usageExceeded))
      let verdict = try await gate.verify(key, cost: 5, credits: 4)
      #expect(verdict.code == .valid && verdict.credits?.remaining == 6)
      #expect(try await gate.verify(key, credits: 1).code == .rateLimited)
      #expect(try await gate.balances() == ["6"])
    }
  }

  @Test("a refusal for another reason takes no credits")
  func refused() async throws {
    try await withGate { gate in
      let key = try await gate.makeKey(credits: 10)
      let request = VerificationRequest(hash: key, scopes: ["b"])
      let before = try await gate.verifier.verify(request)
      #expect(before.code == .insufficientScope && before.credits == nil, "it has not asked yet")
      #expect(try await gate.verify(key).isValid)
      #expect(try await gate.verifier.verify(request).credits?.remaining == 9)
      #expect(try await gate.balances() == ["9"])
    }
  }

  @Test("of a key and an account with credits both are taken or none")
  func both() async throws {
    try await withGate { gate in
      try await gate.giveAccount(25)
      let (poor, rich) = (try await gate.makeKey(credits: 9), try await gate.makeKey(credits: 1_000))
      let plain = try await gate.makeKey(credits: nil)
      #expect(try await gate.verify(poor, credits: 5).credits?.remaining == 4)
      #expect(try await gate.verify(poor, credits: 5).code == .usageExceeded)
      #expect(try await gate.verify(rich, credits: 12).credits?.remaining == 8)
      #expect(try await gate.verify(rich, credits: 9).code == .usageExceeded)
      #expect(try await gate.verify(plain, credits: 6).credits?.remaining == 2)
      #expect(try await gate.verify(poor, credits: 2).isValid)
      #expect(try await gate.verify(plain, credits: 1).code == .usageExceeded)
      #expect(try await gate.balances() == ["0", "2", "988"])
    }
  }

  @Test("a batch with a question that cannot be answered at once takes nothing before it is answered")
  func batch() async throws {
    try await withGate { gate in
      let (key, other) = (try await gate.makeKey(credits: 1_000), try await gate.makeKey(credits: 1_000))
      #expect(try await gate.verify(key).isValid)
      _ = try await gate.verifier.keys.value(of: other)
      let questions = [key, key, other].map { VerificationRequest(hash: $0, creditCost: 2) }
      #expect(gate.verifier.verifyCached(questions, at: gate.verifier.clock.now) == nil)
      #expect(gate.verifier.credits.unsettled(isAll: true).spendings.map(\.spent) == [1])
      let verdicts = try await gate.verifier.verify(questions)
      #expect(try verdicts.map { try $0.get().credits?.remaining } == [997, 995, 998])
      let again = gate.verifier.verifyCached(questions, at: gate.verifier.clock.now)
      #expect(again?.map { $0.credits?.remaining } == [993, 991, 996])
      #expect(try await gate.balances() == ["991", "996"])
    }
  }

  @Test("a refusal says when the credits are refilled")
  func refill() async throws {
    try await withGate { gate in
      let key = try await gate.makeKey(credits: 1)
      try await gate.world.pool.script(
        "update credits set refill_interval = 'daily', refill_amount = 5, refill_at = now() + interval '90 seconds'")
      #expect(try await gate.verify(key).isValid)
      let refused = try await gate.verify(key)
      #expect(refused.code == .usageExceeded)
      #expect((80...90).contains(refused.credits?.retryAfterSeconds ?? 0))
    }
  }

  @Test("a change that the log tells of, or that may have been missed, is asked for at once")
  func changed() async throws {
    try await withGate { gate in
      let (key, pool) = (try await gate.makeKey(credits: 1), gate.world.pool)
      #expect(try await gate.verify(key).isValid)
      #expect(try await gate.verify(key).code == .usageExceeded)
      try await pool.script(
        """
        update credits set available = available + 500;
        insert into invalidation_log (kind, credits_id) select 'credits', id from credits
        """)
      let sync = try await pool.newestSync()
      #expect(sync.invalidations.last.map { if case .credits = $0.target { true } else { false } } == true)
      gate.verifier.followCredits(sync, gate.verifier.keys.cache.apply(sync))
      #expect(try await gate.verify(key).credits?.remaining == 499)
      // Spends one, unless the block is frozen.
      let isFrozen = { gate.verifier.verifyCached(VerificationRequest(hash: key), at: gate.verifier.clock.now) == nil }
      #expect(!isFrozen())
      let nothing = SyncResult(head: sync.head, invalidations: [], startedAt: .now)
      gate.verifier.followCredits(nothing, SyncOutcome())
      #expect(!isFrozen())
      gate.verifier.followCredits(nothing, SyncOutcome(isHistoryBroken: true))
      #expect(isFrozen())
      #expect(try await gate.verify(key).credits?.remaining == 496)
    }
  }

  @Test("a key that loses its credits or its bucket is unlimited from then on")
  func removed() async throws {
    try await withGate { gate in
      let key = try await gate.makeKey(credits: 1)
      #expect(try await gate.verify(key).isValid)
      #expect(try await gate.verify(key).code == .usageExceeded)
      try await gate.world.pool.script("update api_keys set credits_id = null; delete from credits")
      _ = try await gate.verifier.keys.cache.apply(gate.world.pool.newestSync())
      let verdict = try await gate.verify(key)
      #expect(verdict.code == .valid && verdict.credits == nil)
    }
  }

  @Test("what a dead process has spent is settled by the next one on its spool, to the last credit")
  func adoption() async throws {
    try await withFolder { folder in
      try await withPool { pool in
        let account = try await World(pool).makeAccount()
        try await pool.script(
          "insert into credits (id, account_id, available) values (gen_random_uuid(), '\(account)', 1000)")
        let bucket = try #require(UUID(uuidString: try await pool.lines("select id from credits")[0]))
        let credits = try #require(KeyCredits(own: bucket, account: nil))
        // Releases its memory and its lock at the end of the scope, and tells nothing.
        do {
          let ledger = CreditLedger(pool: pool, spool: folder, lease: .seconds(5), observer: Observer([]))
          for _ in 0..<11 { #expect(try await ledger.spend(3, of: credits)) }
        }
        let next = CreditLedger(pool: pool, spool: folder, lease: .seconds(5), observer: Observer([]))
        let settler = CreditSettler(pool: pool, ledger: next, spool: folder, observer: Observer([]))
        try await eventually("the process has ended and was adopted") {
          await settler.adopt()
          return try await pool.lines("select available from credits") == ["967"]
        }
        #expect(try await pool.lines("select is_closed from credit_holders") == ["true"])
        #expect(try await next.spend(967, of: credits))
        #expect(try await next.spend(1, of: credits) == false)
        await settler.end()
        #expect(try await pool.lines("select available from credits") == ["0"])
        #expect(try FileManager.default.contentsOfDirectory(atPath: folder + "/credits") == [])
      }
    }
  }
}
