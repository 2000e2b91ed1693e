import Foundation
import PortalTesting
import Postgres
import Testing

@testable import Portal

@Suite("Infinite times")
struct FiniteTimesTests {
  /// The numbers of the files that refuse them.
  private static let number = 21

  @Test("infinity is refused wherever it is entered, and keys stay as they were")
  func refused() async throws {
    try await withPool { pool in
      let world = World(pool)
      let account = try await world.makeAccount()
      let issued = try await world.makeKey(account)
      _ = try await world.tokens.create(name: "gateway", permissions: [.verifyKeys], by: World.caller)
      for (statement, constraint) in [
        ("update api_keys set expires_at = 'infinity'", "api_keys_expires_at_finite"),
        ("update api_keys set expires_at = '-infinity'", "api_keys_expires_at_finite"),
        ("update api_keys set revoked_at = 'infinity'", "api_keys_revoked_at_finite"),
        ("update api_keys set created_at = '-infinity'", "api_keys_created_at_finite"),
        ("update accounts set suspended_at = 'infinity'", "accounts_suspended_at_finite"),
        ("update service_tokens set expires_at = 'infinity'", "service_tokens_expires_at_finite"),
        ("update users set created_at = '-infinity'", "users_created_at_finite"),
        ("update key_activity set last_used_at = 'infinity'", "key_activity_idle_since_finite"),
        (
          """
          insert into key_usage (account_id, key_id, day, endpoint)
          values ('\(account)', '\(issued.key.id)', 'infinity', '/')
          """, "key_usage_day_finite"
        ),
      ] {
        let error = await #expect(throws: PostgresError.self) { try await pool.script(statement) }
        #expect(error?.constraint == constraint, "\(statement)")
      }
      #expect(try await world.makeVerifier().verify(VerificationRequest(hash: issued.secret.hash)).code == .valid)
      #expect(try await world.keys.list(of: account).items == [issued.key])
    }
  }

  @Test("a row from elsewhere with an infinite time is an error that names its column, and not a crash")
  func restored() async throws {
    try await withPool { pool in
      let world = World(pool)
      let account = try await world.makeAccount()
      let issued = try await world.makeKey(account)
      for time in ["infinity", "-infinity"] {
        try await pool.script(
          """
          alter table api_keys drop constraint if exists api_keys_expires_at_finite;
          update api_keys set expires_at = '\(time)'
          """)
        let found = await #expect(throws: PostgresError.self) {
          try await world.keys.find(issued.key.id, of: account)
        }
        let listed = await #expect(throws: PostgresError.self) { try await world.keys.list(of: account) }
        let verified = await #expect(throws: PostgresError.self) {
          try await world.makeVerifier().verify(VerificationRequest(hash: issued.secret.hash))
        }
        for error in [found, listed, verified] {
          #expect(error?.code == .decoding && error?.message.hasSuffix("is infinite") == true)
        }
      }
    }
  }

  @Test("of existing rows, an infinite expiry becomes none, and any other infinity stops the migration with its name")
  func upgrade() async throws {
    try await withPool(isSwept: false) { pool in
      try await pool.script("drop schema public cascade; create schema public")
      let files = try Migrations.embedded().files
      _ = try await Migrations(files.filter { $0.number < Self.number }).apply(on: pool)
      try await pool.script(
        """
        insert into accounts (id, name) values ('00000000-0000-7000-8000-000000000001', 'a');
        insert into api_keys (id, account_id, name, key_start, key_hash, environment, scopes, expires_at)
        select gen_random_uuid(), '00000000-0000-7000-8000-000000000001', 'k', 'x', sha256(n::text::bytea), 'live',
          '{a}', case when n = 1 then 'infinity' when n = 2 then '2099-01-01' end::timestamptz
        from generate_series(1, 3) n;
        insert into service_tokens (id, name, token_hash, permissions, expires_at)
        values (gen_random_uuid(), 't', sha256('t'), '{keys.verify}', 'infinity');
        insert into key_usage (account_id, key_id, day, endpoint)
        values (gen_random_uuid(), gen_random_uuid(), '-infinity', '/')
        """)
      let error = await #expect(throws: PostgresError.self) { try await Migrations(files).apply(on: pool) }
      #expect(error?.constraint == "key_usage_day_finite" && error?.message.hasPrefix("0022_") == true)
      try await pool.script("delete from key_usage where not isfinite(day)")
      _ = try await Migrations(files).apply(on: pool)
      #expect(try await pool.number("select count(*) from api_keys where expires_at is null") == 2)
      #expect(try await pool.number("select count(*) from api_keys where expires_at = '2099-01-01Z'") == 1)
      #expect(try await pool.number("select count(*) from service_tokens where expires_at is null") == 1)
      #expect(try await pool.number("select count(*) from invalidation_server where isfinite(since)") == 1)
    }
  }

  @Test("the check of existing rows blocks no reader and no writer")
  func locks() async throws {
    let files = try Migrations.embedded().files
    let check = try #require(files.first { $0.name.hasSuffix("finite_times_checked") })
    try await withPool { pool in
      try await pool.script(
        """
        alter table api_keys drop constraint api_keys_expires_at_finite;
        alter table api_keys add constraint api_keys_expires_at_finite check (isfinite(expires_at)) not valid;
        alter table key_usage drop constraint key_usage_day_finite;
        alter table key_usage add constraint key_usage_day_finite check (isfinite(day)) not valid
        """)
      let modes = try await pool.withConnection { connection in
        try await connection.executeScript(
          """
          begin;
          \(check.sql);
          create temporary table modes as
            select distinct mode from pg_locks join pg_class on pg_class.oid = relation
            where pid = pg_backend_pid() and relkind in ('r', 'p') and relnamespace = 'public'::regnamespace;
          commit
          """)
        return try await connection.text("select string_agg(mode, ' ' order by mode) from modes")
      }
      #expect(modes == "ShareUpdateExclusiveLock")
      #expect(try await pool.number("select count(*) from pg_constraint where not convalidated") == 0)
    }
  }
}
