import Foundation
import PortalTesting
import Postgres
import PostgresTesting
import Testing

@testable import Portal

@Suite("Uses of service tokens")
struct ServiceTokenUsesTests {
  private let start = Date(timeIntervalSince1970: 1_800_000_000)

  @Test("a use is recorded at most once per minute")
  func precision() {
    let use = ServiceTokenUse()
    for (after, noted) in [(0.5, 0), (59.9, 0), (60, 60), (61, 60), (119, 60), (500, 500), (400, 500)] {
      use.note(at: start.addingTimeInterval(after))
      #expect(use.seconds == 1_800_000_000 + noted, "\(after)")
    }
  }

  @Test("a use is pending until it is written, and forgotten once its token is no longer cached")
  func pending() {
    let uses = ServiceTokenUses()
    let id = UUID.version7()
    var use: ServiceTokenUse? = uses.use(of: id)
    #expect(uses.use(of: id) === use)
    #expect(uses.pending().isEmpty)
    use?.note(at: start)
    #expect(uses.pending().map(\.seconds) == [1_800_000_000])
    let written = uses.pending()
    use?.note(at: start.addingTimeInterval(60))
    uses.wrote(written)
    #expect(uses.pending().map(\.seconds) == [1_800_000_060])
    use = nil
    // Not forgotten yet, because it is not written.
    #expect(uses.pending().count == 1 && uses.count == 1)
    uses.wrote(uses.pending())
    #expect(uses.pending().isEmpty && uses.count == 0)
  }

  @Test("a written use is kept while a cached token may record another")
  func kept() {
    let uses = ServiceTokenUses()
    let use = uses.use(of: .version7())
    use.note(at: start)
    uses.wrote(uses.pending())
    #expect(uses.pending().isEmpty && uses.count == 1)
    use.note(at: start.addingTimeInterval(3_600))
    #expect(uses.pending().count == 1)
  }

  @Test("the flusher writes later uses of all tokens in one statement and invalidates no cache")
  func flush() async throws {
    try await withPool { pool in
      let world = World(pool)
      let check = ServiceTokenVerifier(pool: pool, lease: .seconds(60), clock: world.clock, observer: Observer([]))
      let flusher = UsageFlusher(
        pool: pool, recorder: UsageRecorder(), tokenUses: check.uses, clock: world.clock, observer: Observer([]))
      let made = [
        try await world.tokens.create(name: "one", permissions: [.verifyKeys], by: World.caller),
        try await world.tokens.create(name: "two", permissions: [.verifyKeys], by: World.caller),
        try await world.tokens.create(name: "unused", permissions: [.verifyKeys], by: World.caller),
      ]
      _ = try await check.tokens.cache.apply(pool.newestSync())
      for token in made.prefix(2) { _ = try await check.find(token.secret) }
      let log = try await pool.number("select count(*) from invalidation_log")
      let statements = pool.statistics.statementCount
      #expect(await flusher.flush())
      // The other statement records the progress of usage.
      #expect(pool.statistics.statementCount == statements + 2)
      let used = try await world.tokens.list().items.map(\.lastUsedAt)
      #expect(used[0] == nil)
      for date in used.dropFirst() { #expect(abs(try #require(date).timeIntervalSinceNow) < 60) }
      #expect(try await pool.number("select count(*) from invalidation_log") == log)
      let before = pool.statistics.statementCount
      _ = try await check.find(made[0].secret)
      #expect(await flusher.flush())
      #expect(pool.statistics.statementCount == before + 1)

      // Another instance has recorded a later use than the fast path of this one.
      try await pool.script("update service_token_activity set last_used_at = '2099-01-01'")
      let now = world.clock.now
      let later = Moment(instant: now.instant, date: now.date.addingTimeInterval(120))
      #expect(check.uses.pending().isEmpty)
      #expect(check.findCached(made[0].secret.hash, for: .verifyKeys, at: later) != nil)
      #expect(check.uses.pending().map(\.id) == [made[0].id])
      #expect(await flusher.flush())
      #expect(check.uses.pending().isEmpty)
      #expect(
        try await pool.number("select count(*) from service_token_activity where last_used_at = '2099-01-01'") == 2)
    }
  }

  @Test("a failed write is tried again and blocks no counters, and neither does a deleted token")
  func failures() async throws {
    try await withPool { pool in
      let world = World(pool)
      let uses = ServiceTokenUses()
      let observations = Observations()
      let flusher = UsageFlusher(
        pool: pool, recorder: UsageRecorder(), tokenUses: uses, observer: Observer([observations.sink]))
      let token = try await world.tokens.create(name: "one", permissions: [.verifyKeys], by: World.caller)
      for id in [token.id, .version7()] { uses.use(of: id).note(at: Date()) }
      try await pool.script("alter table service_token_activity rename to away")
      #expect(await flusher.flush())
      #expect(observations.count { if case .tokenUsesFailed = $0 { true } else { false } } == 1)
      #expect(observations.count { if case .usageFlushFailed = $0 { true } else { false } } == 0)
      #expect(uses.pending().count == 2)
      try await pool.script("alter table away rename to service_token_activity")
      #expect(await flusher.flush())
      #expect(try await world.tokens.list().items.first?.lastUsedAt != nil)
      #expect(uses.pending().isEmpty)
    }
  }
}
