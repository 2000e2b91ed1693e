import Foundation
import PortalTesting
import Postgres
import Testing

@testable import Portal

@Suite("Statements of the support desk")
struct SupportDeskStatementsTests {
  /// Twenty thousand accounts with an owner and two keys each.
  private func withAccounts(_ body: (PostgresPool) async throws -> Void) async throws {
    try await withPool(isSwept: false) { pool in
      try await pool.script(
        """
        insert into accounts (id, name)
          select pg_catalog.md5('account ' || n)::uuid, pg_catalog.md5('name ' || n) || ' GmbH'
          from generate_series(1, 20000) n;
        insert into users (id, email, password_hash)
          select pg_catalog.md5('user ' || n)::uuid, 'person' || n || '@' || pg_catalog.md5('host ' || n) || '.example',
            ''
          from generate_series(1, 20000) n;
        insert into memberships (account_id, user_id, role)
          select pg_catalog.md5('account ' || n)::uuid, pg_catalog.md5('user ' || n)::uuid, 'owner'
          from generate_series(1, 20000) n;
        insert into api_keys (id, account_id, name, key_start, key_hash, environment, scopes)
          select pg_catalog.md5('key ' || n)::uuid, pg_catalog.md5('account ' || n / 2)::uuid, 'Key', 'lk_live_',
            sha256(n::text::bytea), 'live', '{a}'
          from generate_series(2, 40000) n;
        """)
      // Flushes the pending lists of the GIN indexes, which make searches expensive.
      try await pool.script("vacuum analyze")
      try await body(pool)
    }
  }

  @Test("searches for parts of names and addresses use an index under the role of staff")
  func plans() async throws {
    try await withAccounts { pool in
      for (values, index) in [
        ("null, '%ab12%', null, null, 100, 50, null", "accounts_name_trigram_idx"),
        ("null, null, null, '%son1234@%', 100, 50, null", "users_email_trigram_idx"),
        ("null, null, '{person7@x.example}', null, 100, 50, null", "users_email_unique"),
      ] {
        let plan = try await pool.plan(
          of: SearchAccounts.self, "uuid, text, text[], text, bigint, bigint, uuid", values, as: .staff)
        #expect(plan.contains("on " + index) || plan.contains("using " + index), "\(plan)")
        #expect(!plan.contains(#/Seq Scan on (accounts|users|memberships|api_keys)/#), "\(plan)")
      }
      for (values, index) in [
        ("null, null, null, null, null, null, '%ab12%', 100", "accounts_name_trigram_idx"),
        ("null, null, null, null, null, '%son1234@%', null, 100", "users_email_trigram_idx"),
        ("null, null, null, null, '{person7@x.example}', null, null, 100", "users_email_unique"),
      ] {
        let plan = try await pool.plan(
          of: SearchKeys.self, "uuid, uuid, text, bytea, text[], text, text, bigint", values, as: .staff)
        #expect(plan.contains("on " + index) || plan.contains("using " + index), "\(plan)")
        #expect(!plan.contains(#/Seq Scan on (accounts|users|memberships|api_keys|key_activity)/#), "\(plan)")
      }
    }
  }

  @Test("an index finds the same as comparing every name and address, including wildcards and short parts")
  func parts() async throws {
    try await withAccounts { pool in
      let desk = World(pool).desk
      try await pool.script(
        """
        update accounts set name = 'Größe_100% \\ Söhne' where id = pg_catalog.md5('account 7')::uuid;
        update users set email = 'o''neill_%@x.example' where id = pg_catalog.md5('user 8')::uuid;
        """)
      let seven = try #require(UUID(uuidString: try await pool.text("select pg_catalog.md5('account 7')::uuid") ?? ""))
      let eight = try #require(UUID(uuidString: try await pool.text("select pg_catalog.md5('account 8')::uuid") ?? ""))
      for part in ["größe", "0% ", "E_1", "\\ s", "GRÖSSE_", "%\\"] {
        let found = try await desk.search(AccountSearch(name: part)).map(\.account.id)
        #expect(found == (part == "GRÖSSE_" || part == "%\\" ? [] : [seven]), "\(part)")
        #expect(try await desk.search(KeySearch(accountName: part)).count == found.count * 2, "\(part)")
      }
      for part in ["O'NEILL", "l_%@", "neill_"] {
        #expect(try await desk.search(AccountSearch(emailPart: part)).map(\.account.id) == [eight], "\(part)")
        #expect(Set(try await desk.search(KeySearch(emailPart: part)).map(\.accountID)) == [eight], "\(part)")
      }
      for part in ["son123", "@0a", "12@"] {
        let found = try await desk.search(AccountSearch(emailPart: part)).map(\.account.id.uuidString)
        let expected = try await pool.lines(
          """
          select upper(account_id::text) from memberships join users on users.id = user_id
          where position('\(part)' in email) > 0 order by account_id desc limit 100
          """)
        #expect(found == expected && !found.isEmpty, "\(part)")
      }
    }
  }
}
