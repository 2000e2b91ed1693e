import Testing

@testable import Portal

@Suite("Access rules")
struct AccessRuleTests {
  @Test("each statement has a kind, and the summary of a list counts each kind")
  func kinds() {
    let statements: [(String, AccessRule.Kind)] = [
      ("alter table a owner to :owner", .owner),
      ("alter table a enable row level security", .rowSecurity),
      ("create policy p on a as permissive for all to r using (true)", .policy),
      ("create policy q on a as permissive for all to r using (true)", .policy),
      ("revoke execute on function f() from public", .revocation),
      ("grant select (id) on a to r", .grant),
    ]
    let rules = statements.map { AccessRule(statement: $0.0) }
    #expect(rules.map(\.kind) == statements.map(\.1))
    #expect(
      rules.summary == "1 owner, 1 table's row-level security, 2 policies, 1 revocation, 1 grant")
  }

  @Test("a policy is identified by its table, command and roles, and not by the text of its expressions")
  func policies() {
    let wanted = AccessRules(text: "create policy p on a as permissive for all to r, s using (x) with check (y)\n")
    let present = { (text: String) in [AccessRule(statement: text)] }
    let others = [
      "create policy p on b as permissive for all to r, s using (x) with check (y)",
      "create policy p on a as permissive for select to r, s using (x) with check (y)",
      "create policy p on a as permissive for all to r using (x) with check (y)",
    ]
    for other in others { #expect(wanted.missing(among: present(other)).count == 1, "\(other)") }
    #expect(
      wanted.missing(among: present("create policy p on a as permissive for all to r, s using ((x)) with check ((y))"))
        == [])
  }

  @Test("owner and schema are those of the database, and a policy replaces the one with its name")
  func scripts() {
    let script = { (text: String) in AccessRule(statement: text).script(schema: "\"S\"", owner: "\"O\"") }
    #expect(script("alter function f(text) owner to :owner") == "alter function f(text) owner to \"O\";")
    #expect(script("grant usage on schema :schema to r") == "grant usage on schema \"S\" to r;")
    #expect(
      script("create policy p on a as permissive for all to r using (b = ':owner')") == """
        drop policy if exists p on a;
        create policy p on a as permissive for all to r using (b = ':owner');
        """)
  }
}
