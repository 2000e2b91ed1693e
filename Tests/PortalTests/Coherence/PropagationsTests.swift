import Foundation
import PortalTesting
import Postgres
import Testing

@testable import Portal

@Suite("Propagations")
struct PropagationsTests {
  /// Otherwise "0 of 0" would read as if all instances had acknowledged.
  @Test("when the database cannot be reached, the receipt does not claim that all instances have acknowledged")
  func unknown() async throws {
    try await PostgresPool.with(PostgresConfiguration(url: "host=/nowhere user=postgres")) { pool in
      let propagation = await Propagations(pool: pool).wait(since: .now)
      #expect(propagation.acknowledged < propagation.instances)
    }
  }

  // MARK: Acknowledgements

  private func heartbeat(_ pool: PostgresPool, _ applied: LogPosition?) async throws {
    try await pool.execute(Heartbeat(id: .numbered(1), name: "one", lease: .seconds(60), applied: applied))
  }

  private func appliedSeq(_ pool: PostgresPool) async throws -> Int {
    try await pool.number("select applied_seq from instances")
  }

  @Test("an applied position counts only if it is on the history of the server that is asked")
  func proof() async throws {
    try await withPool { pool in
      let world = World(pool)
      let account = try await world.makeAccount()
      try await world.makeKey(account)
      let head = try await pool.newestSync().head
      try await heartbeat(pool, nil)
      #expect(try await appliedSeq(pool) == -1)
      try await heartbeat(pool, head)
      #expect(try await appliedSeq(pool) == head.seq)
      try await heartbeat(pool, LogPosition(epoch: head.epoch, seq: head.seq, mark: .numbered(7)))
      #expect(try await appliedSeq(pool) == -1)
      _ = try await world.makeKeys(2, account)
      try await heartbeat(pool, head)
      #expect(try await appliedSeq(pool) == head.seq, "the row after it follows its mark")
      try await heartbeat(pool, LogPosition(epoch: head.epoch, seq: head.seq, mark: .numbered(7)))
      #expect(try await appliedSeq(pool) == -1)
      try await heartbeat(pool, LogPosition(epoch: head.epoch, seq: 1_000_000, mark: head.mark))
      #expect(try await appliedSeq(pool) == -1)
    }
  }

  /// After a reconnect, the sync of the lost connection may end last.
  @Test("a sync that ends late and is not taken acknowledges nothing, and the next one that is taken does")
  func lateSync() async throws {
    try await withPool { pool in
      let world = World(pool)
      let account = try await world.makeAccount()
      let cache = CoherentCache<Thing>(.init())
      let instance = Instance(name: "one", lease: .seconds(60))
      func sync(_ cache: CoherentCache<Thing>) async throws -> Bool {
        var isTaken = false
        try await pool.withConnection { connection in
          try await instance.sync(on: connection, rowsMax: 100) { result in
            let outcome = cache.apply(result)
            isTaken = outcome.isTaken
            return outcome
          }
        }
        return isTaken
      }
      let first = try await pool.newestSync().head
      #expect(try await sync(cache))
      #expect(instance.appliedSeq == first.seq)
      #expect(try await appliedSeq(pool) == first.seq)

      try await world.makeKey(account)
      // The cache has taken the result of another connection, which began after the next sync here.
      var later = try await pool.newestSync()
      later.startedAt = .now + .seconds(3_600)
      #expect(cache.apply(later).isTaken)
      try await world.makeKey(account)
      #expect(try await sync(cache) == false)
      #expect(instance.appliedSeq == first.seq)
      #expect(try await appliedSeq(pool) == first.seq)

      #expect(try await sync(CoherentCache(.init())))
      #expect(instance.appliedSeq == first.seq + 2)
      #expect(try await appliedSeq(pool) == first.seq + 2)
    }
  }

  @Test("when the log continues from before the awaited change, no instance has acknowledged it")
  func lostMeanwhile() async throws {
    try await withPool { pool in
      let world = World(pool)
      try await world.makeKey(try await world.makeAccount())
      try await heartbeat(pool, try await pool.newestSync().head)
      let first = try #require(try await pool.query(CountAcknowledgements(target: nil)).first)
      #expect(first.live == 1 && first.acknowledged == 1)
      try await pool.script("update api_keys set name = 'x'")
      #expect(try await pool.query(CountAcknowledgements(target: first.target)).first?.acknowledged == 1)
      // Like a server that had not received the change and continued with another one.
      try await pool.script("delete from invalidation_log where seq = (select seq from invalidation_head)")
      try await pool.script("update invalidation_head set mark = gen_random_uuid(), seq = seq - 1")
      #expect(try await pool.query(CountAcknowledgements(target: first.target)).first?.acknowledged == 0)
      try await pool.script("update api_keys set name = 'y'")
      #expect(try await pool.query(CountAcknowledgements(target: first.target)).first?.acknowledged == 0)
    }
  }

  @Test("after another server has taken over, no receipt is complete for the length of a lease")
  func takenOver() async throws {
    try await withPool { pool in
      let world = World(pool)
      try await world.makeKey(try await world.makeAccount())
      func missing() async throws -> Int? {
        try await pool.query(CountAcknowledgements(target: nil)).first.map { $0.live - $0.acknowledged }
      }
      try await heartbeat(pool, try await pool.newestSync().head)
      #expect(try await missing() == 0)
      try await pool.script("update invalidation_server set postmaster_started_at = now() - interval '1 day'")
      #expect(try await missing() == 1, "it has not been recorded yet")
      try await pool.execute(NoteInvalidationServer())
      #expect(try await missing() == 1, "an instance that still answers may have been lost")
      try await pool.script("update invalidation_server set since = since - interval '59 seconds'")
      #expect(try await missing() == 1, "the longest lease is that of the instance")
      try await pool.script("update invalidation_server set since = since - interval '1 second'")
      #expect(try await missing() == 0)
      let since = try await pool.text("select since from invalidation_server")
      try await pool.execute(NoteInvalidationServer())
      #expect(try await pool.text("select since from invalidation_server") == since, "it is the same server")
    }
  }

  @Test("an instance is waited for until a second after its lease, in case its last heartbeats were lost")
  func lostHeartbeats() async throws {
    try await withPool { pool in
      try await heartbeat(pool, nil)
      func live() async throws -> Int? { try await pool.query(CountAcknowledgements(target: nil)).first?.live }
      try await pool.script("update instances set heartbeat_at = now() - interval '60 seconds'")
      #expect(try await live() == 1)
      try await pool.script("update instances set heartbeat_at = now() - interval '61 seconds'")
      #expect(try await live() == 0)
    }
  }
}
