import PortalTesting
import Postgres
import Testing

@testable import Portal

@Suite("The database roles of the portal")
struct DatabaseRoleTests {
  private static let names = DatabaseRole.allCases.map { "'\($0.rawValue)'" }.joined(separator: ",")
  private static let tables = """
    select oid, relname from pg_class
    where relnamespace = 'public'::regnamespace and relkind in ('r', 'p') and not relispartition
    """

  @Test("own nothing, cannot log in, and are subject to row-level security")
  func weak() async throws {
    try await withPool { pool in
      let count = try await pool.number("select count(*) from pg_roles where rolname in (\(Self.names))")
      #expect(count == DatabaseRole.allCases.count)
      #expect(
        try await pool.lines(
          """
          select rolname from pg_roles where rolname in (\(Self.names))
            and (rolsuper or rolbypassrls or rolcanlogin or rolcreaterole or rolcreatedb or exists (
              select from pg_class where relowner = pg_roles.oid))
          """) == [])
    }
  }

  @Test("every table with an account has row-level security, and shows the portal only the current account's rows")
  func policies() async throws {
    try await withPool { pool in
      let open = try await pool.lines(
        """
        select relname from (\(Self.tables)) t
        where (relname = 'accounts' or exists (
          select from pg_attribute where attrelid = t.oid and attname = 'account_id'))
          and has_any_column_privilege('latchkey_portal', t.oid, 'select, insert, update')
          and not exists (
            select from pg_policy join pg_class on pg_class.oid = polrelid
            where polrelid = t.oid and relrowsecurity and polname = 'current_account'
              and polroles = array[(select oid from pg_roles where rolname = 'latchkey_portal')]
              and pg_get_expr(polqual, polrelid) ~ 'id = \\( SELECT current_account\\(\\)')
        """)
      #expect(open == [])
      let others = try await pool.lines(
        """
        select distinct relname || ' ' || polname from pg_policy join pg_class on pg_class.oid = polrelid
        where 'latchkey_portal'::regrole::oid = any (polroles) and polname <> 'current_account'
        """)
      #expect(others == ["users newcomers"])
    }
  }

  /// The columns that grant access, or would if they were guessed, and the roles that may read them.
  @Test(
    "hashes are readable only by the roles that compare them",
    arguments: [
      ("users.password_hash", ["identity"]), ("staff.password_hash", ["identity"]),
      ("signups.password_hash", ["identity", "jobs"]), ("one_time_tokens.token_hash", ["identity", "jobs"]),
      ("sessions.token_hash", ["identity", "jobs"]), ("staff_sessions.token_hash", ["identity", "jobs"]),
      ("api_keys.key_hash", ["gateway", "staff"]), ("service_tokens.token_hash", ["gateway"]),
      ("api_keys.import_hash", ["gateway", "staff"]),
    ])
  func hashes(_ column: String, _ roles: [String]) async throws {
    let parts = column.split(separator: ".")
    let found = try await withPool { pool in
      try await pool.lines(
        """
        select replace(rolname, 'latchkey_', '') from pg_roles where rolname in (\(Self.names))
          and has_column_privilege(rolname, '\(parts[0])', '\(parts[1])', 'select') order by 1
        """)
    }
    #expect(found == roles)
  }

  @Test(
    "each may change only what its purpose requires",
    arguments: [
      ("api_keys", "insert", ["portal"]), ("api_keys", "update", ["portal", "staff"]), ("api_keys", "delete", []),
      ("audit_events", "insert", ["identity", "jobs", "portal", "staff"]), ("audit_events", "update", []),
      ("audit_events", "delete", []),
      ("audit_events", "truncate", []), ("key_usage", "update", ["gateway"]), ("plans", "update", ["staff"]),
      ("plans", "insert", ["staff"]), ("plans", "delete", []), ("key_policies", "insert", ["portal"]),
      ("key_policies", "update", ["portal"]), ("key_policies", "delete", []),
      ("invalidation_log", "insert", []), ("invalidation_head", "update", []),
      ("service_tokens", "insert", ["staff"]), ("service_tokens", "update", ["staff"]),
      ("service_token_activity", "insert", ["gateway"]), ("service_token_activity", "update", ["gateway"]),
      ("staff_confirmations", "insert", ["staff"]), ("staff_confirmations", "update", []),
      ("staff_confirmations", "delete", ["jobs", "staff"]), ("staff", "insert", ["staff"]),
      ("apis", "insert", ["staff"]), ("apis", "update", ["staff"]), ("apis", "delete", ["staff"]),
      ("permissions", "update", ["staff"]), ("roles", "update", ["staff"]), ("role_permissions", "insert", ["staff"]),
      ("role_permissions", "update", []), ("key_roles", "insert", ["portal", "staff"]), ("key_roles", "update", []),
      ("key_roles", "delete", ["staff"]), ("key_permissions", "insert", ["portal", "staff"]),
      ("key_permissions", "update", []), ("key_permissions", "delete", ["staff"]),
      ("limit_namespaces", "insert", ["staff"]), ("limit_namespaces", "delete", ["staff"]),
      ("limit_overrides", "insert", ["staff"]), ("limit_overrides", "update", ["staff"]),
      ("limit_overrides", "delete", ["staff"]),
      ("staff", "update", ["identity"]), ("staff", "delete", ["identity"]),
      ("settings_history", "insert", []), ("settings_history", "update", ["jobs"]),
      ("settings_history", "delete", ["jobs"]), ("settings_history", "select", ["jobs"]),
      ("credits", "insert", ["staff"]), ("credits", "delete", ["staff"]),
      // The portal's is for locks.
      ("credits", "update", ["gateway", "jobs", "portal", "staff"]), ("credit_leases", "insert", ["gateway"]),
      ("credit_leases", "delete", ["gateway", "jobs"]), ("credit_holders", "insert", ["gateway"]),
    ])
  func changes(_ table: String, _ privilege: String, _ roles: [String]) async throws {
    let found = try await withPool { pool in
      try await pool.lines(
        """
        select replace(rolname, 'latchkey_', '') from pg_roles where rolname in (\(Self.names))
          and (has_table_privilege(rolname, '\(table)', '\(privilege)') or case
            when '\(privilege)' in ('insert', 'update')
            then has_any_column_privilege(rolname, '\(table)', '\(privilege)') else false end)
        order by 1
        """)
    }
    #expect(found == roles)
  }

  @Test("staff can change a key's row only by revoking it, and by giving it resources and credits")
  func staffKeys() async throws {
    let columns = try await withPool { pool in
      try await pool.lines(
        """
        select attname from pg_attribute where attrelid = 'api_keys'::regclass and attnum > 0 and not attisdropped
          and has_column_privilege('latchkey_staff', attrelid, attnum, 'update')
        """)
    }
    #expect(Set(columns) == ["credits_id", "resources", "revoked_at"])
  }

  @Test("the portal can change nothing of credits: it locks a bucket, and asks the instances")
  func portalCredits() async throws {
    let columns = try await withPool { pool in
      try await pool.lines(
        """
        select relname || '.' || attname from pg_attribute join pg_class on pg_class.oid = attrelid
        where relname in ('credits', 'credit_leases', 'credit_holders') and attnum > 0 and not attisdropped
          and has_column_privilege('latchkey_portal', attrelid, attnum, 'update')
        order by 1
        """)
    }
    #expect(columns == ["credit_leases.asked", "credits.created_at"])
  }

  @Test("functions that run with their owner's rights are called by jobs, triggers, or roles known to need them")
  func definers() async throws {
    try await withPool { pool in
      let open = try await pool.lines(
        """
        select proname from pg_proc where pronamespace = 'public'::regnamespace and prosecdef and (
          proconfig is null or not exists (
            select from unnest(proconfig) as setting where setting like 'search_path=%pg_temp')
          or exists (
            select from aclexplode(proacl) where grantee <> proowner and (grantee::regrole::text, proname) not in (
              ('latchkey_portal', 'delete_current_account'), ('latchkey_portal', 'forget_people'),
              -- Neither tells anything of what is in the log.
              ('latchkey_portal', 'is_in_invalidation_history'), ('latchkey_gateway', 'is_in_invalidation_history'),
              ('latchkey_staff', 'begin_invalidation_epoch'),
              -- Staff may see all of what was, as they may see what is.
              ('latchkey_staff', 'settings_at'), ('latchkey_staff', 'settings_kept_since'),
              ('latchkey_staff', 'move_keys'),
              ('latchkey_staff', 'lock_accounts'), ('latchkey_staff', 'make_external_accounts'),
              ('latchkey_staff', 'import_keys'), ('latchkey_gateway', 'use_imported_keys'),
              ('latchkey_identity', 'begin_erasure'), ('latchkey_identity', 'go_on_erasing'),
              ('latchkey_identity', 'erase_key_maker'), ('latchkey_identity', 'redact_audit_events'),
              ('latchkey_identity', 'finish_erasure'))
              and grantee::regrole::text <> 'latchkey_jobs')
          or proacl is null)
        """)
      #expect(open == [])
    }
  }
}
