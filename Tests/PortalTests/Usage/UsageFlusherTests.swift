import Foundation
import PortalTesting
import Postgres
import PostgresTesting
import Testing

@testable import Portal

@Suite("UsageFlusher")
struct UsageFlusherTests {
  private let observations = Observations()
  private let recorder = UsageRecorder()
  private let clock = DatabaseClock()

  private func flusher(_ pool: PostgresPool, _ recorder: UsageRecorder? = nil) -> UsageFlusher {
    UsageFlusher(
      pool: pool, recorder: recorder ?? self.recorder, clock: clock, observer: Observer([observations.sink]))
  }

  private func record(_ number: Int = 1, _ endpoint: String = "/", times: Int = 1, in recorder: UsageRecorder? = nil) {
    for _ in 0..<times {
      (recorder ?? self.recorder).verified(.counted(number), endpoint, isValid: true, at: Date())
    }
  }

  private func verified(_ pool: PostgresPool) async throws -> Int {
    try await pool.number("select sum(verified_count) from key_usage")
  }

  private func failedCount() -> Int {
    observations.count { if case .usageFlushFailed = $0 { true } else { false } }
  }

  @Test("a flush for which somebody waits ends the pauses between statements", .timeLimit(.minutes(1)))
  func hurried() async throws {
    try await withPool { pool in
      let flusher = UsageFlusher(
        pool: pool, recorder: recorder, gatheredMax: .seconds(10_000), clock: clock,
        observer: Observer([observations.sink]))
      // Makes the extents large enough for several statements each.
      for _ in 0..<3 {
        for number in 0..<5_000 { record(number) }
        #expect(await flusher.flush())
      }
      for number in 0..<5_000 { record(number) }
      let paced = Task { await flusher.write(gatheredFor: .seconds(10_000)) }
      try await eventually("the first statement is written") { try await verified(pool) > 15_000 }
      #expect(try await verified(pool) < 20_000)
      #expect(await flusher.flush())
      #expect(await paced.value)
      #expect(try await verified(pool) == 20_000)
    }
  }

  @Test("a thousand counters take one statement and one round trip, besides the one that records the progress")
  func roundTrips() async throws {
    try await withPool { pool async throws in
      let flusher = flusher(pool)
      _ = try await clock.now(on: pool)
      for count in [1, 1_000, 10_000, 10_001] {
        for number in 0..<count { record(number, "/e\(number % 10)") }
        let (batches, statements) = (pool.statistics.batchCount, pool.statistics.statementCount)
        #expect(await flusher.flush())
        // A shard that was full continued in a larger extent, which takes statements of its own.
        let most = count <= 500 ? 2 : count / 1_000 + 7
        #expect((2...most).contains(pool.statistics.batchCount - batches), "\(count)")
        #expect(pool.statistics.statementCount - statements == pool.statistics.batchCount - batches)
        #expect(observations.count(.usageFlushed(counters: count)) == 1)
      }
      let batches = pool.statistics.batchCount
      #expect(await flusher.flush())
      #expect(pool.statistics.batchCount == batches + 1)
      #expect(try await verified(pool) == 21_002)
    }
  }

