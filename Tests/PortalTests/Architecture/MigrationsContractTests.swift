import Foundation
import PortalTesting
import Postgres
import Testing

@testable import Portal

/// What every migration has to keep to, of whatever table.
@Suite("Migrations keep to the rules")
struct MigrationsContractTests {
  private static let tables = """
    select oid, relname from pg_class
    where relnamespace = 'public'::regnamespace and relkind in ('r', 'p') and not relispartition
    """

  /// A list of what breaks a rule; empty if nothing does.
  private func offenders(_ query: String) async throws -> [String] {
    try await withPool { try await $0.lines(query) }
  }

  @Test("every table belongs to an account, or is known to belong to none")
  func tenants() async throws {
    let global: Set = [
      "accounts", "attempt_counts", "erasures", "installation", "instances", "invalidation_head",
      "invalidation_server", "jobs",
      "packed_usage_totals", "plans",
      "rate_limit_counts",
      "rate_limit_windows",
      "schema_migrations", "second_factors", "service_token_activity", "service_tokens", "signups", "staff",
      "staff_sessions", "usage_batches", "usage_sources", "users",
    ]
    let others = try await offenders(
      """
      select relname from (\(Self.tables)) t where not exists (
        select from pg_attribute where attrelid = t.oid and attname = 'account_id' and atttypid = 'uuid'::regtype)
      order by relname
      """)
    #expect(Set(others) == global)
  }

  @Test("an account's id may be missing only in what is about other things, too")
  func tenantsNotNull() async throws {
    let nullable = try await offenders(
      """
      select relname from (\(Self.tables)) t join pg_attribute on attrelid = t.oid
      where attname = 'account_id' and not attnotnull order by relname
      """)
    #expect(nullable == ["audit_events", "invalidation_log", "mails", "one_time_tokens"])
  }

  /// Errors are told apart by these names.
  @Test("no constraint has a name that PostgreSQL made up, and each begins with its table's")
  func constraintNames() async throws {
    let found = try await offenders(
      """
      select conname from pg_constraint join (\(Self.tables)) t on t.oid = conrelid
      where conname not like replace(relname, '_', '\\_') || '\\_%'
        or contype = 'p' and conname <> relname || '_pkey'
        or contype = 'u' and conname not like '%\\_unique'
        or contype = 'c' and conname ~ '_check[0-9]*$'
        or contype = 'f' and (conname not like '%\\_fkey' or conname like '%\\_id\\_fkey')
        or contype = 'x'
      """)
    #expect(found == [])
  }

  @Test("no index says what the beginning of another says already")
  func redundantIndexes() async throws {
    let found = try await offenders(
      """
      select one.indexrelid::regclass || ' by ' || other.indexrelid::regclass
      from pg_index one join pg_index other using (indrelid)
      where one.indexrelid <> other.indexrelid and one.indpred is null and other.indpred is null
        and one.indexprs is null and other.indexprs is null
        and one.indkey::text || ' ' = left(other.indkey::text || ' ', length(one.indkey::text) + 1)
        and one.indclass::text || ' ' = left(other.indclass::text || ' ', length(one.indclass::text) + 1)
      """)
    #expect(found == [])
  }

  @Test("every foreign key that deletes with its target, or guards one that is deleted, can be looked up by index")
  func foreignKeys() async throws {
    let found = try await offenders(
      """
      select conname from pg_constraint where contype = 'f' and confdeltype = 'c' and not exists (
        select from pg_index where indrelid = conrelid
          and conkey::smallint[] <@ (indkey::smallint[])[0:cardinality(conkey) - 1])
      """)
    #expect(found == [])
  }

