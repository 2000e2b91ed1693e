import Foundation
import PortalTesting
import Postgres
import Testing

@testable import Portal

@Suite("Jobs")
struct JobTests {
  private let observations = Observations()

  private func makeJobs(_ pool: PostgresPool, _ retention: Retention = Retention()) -> Jobs {
    Jobs(pool: pool, instance: "here", retention: retention, observer: Observer([observations.sink]))
  }

  /// Runs all due jobs, as a new instance does.
  private func perform(_ pool: PostgresPool) async {
    await JobScheduler(makeJobs(pool)).look()
  }

  private func run(_ name: String, _ jobs: Jobs, isForced: Bool = true) async throws -> Jobs.Outcome {
    await jobs.run(try #require(jobs.all.first { $0.name == name }), isForced: isForced)
  }

  private var failedCount: Int {
    observations.count { if case .jobFailed = $0 { true } else { false } }
  }

  @Test("a job is due if it never ran or its interval has passed, for any age in its row")
  func due() throws {
    let job = try #require(Job.all(Retention(), Outbox(isOpen: false)).first { $0.interval == .seconds(600) })
    func record(_ ageSeconds: Double) -> JobRecord {
      JobRecord(ageSeconds: ageSeconds, startedAt: .distantPast, instance: "here", failureCount: 0)
    }
    #expect(job.isDue(nil))
    for age in [600, 601, 1e300, .infinity, .nan] as [Double] { #expect(job.isDue(record(age)), "\(age)") }
    for age in [599.9, 0, -1, -1e300, -.infinity] as [Double] { #expect(!job.isDue(record(age)), "\(age)") }
  }

  @Test("rows of the invalidation log older than any lease are deleted, and the head does not move")
  func invalidations() async throws {
    try await withPool { pool in
      try await pool.script(
        """
        insert into invalidation_log (kind, at) values
          ('everything', now() - interval '61 minutes'), ('everything', now() - interval '59 minutes')
        """)
      await perform(pool)
      #expect(try await pool.lines("select seq from invalidation_log") == ["2"])
      #expect(try await pool.number("select seq from invalidation_head") == 2)
    }
  }

  @Test("instances without a heartbeat for an hour are deleted")
  func instances() async throws {
    try await withPool { pool in
      try await pool.script(
        """
        insert into instances (id, name, lease_milliseconds, applied_seq, heartbeat_at)
        select gen_random_uuid(), name, 2000, 0, now() - age from (values
          ('alive', interval '0'), ('silent', interval '59 minutes'), ('gone', interval '61 minutes')) names (name, age)
        """)
      await perform(pool)
      #expect(try await pool.lines("select name from instances order by name") == ["alive", "silent"])
    }
  }

  @Test("expired sessions of customers and staff are deleted; the others stay")
  func sessions() async throws {
    try await withPool { pool in
      let world = World(pool)
      _ = try await world.makeAccount()
      _ = try await world.accounts.createStaff(
        name: "Grace", email: EmailAddress("grace@example.com")!, role: .support,
        password: Password(presented: World.password), by: World.caller)
      try await pool.script(
        """
        insert into sessions (token_hash, account_id, user_id, expires_at)
          select sha256(n::text::bytea), account_id, user_id, now() + (n - 3) * interval '1 minute'
          from memberships, generate_series(1, 6) n;
        insert into staff_sessions (token_hash, staff_id, expires_at)
          select sha256(n::text::bytea), id, now() + (n - 3) * interval '1 minute' from staff, generate_series(1, 6) n
        """)
      await perform(pool)
      #expect(try await pool.number("select count(*) from sessions") == 3)
      #expect(try await pool.number("select count(*) from staff_sessions") == 3)
      #expect(try await pool.number("select count(*) from sessions where expires_at > now()") == 3)
    }
  }

  @Test("ids of batches are kept for a week")
  func batches() async throws {
    try await withPool { pool in
      _ = try await World(pool).tokens.create(name: "gateway", permissions: [.writeUsage], by: World.caller)
      try await pool.script(
        """
        insert into usage_batches (token_id, batch_id, received_at)
        select id, n::text, now() - n * interval '1 day' from service_tokens, generate_series(5, 9) n
        """)
      await perform(pool)
      #expect(try await pool.lines("select batch_id from usage_batches order by batch_id") == ["5", "6"])
    }
  }

  // MARK: Partitions

  private func partitions(_ pool: PostgresPool) async throws -> [String] {
    try await pool.lines(
      """
      select inhrelid::regclass from pg_inherits where inhparent = 'key_usage'::regclass
      order by inhrelid::regclass::text
      """
    )
  }

  @Test("the partitions of this month and the next three are created once, even by several instances at the same time")
  func partitionsAhead() async throws {
    try await withPool { pool in
      let present = try await partitions(pool)
      #expect(present.count == 6)
      for name in present.dropLast() { try await pool.script("drop table \(name)") }
      _ = await concurrently(8) { _ in await perform(pool) }
      #expect(failedCount == 0)
      let months = try await pool.lines(
        #"select to_char(current_date + n * interval '1 month', '"key_usage_"YYYY_MM') from generate_series(0, 3) n"#)
      #expect(try await partitions(pool) == months.sorted() + ["key_usage_default"])
      try await pool.script(
        """
        insert into key_usage (account_id, key_id, day, endpoint)
        select gen_random_uuid(), gen_random_uuid(),
          (date_trunc('month', current_date) + interval '4 months')::date - n, '/'
        from generate_series(1, 100) n
        """)
      #expect(try await pool.number("select count(*) from key_usage_default") == 0)
    }
  }

  @Test("partitions follow each other over the end of a year without gap or overlap")
  func yearEnd() async throws {
    try await withPool { pool in
      #expect(try await pool.number("select ensure_usage_partitions('2030-11-30', 3)") == 4)
      #expect(try await pool.number("select ensure_usage_partitions('2030-12-01', 3)") == 1)
      let made = try await partitions(pool).filter { $0.hasPrefix("key_usage_203") }
      #expect(made == ["2030_11", "2030_12", "2031_01", "2031_02", "2031_03"].map { "key_usage_" + $0 })
      try await pool.script(
        """
        insert into key_usage (account_id, key_id, day, endpoint)
        select gen_random_uuid(), gen_random_uuid(), day, '/'
        from generate_series(date '2030-11-01', date '2031-03-31', interval '1 day') day
        """)
      #expect(try await pool.number("select count(*) from key_usage_default") == 0)
      #expect(try await pool.number("select count(*) from key_usage_2031_02") == 28)
    }
  }

  @Test("counters without a partition are reported, and moved into a new partition with the same indexes")
  func unplaced() async throws {
    try await withPool { pool in
      try await pool.script(
        """
        insert into key_usage (account_id, key_id, day, endpoint, verified_count)
          select gen_random_uuid(), gen_random_uuid(), day, '/', 7
          from generate_series(current_date + 400, current_date + 440, interval '1 day') day;
        insert into packed_usage (account_id, key_id, day, verified_count, denied_count, reported_count, error_count,
            success_count, total_latency_ms, latency_count, endpoints)
          values (gen_random_uuid(), gen_random_uuid(), current_date - 700, 1, 0, 0, 0, 1, 0, 0, '{0}')
        """)
      await perform(pool)
      #expect(observations.count(.usageUnplaced(counters: 42)) == 1)
      #expect(failedCount == 0)
      #expect(try await makeJobs(pool).report().unplacedUsageCount == 0)
      #expect(try await pool.text("select (count(*), sum(success_count)) from key_usage") == "(41,287)")
      let odd = """
        select c.relname from pg_class c join pg_inherits on inhrelid = c.oid
        where inhparent in ('key_usage'::regclass, 'packed_usage'::regclass, 'packed_account_usage'::regclass)
          and c.relname not like '%default'
          and (not relispartition or not exists (
            select from pg_index where indrelid = c.oid and indisprimary and indisvalid))
        """
      #expect(try await pool.lines(odd) == [])
      for parent in ["packed_usage", "packed_account_usage"] {
        #expect(try await pool.number("select count(*) from \(parent)_default") == 0)
      }
    }
  }

  @Test("no counter is lost when a partition is created while others write")
  func placing() async throws {
    try await withPool { pool async throws in
      let day = "date '2031-03-05'"
      let outcomes = await concurrently(5) { task async throws in
        for number in 1...40 {
          if task == 0 {
            if number == 20 { try await pool.script("select ensure_usage_partitions(\(day), 0)") }
          } else {
            try await pool.script(
              """
              insert into key_usage as usage (account_id, key_id, day, endpoint, verified_count)
              values ('\(UUID.numbered(1))', '\(UUID.numbered(number % 3))', \(day), '/', 1)
              on conflict (account_id, key_id, day, endpoint) do update set verified_count = usage.verified_count + 1
              """)
          }
        }
      }
      #expect(outcomes.errors.isEmpty, "\(outcomes.errors)")
      #expect(try await pool.number("select sum(verified_count) from key_usage_2031_03") == 160)
      #expect(try await pool.number("select count(*) from key_usage_default") == 0)
    }
  }

  // MARK: Retention

  @Test("usage is dropped from all tables by whole months, when their last day is old enough")
  func months() async throws {
    try await withPool { pool async throws in
      var retention = Retention()
      retention.usageDays = 40
      try await pool.script("select ensure_usage_partitions((current_date - 200)::date, 9)")
      let jobs = makeJobs(pool, retention)
      guard case .done(let dropped) = try await run("usage-retention", jobs) else {
        Issue.record("the job was not done")
        return
      }
      let first = try await pool.text(#"select to_char(current_date - 40, '"key_usage_"YYYY_MM')"#)
      #expect(try await partitions(pool).first == first)
      let count = try await partitions(pool).count
      for parent in ["packed_usage", "packed_account_usage"] {
        #expect(
          try await pool.number("select count(*) from pg_inherits where inhparent = '\(parent)'::regclass") == count)
      }
      #expect(dropped > 0 && dropped.isMultiple(of: 3))
      #expect(try await run("usage-retention", jobs) == .done(0))
    }
  }

  @Test("hourly totals are kept for three days, and writers of counters for 400")
  func hoursAndSources() async throws {
    try await withPool { pool async throws in
      try await pool.script(
        """
        insert into account_usage_hours (account_id, hour)
          select gen_random_uuid(), date_trunc('hour', now()) - age * interval '1 hour'
          from generate_series(70, 75) age, generate_series(1, 5000);
        insert into usage_sources (id, flushed_number, updated_at)
          select gen_random_uuid(), age, now() - age * interval '1 day' from generate_series(398, 402) age
        """)
      await perform(pool)
      #expect(
        try await pool.lines("select distinct hour > now() - interval '72 hours' from account_usage_hours") == ["true"])
      #expect(try await pool.number("select count(*) from account_usage_hours") >= 10_000)
      #expect(try await pool.lines("select flushed_number from usage_sources order by 1") == ["398", "399"])
    }
  }

  // MARK: Turns

  @Test(
    "a run is recorded with instance, time, duration and count; the next is due on any instance after the interval"
  )
  func turns() async throws {
    try await withPool { pool async throws in
      _ = await concurrently(6) { _ in await perform(pool) }
      let jobs = makeJobs(pool)
      let report = try await jobs.report()
      #expect(Set(report.records.keys) == Set(jobs.all.map(\.name)))
      for (name, record) in report.records {
        #expect(record.instance == "here" && record.error == nil && record.failureCount == 0, "\(name)")
        #expect(!record.isUnfinished && record.succeededAt == record.finishedAt, "\(name)")
        #expect(try #require(record.durationMilliseconds) >= 0 && record.resultCount != nil, "\(name)")
      }
      for job in jobs.all {
        #expect(observations.count { if case .jobFinished(job.name, _) = $0 { true } else { false } } == 1)
      }
      #expect(try await run("sessions", jobs, isForced: false) == .skipped)
      #expect(try await run("sessions", jobs) == .done(0))
      try await pool.script("update jobs set started_at = started_at - interval '601 seconds'")
      #expect(try await run("sessions", jobs, isForced: false) == .done(0))
      #expect(try await run("usage-packing", jobs, isForced: false) == .skipped)
    }
  }

  @Test("no instance runs a job while another is in a step of it")
  func lock() async throws {
    try await withPool { pool async throws in
      let jobs = makeJobs(pool)
      try await pool.withTransaction { connection async throws in
        #expect(try await connection.query(TryLockJob(name: "sessions")) == [true])
        #expect(try await run("sessions", jobs) == .skipped)
        #expect(try await run("usage-batches", jobs) == .done(0))
      }
      #expect(try await run("sessions", jobs) == .done(0))
    }
  }

  @Test("closed days are packed in many small transactions")
  func packing() async throws {
    try await withPool { pool async throws in
      try await pool.script(
        """
        insert into key_usage (account_id, key_id, day, endpoint, verified_count)
        select '\(UUID.numbered(1))', md5(key::text)::uuid, current_date - 5, '/' || endpoint, 1
        from generate_series(1, 1250) key, generate_series(1, 20) endpoint
        """)
      #expect(try await run("usage-packing", makeJobs(pool)) == .done(25_000))
      #expect(try await pool.number("select count(distinct xmin::text) from packed_usage") == 3)
      #expect(try await pool.number("select sum(verified_count) from usage_by_key") == 25_000)
    }
  }

  // MARK: Failures

  @Test("a failed job is reported and recorded, and does not keep the others from running")
  func independent() async throws {
    try await withPool { pool async throws in
      try await pool.script(
        """
        alter function place_usage rename to moved_away;
        insert into invalidation_log (kind, at) values ('everything', now() - interval '2 hours')
        """)
      await perform(pool)
      #expect(failedCount == 1)
      #expect(try await pool.number("select count(*) from invalidation_log") == 0)
      let jobs = makeJobs(pool)
      let failed = try #require(try await jobs.report().records["usage-partitions"])
      #expect(failed.error?.contains("place_usage") == true)
      #expect(failed.failureCount == 1 && failed.succeededAt == nil && failed.finishedAt != nil)
      try await pool.script("alter function moved_away rename to place_usage")
      #expect(try await run("usage-partitions", jobs) == .done(0))
      let mended = try #require(try await jobs.report().records["usage-partitions"])
      #expect(mended.error == nil && mended.failureCount == 1 && mended.succeededAt != nil)
    }
  }

  @Test("the scheduler reports a failure without a database, and continues")
  func outage() async throws {
    try await withPool { pool async throws in
      await pool.shutDown()
      await perform(pool)
      #expect(failedCount >= 1)
    }
  }
}
