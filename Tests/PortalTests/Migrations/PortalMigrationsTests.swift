import Foundation
import PortalTesting
import Postgres
import PostgresTesting
import Testing

@testable import Portal

@Suite("Rights and policies")
struct PortalMigrationsTests {
  /// Other versions write the expressions of policies differently.
  private func isWrittenBy15(_ pool: PostgresPool) async throws -> Bool {
    try await pool.serverVersion()?.number == 15
  }

  @Test("migrations/access is what the migrations set; scripts/schema writes it")
  func file() async throws {
    try await withPool { pool in
      let kept = try String(contentsOfFile: repositoryRoot + "/migrations/access", encoding: .utf8)
      #expect(AccessRules(text: kept).rules == AccessRules.embedded.rules)
      let given = try await PortalMigrations().access(on: pool)
      #expect(given.map(\.identity) == AccessRules.embedded.rules.map(\.identity), "run scripts/schema")
      if try await isWrittenBy15(pool) { #expect(given == AccessRules.embedded.rules, "run scripts/schema") }
      #expect(given.count { $0.kind == .policy } > 70)
    }
  }

  @Test("every kind of missing rule is restored, and a second run does nothing")
  func restored() async throws {
    try await withPool(isSwept: false) { pool in
      let migrations = try PortalMigrations()
      let before = try await migrations.access(on: pool)
      #expect(try await migrations.missingAccess(on: pool) == [])
      let stranger = "stranger_\(UUID().uuidString.prefix(8).lowercased())"
      try await pool.script(
        """
        create role \(stranger);
        drop owned by \(DatabaseRole.names.joined(separator: ", "));
        alter table api_keys disable row level security;
        grant execute on function begin_invalidation_epoch() to public;
        alter function delete_current_account() owner to \(stranger);
        alter table keys_v1 owner to \(stranger)
        """)
      let missing = try await migrations.missingAccess(on: pool)
      for kind in AccessRule.Kind.allCases { #expect(missing.contains { $0.kind == kind }, "\(kind)") }

      let outcome = try await migrations.run(on: pool)
      #expect(outcome.restored == missing && outcome.applied == [] && outcome.createdRoles == [])
      let after = try await migrations.access(on: pool)
      #expect(after == before)
      let again = try await migrations.run(on: pool)
      #expect(again.restored == [] && again.applied == [])
      try await pool.script("drop owned by \(stranger); drop role \(stranger)")
    }
  }

  @Test("a policy that was left for some of its roles is recreated for all, and policies of others stay")
  func partial() async throws {
    try await withPool(isSwept: false) { pool in
      let migrations = try PortalMigrations()
      try await pool.script(
        """
        alter policy system_events on audit_events to latchkey_jobs;
        create policy of_somebody on audit_events for select to public using (false)
        """)
      let outcome = try await migrations.run(on: pool)
      #expect(outcome.restored.map(\.kind) == [.policy])
      let roles = try await pool.text(
        "select array_to_string(roles, ' ') from pg_policies where policyname = 'system_events'")
      #expect(roles?.split(separator: " ").sorted() == ["latchkey_identity", "latchkey_jobs", "latchkey_staff"])
      #expect(try await pool.number("select count(*) from pg_policies where policyname = 'of_somebody'") == 1)
    }
  }

  @Test("a rule that cannot be restored because its table is gone is an error that names it, and nothing is restored")
  func impossible() async throws {
    try await withPool(isSwept: false) { pool in
      let migrations = try PortalMigrations()
      try await pool.script(
        "drop table key_expiry_notices cascade; revoke select on plans from latchkey_portal")
      let error = await #expect(throws: PostgresError.self) { try await migrations.run(on: pool) }
      #expect(error?.message.contains("key_expiry_notices") == true)
      let isGranted = try await pool.text("select has_table_privilege('latchkey_portal', 'plans', 'select')")
      #expect(isGranted == "false")
    }
  }
}