  @Test("what is stored of a secret is 32 bytes, and a constraint says so; or it is sealed")
  func hashes() async throws {
    let columns = try await offenders(
      """
      select relname || '.' || attname || ' ' || exists (
        select from pg_constraint where conrelid = t.oid and contype = 'c' and conkey = array[attnum]
          and pg_get_constraintdef(pg_constraint.oid) = 'CHECK ((length(' || attname || ') = 32))')
      from (\(Self.tables)) t join pg_attribute on attrelid = t.oid
      where atttypid = 'bytea'::regtype order by 1
      """)
    #expect(
      columns == [
        "api_keys.key_hash true", "audit_events.hash true", "audit_events.prev_hash true", "audit_heads.hash true",
        "idempotent_requests.key_hash true", "idempotent_requests.request_hash true",
        // Encrypted, by what is not stored: see KeysOnceTests.
        "idempotent_requests.sealed_secret false", "one_time_tokens.token_hash true",
        // Under the deployment's SECRET_KEY.
        "second_factors.sealed_secret false",
        "service_tokens.token_hash true", "sessions.token_hash true",
        "staff_sessions.token_hash true",
      ])
  }

  @Test("no secret that was ever shown stands anywhere in the database")
  func noSecrets() async throws {
    try await withPool { pool in
      let world = World(pool)
      let account = try await world.makeAccount()
      let key = try await world.makeKey(account)
      let rolled = try await world.keys.roll(key.key.id, of: account, graceSeconds: 60, by: World.caller)
      let sessions = Sessions(
        pool: pool, passwords: World.hasher, attempts: Attempts(pool: pool), lifetime: .seconds(60))
      let password = Password(presented: World.password)
      _ = try await world.accounts.createStaff(
        name: "Grace", email: EmailAddress("grace@example.com")!, role: .support, password: password,
        by: World.caller)
      let secrets = [
        key.secret, rolled.successor.secret,
        try await sessions.logIn(email: "ada@example.com", password: password, from: Origin()).token,
        try await sessions.logInStaff(email: "grace@example.com", password: password, from: Origin()).token,
        try await world.tokens.create(name: "gateway", permissions: [.verifyKeys], by: World.caller).secret,
      ].map { $0.reveal() }
      let tables = try await pool.lines("select relname from (\(Self.tables)) t")
      #expect(tables.count > 15)
      for table in tables {
        let rows = try await pool.text("select string_agg(t::text, chr(10)) from \(table) t") ?? ""
        #expect(!rows.contains("horse"), "\(table)")
        for secret in secrets { #expect(!rows.contains(secret.suffix(20)), "\(table)") }
      }
    }
  }

  /// Columns of time, in partitions, too, in which an infinite one could stand.
  private static let unboundedTimes = """
    select relname || '.' || attname from pg_attribute join pg_class on pg_class.oid = attrelid
    where relnamespace = 'public'::regnamespace and relkind in ('r', 'p') and attnum > 0 and not attisdropped
      and atttypid in ('timestamptz'::regtype, 'timestamp'::regtype, 'date'::regtype)
      and relname <> 'schema_migrations'
      -- It is bounded on both sides.
      and (relname, attname) <> ('audit_events', 'at')
      and not exists (
        select from pg_constraint where conrelid = attrelid and contype = 'c' and convalidated
          and conkey = array[attnum]
          and pg_get_constraintdef(pg_constraint.oid) = format('CHECK (isfinite(%I))', attname))
    order by 1
    """

  @Test("no time can be infinite, in whatever column, nor in a partition that is made later")
  func finiteTimes() async throws {
    try await withPool { pool in
      let unbounded = try await pool.lines(Self.unboundedTimes)
      #expect(unbounded == [])
      #expect(try await pool.number("select ensure_usage_partitions('2040-01-01', 2)") == 3)
      #expect(try await pool.lines(Self.unboundedTimes) == [])
      #expect(try await pool.number("select count(*) from pg_constraint where conname like '%\\_finite'") > 70)
    }
  }

  @Test("every moment is kept with its time zone, and every text without a length that nobody chose")
  func types() async throws {
    let found = try await offenders(
      """
      select relname || '.' || attname from (\(Self.tables)) t join pg_attribute on attrelid = t.oid
      where attnum > 0 and not attisdropped and atttypid::regtype::text in
        ('timestamp without time zone', 'time without time zone', 'character varying', 'character', 'json', 'money')
      """)
    #expect(found == [])
  }
}
