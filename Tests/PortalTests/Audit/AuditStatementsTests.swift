import Foundation
import PortalTesting
import Postgres
import Testing

@testable import Portal

@Suite("Statements of the audit trail")
struct AuditStatementsTests {
  /// Two accounts with 20,000 events each; each filter matches few of them.
  @Test(
    "each filter uses an index in a long trail",
    arguments: [
      ("null, null, null, null, null, null", "audit_events_account_idx"),
      ("'staff', null, null, null, null, null", "audit_events_actor_kind_idx"),
      ("null, '00000000-0000-0000-0000-000000000007', null, null, null, null", "audit_events_actor_idx"),
      ("null, null, 'key.revoked', null, null, null", "audit_events_action_idx"),
      ("null, null, null, '00000000-0000-0000-0000-000000000009', null, null", "audit_events_target_idx"),
      ("null, null, null, null, '2026-01-10', '2026-01-10 01:00'", "audit_events_at_idx"),
    ])
  func plans(_ filter: String, _ index: String) async throws {
    try await withPool { pool in
      try await pool.script(
        """
        insert into accounts (id, name) values
          ('00000000-0000-0000-0000-000000000001', 'one'), ('00000000-0000-0000-0000-000000000002', 'two');
        set session_replication_role = replica;
        insert into audit_events (id, account_id, at, seq, actor_kind, actor_id, actor_name, action, target_kind,
          target_id, prev_hash, hash)
        select gen_random_uuid(), account.id, '2026-01-01'::timestamptz + n * interval '1 minute', n,
          case when n % 1000 = 0 then 'staff' else 'user' end,
          ('00000000-0000-0000-0000-0000000' || lpad((n % 500)::text, 5, '0'))::uuid, 'x',
          case when n % 700 = 0 then 'key.revoked' else 'key.created' end, 'key',
          ('00000000-0000-0000-0000-0000000' || lpad((n % 5000)::text, 5, '0'))::uuid, sha256('x'), sha256('x')
        from accounts account, generate_series(1, 20000) n;
        analyze audit_events;
        create function explain(question text) returns text language plpgsql as $$
          declare line text; plan text := '';
          begin for line in execute 'explain ' || question loop plan := plan || line || chr(10); end loop; return plan;
            end $$
        """)
      let plan = try await pool.withConnection { connection in
        try await connection.executeScript(
          """
          set plan_cache_mode = force_custom_plan;
          prepare list (text, uuid, text, uuid, timestamptz, timestamptz, uuid, uuid, bigint) as \(ListAuditEvents.sql);
          """)
        return try await connection.text(
          """
          select explain('execute list (\(filter.replacing("'", with: "''")),
            ''00000000-0000-0000-0000-000000000001'', null, 51)')
          """
        )
      }
      #expect(plan?.contains(index) == true, "\(plan ?? "")")
      #expect(plan?.contains("Seq Scan") == false, "\(plan ?? "")")
    }
  }
}