  @Test("later flushes update the counters, the last use and the key's total")
  func addsUp() async throws {
    try await withPool { pool in
      let flusher = flusher(pool)
      for _ in 0..<3 {
        record(times: 2)
        record(1, "/other")
        recorder.verified(.counted(1), "/other", isValid: false, at: Date())
        #expect(await flusher.flush())
      }
      let rows = try await pool.lines(
        "select concat_ws(' ', endpoint, verified_count, success_count, denied_count) from key_usage order by endpoint")
      #expect(rows == ["/ 6 6 0", "/other 3 3 3"])
      #expect(try await pool.lines("select verified_count || ' ' || total_requests from key_activity") == ["9 12"])
      #expect(
        try await pool.number("select count(*) from key_activity where last_used_at > now() - interval '1 minute'") == 1
      )
    }
  }

  @Test("counters that could not be written are kept under their number, and count once when the database is back")
  func retried() async throws {
    try await withPool { pool in
      let flusher = flusher(pool)
      record(times: 5)
      try await pool.script("alter table key_activity rename to away")
      for attempt in 1...3 {
        #expect(await !flusher.flush())
        #expect(failedCount() == attempt)
        record()
      }
      #expect(try await verified(pool) == 0)
      #expect(try await pool.number("select count(*) from usage_sources") == 0)
      try await pool.script("alter table away rename to key_activity")
      #expect(await flusher.flush())
      #expect(try await verified(pool) == 8)
      #expect(await flusher.flush())
      #expect(try await pool.number("select flushed_number >> 16 from usage_sources") == 2)
    }
  }

  @Test("concurrent flushes write every counter once")
  func overlapping() async throws {
    try await withPool { pool async throws in
      let flusher = flusher(pool)
      for round in 1...20 {
        record(round, times: 10)
        let outcomes = await concurrently(8) { _ in await flusher.flush() }
        #expect(outcomes.errors.isEmpty)
        #expect(await flusher.flush())
        #expect(try await verified(pool) == round * 10)
      }
    }
  }

  /// A commit waits for a standby that does not exist. When its backend is terminated, the transaction has committed,
  /// but the client gets no answer.
  @Test("a flush that was committed without an answer is repeated under its number and counts once")
  func answerLost() async throws {
    try await OwnServer.with { server in
      let url = try await server.url()
      let observing = PostgresConfiguration(url: url + " options='-c synchronous_commit=local'")
      try await PostgresPool.with(observing) { observer in
        _ = try await Migrations.embedded().apply(on: observer)
        try await observer.script("alter system set synchronous_standby_names = 'nobody'")
        try await observer.script("select pg_reload_conf()")
        try await PostgresPool.with(PostgresConfiguration(url: url)) { pool in
          let flusher = flusher(pool)
          let terminate = "select count(pg_terminate_backend(pid)) from pg_stat_activity where wait_event = 'SyncRep'"
          var recordedCount = 0
          // The server applies the setting with a delay.
          try await eventually("a commit was not answered") {
            record(times: 7)
            recordedCount += 7
            let flushing = Task { await flusher.flush() }
            try await eventually("the flush is written or waits") {
              try await observer.number(terminate) > 0
                || observations.count(.usageFlushed(counters: 1)) * 7 == recordedCount
            }
            return await !flushing.value
          }
          #expect(failedCount() == 1)
          #expect(try await verified(observer) == recordedCount, "the flush was committed")
          try await observer.script("alter system reset synchronous_standby_names")
          try await observer.script("select pg_reload_conf()")
          record(times: 3)
          #expect(await flusher.flush())
          #expect(await flusher.flush())
          #expect(try await verified(observer) == recordedCount + 3)
        }
      }
    }
  }

  /// Restores the database to the state in which `flushed` was the last number of the source, like a standby that had
  /// received no more.
  private func goBack(_ pool: PostgresPool, to flushed: String, losing endpoints: String...) async throws {
    for endpoint in endpoints { try await pool.script("delete from key_usage where endpoint = '\(endpoint)'") }
    try await pool.script("update usage_sources set flushed_number = \(flushed)")
  }

  @Test("counters that the database has lost are written again under their numbers, with or without new ones")
  func lost() async throws {
    try await withPool { pool async throws in
      let flusher = flusher(pool)
      func numbers() async throws -> String? { try await pool.text("select flushed_number from usage_sources") }
      func counts() async throws -> [String] {
        try await pool.lines("select endpoint || ' ' || verified_count from key_usage order by endpoint")
      }
      record(1, "/a", times: 1)
      #expect(await flusher.flush())
      let first = try #require(try await numbers())
      record(1, "/b", times: 2)
      #expect(await flusher.flush())
      record(1, "/c", times: 3)
      #expect(await flusher.flush())
      let last = try await numbers()
      try await goBack(pool, to: first, losing: "/b", "/c")
      #expect(await flusher.flush())
      #expect(try await counts() == ["/a 1", "/b 2", "/c 3"])
      #expect(try await numbers() == last)
      #expect(observations.count(.usageWrittenAgain(counters: 2)) == 1)
      try await goBack(pool, to: first, losing: "/b", "/c")
      record(1, "/d", times: 4)
      #expect(await flusher.flush())
      #expect(try await counts() == ["/a 1", "/b 2", "/c 3", "/d 4"])
      try await pool.script("delete from key_usage; delete from usage_sources")
      record(1, "/e", times: 5)
      #expect(await flusher.flush())
      #expect(try await counts() == ["/a 1", "/b 2", "/c 3", "/d 4", "/e 5"])
      #expect(await flusher.flush())
      #expect(try await counts() == ["/a 1", "/b 2", "/c 3", "/d 4", "/e 5"])
      #expect(failedCount() == 0)
    }
  }

  @Test("written files stay in the spool for their retention period, and count once if they are adopted")
  func kept() async throws {
    try await withPool { pool async throws in
      let folder = FileManager.default.temporaryDirectory.appending(path: "spool-\(UUID())").path
      defer { try? FileManager.default.removeItem(atPath: folder) }
      func files() throws -> Int {
        try FileManager.default.subpathsOfDirectory(atPath: folder).count { $0.hasSuffix(".counters") }
      }
      do {
        let recorder = UsageRecorder(spoolFolder: folder)
        let flusher = flusher(pool, recorder)
        record(times: 5, in: recorder)
        #expect(await flusher.flush())
        #expect(try files() == 2, "the file that was written, and the current one")
      }
      let next = UsageRecorder(spoolFolder: folder)
      let adopter = UsageFlusher(pool: pool, recorder: next, keptFor: .zero, observer: Observer([observations.sink]))
      await adopter.adopt()
      #expect(await adopter.flush())
      #expect(try await verified(pool) == 5)
      #expect(try files() == 1)
      #expect(observations.count(.usageAdopted(counters: 1)) == 0)
    }
  }

  /// The number of reported spool failures, and the files that were set aside.
  private func refused(_ dead: DeadSpool) -> (count: Int, files: [String]) {
    let count = observations.count { if case .usageSpoolFailed = $0 { true } else { false } }
    return (count, dead.fileNames.filter { $0.hasSuffix(".aside") })
  }

  /// Runs `body` with a server that adopts the files of a dead one.
  private func withAdopter(
    _ body: (PostgresPool, UsageFlusher, DeadSpool) async throws -> Void
  ) async throws {
    try await withPool { pool in
      try await withFolder { root in
        let dead = try DeadSpool(in: root)
        let recorder = UsageRecorder(spoolFolder: root)
        let adopter = UsageFlusher(
          pool: pool, recorder: recorder, keptFor: .zero, observer: Observer([observations.sink]))
        try await body(pool, adopter, dead)
      }
    }
  }

  @Test("a dead process's damaged file is set aside and reported once, and its other files are counted")
  func damaged() async throws {
    try await withAdopter { pool, adopter, dead in
      try overwrite(dead.path(2), at: 8, Array(repeating: 0xFF, count: 8))
      for _ in 0..<2 {
        await adopter.adopt()
        #expect(await adopter.flush())
      }
      #expect(try await verified(pool) == 2 * DeadSpool.counterCount)
      #expect(refused(dead).count == 1 && refused(dead).files == ["2.counters.aside"])
    }
  }

  @Test("a file that is truncated after its adoption is set aside, and the others are counted")
  func cutShort() async throws {
    try await withAdopter { pool, adopter, dead async throws in
      await adopter.adopt()
      #expect(truncate(dead.path(1), 50_000) == 0)
      #expect(await adopter.flush())
      #expect(try await verified(pool) == 2 * DeadSpool.counterCount)
      #expect(refused(dead).count == 1 && refused(dead).files == ["1.counters.aside"])
    }
  }

  @Test("a file that the database refuses is set aside, and the others are counted")
  func notTaken() async throws {
    try await withAdopter { pool, adopter, dead in
      try await pool.script("alter table key_usage add constraint odd check (endpoint not like '%a2%')")
      await adopter.adopt()
      #expect(await adopter.flush())
      #expect(try await verified(pool) == 2 * DeadSpool.counterCount)
      #expect(refused(dead).count == 1 && refused(dead).files == ["2.counters.aside"])
      #expect(await adopter.flush())
      #expect(dead.fileNames == ["2.counters.aside"], "written files are removed after their retention period")
    }
  }

  @Test("a file of another version waits for a server that can read it, and the others are counted")
  func otherVersion() async throws {
    try await withAdopter { pool, adopter, dead in
      try overwrite(dead.path(1), at: 6, Array("99".utf8))
      await adopter.adopt()
      #expect(await adopter.flush())
      #expect(try await verified(pool) == 2 * DeadSpool.counterCount)
      #expect(dead.fileNames == ["1.counters"])
      #expect(refused(dead).count == 1)
    }
  }

  @Test("instances that write the same counters concurrently do not deadlock")
  func noDeadlock() async throws {
    try await withPool { pool async throws in
      let outcomes = await concurrently(8) { instance in
        let recorder = UsageRecorder()
        for number in 1...15 {
          for number in 0..<60 { record(number % 12, "/e\((number + instance) % 5)", in: recorder) }
          let counters = recorder.seal().flatMap { $0.read().counters }.shuffled()
          _ = try await pool.query(
            FlushVerdicts(sourceID: .numbered(instance), previous: 0, number: number, counters: counters[...]))
        }
      }
      #expect(outcomes.errors.isEmpty, "\(outcomes.errors)")
      #expect(try await verified(pool) == 8 * 15 * 60)
      #expect(try await pool.number("select sum(total_requests) from key_activity") == 8 * 15 * 60)
    }
  }

  @Test("ten flushers with counters of the same keys count everything once")
  func manyInstances() async throws {
    try await withPool { pool async throws in
      let outcomes = await concurrently(10) { _ in
        let recorder = UsageRecorder()
        let flusher = flusher(pool, recorder)
        for _ in 0..<10 {
          for number in 0..<20 { record(number % 4, "/e\(number % 3)", in: recorder) }
          #expect(await flusher.flush())
        }
      }
      #expect(outcomes.errors.isEmpty && failedCount() == 0)
      #expect(try await verified(pool) == 10 * 10 * 20)
      #expect(
        try await pool.lines("select flushed_number >> 16 from usage_sources") == Array(repeating: "10", count: 10))
    }
  }

  @Test("a shutdown writes the last counters")
  func shutdown() async throws {
    try await withDatabase { database in
      try await withPortal(on: database) { portal in
        let key = try await portal.signUp().createKey().key
        let token = try await portal.makeToken()
        for _ in 0..<25 { #expect(try await portal.verify(key, token: token).status == 200) }
      }
      try await PostgresPool.with(database.configuration) { pool async throws in
        #expect(try await pool.number("select sum(verified_count) from key_usage") == 25)
        #expect(try await pool.number("select sum(total_requests) from key_activity") == 25)
      }
    }
  }
}
