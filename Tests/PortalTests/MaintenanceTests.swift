import Foundation
import PortalTesting
import Postgres
import Testing

@testable import Portal

@Suite("Maintenance")
struct MaintenanceTests {
  private let observations = Observations()

  private func perform(_ pool: PostgresPool) async {
    await Maintenance(pool: pool, observer: Observer([observations.sink])).perform()
  }

  private var failedCount: Int {
    observations.count { if case .maintenanceFailed = $0 { true } else { false } }
  }

  @Test("rows of the invalidation log that are older than any lease are removed, and the head stays where it is")
  func invalidations() async throws {
    try await withPool { pool in
      try await pool.type(
        """
        insert into invalidation_log (kind, at) values
          ('everything', now() - interval '61 minutes'), ('everything', now() - interval '59 minutes')
        """)
      await perform(pool)
      #expect(try await pool.lines("select seq from invalidation_log") == ["2"])
      #expect(try await pool.number("select seq from invalidation_head") == 2)
    }
  }

  @Test("instances that have not been heard of for an hour are removed")
  func instances() async throws {
    try await withPool { pool in
      try await pool.type(
        """
        insert into instances (id, name, lease_milliseconds, applied_seq, heartbeat_at)
        select gen_random_uuid(), name, 2000, 0, now() - age from (values
          ('alive', interval '0'), ('silent', interval '59 minutes'), ('gone', interval '61 minutes')) names (name, age)
        """)
      await perform(pool)
      #expect(try await pool.lines("select name from instances order by name") == ["alive", "silent"])
    }
  }

  @Test("sessions that are over are removed, of customers and of staff; the others stay")
  func sessions() async throws {
    try await withPool { pool in
      let world = World(pool)
      _ = try await world.makeAccount()
      _ = try await world.accounts.createStaff(
        name: "Grace", email: EmailAddress("grace@example.com")!, role: .support,
        password: Password(presented: World.password))
      try await pool.type(
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
      _ = try await World(pool).tokens.create(name: "gateway", permissions: [.writeUsage])
      try await pool.type(
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

  @Test("this month's partition and those of three months ahead are made, once, however many instances make them")
  func partitionsAhead() async throws {
    try await withPool { pool in
      let present = try await partitions(pool)
      #expect(present.count == 6)
      for name in present.dropLast() { try await pool.type("drop table \(name)") }
      _ = await concurrently(8) { _ in await perform(pool) }
      #expect(failedCount == 0)
      let months = try await pool.lines(
        #"select to_char(current_date + n * interval '1 month', '"key_usage_"YYYY_MM') from generate_series(0, 3) n"#)
      #expect(try await partitions(pool) == months.sorted() + ["key_usage_default"])
      try await pool.type(
        """
        insert into key_usage (account_id, key_id, day, endpoint)
        select gen_random_uuid(), gen_random_uuid(),
          (date_trunc('month', current_date) + interval '4 months')::date - n, '/'
        from generate_series(1, 100) n
        """)
      #expect(try await pool.number("select count(*) from key_usage_default") == 0)
    }
  }

  @Test("months follow each other over the end of a year, without gap or overlap")
  func yearEnd() async throws {
    try await withPool { pool in
      #expect(try await pool.number("select ensure_usage_partitions('2030-11-30', 3)") == 4)
      #expect(try await pool.number("select ensure_usage_partitions('2030-12-01', 3)") == 1)
      let made = try await partitions(pool).filter { $0.hasPrefix("key_usage_203") }
      #expect(made == ["2030_11", "2030_12", "2031_01", "2031_02", "2031_03"].map { "key_usage_" + $0 })
      try await pool.type(
        """
        insert into key_usage (account_id, key_id, day, endpoint)
        select gen_random_uuid(), gen_random_uuid(), day, '/'
        from generate_series(date '2030-11-01', date '2031-03-31', interval '1 day') day
        """)
      #expect(try await pool.number("select count(*) from key_usage_default") == 0)
      #expect(try await pool.number("select count(*) from key_usage_2031_02") == 28)
    }
  }

  // MARK: Failures

  /// A day beyond the partitions was counted in the default one, and keeps that month's partition from being made.
  @Test("what fails is told, and keeps nothing else from being done")
  func independent() async throws {
    try await withPool { pool in
      let next = try #require(
        try await pool.text(#"select to_char(current_date + interval '3 months', '"key_usage_"YYYY_MM')"#))
      try await pool.type(
        """
        drop table \(next);
        insert into key_usage (account_id, key_id, day, endpoint)
          values (gen_random_uuid(), gen_random_uuid(), current_date + interval '3 months', '/');
        insert into invalidation_log (kind, at) values ('everything', now() - interval '2 hours')
        """)
      await perform(pool)
      #expect(failedCount == 1)
      #expect(try await pool.number("select count(*) from invalidation_log") == 0)
    }
  }

  @Test("without a database it says so and goes on")
  func outage() async throws {
    try await withPool { pool in
      await pool.shutDown()
      await perform(pool)
      #expect(failedCount >= 1)
    }
  }
}
