import Testing

@testable import Portal

@Suite("What migrations need of a login")
struct MigrationNeedsTests {
  private static let sufficient = MigrationNeeds(
    login: "app", database: "portal", schema: "public", owner: "app", missingRoles: [], strangeRoles: [],
    mayMakeRoles: false, mayJoinRoles: true, mayCreateInSchema: true, trigrams: .installed, isOwner: true)

  private func refusal(
    migrates: Bool = true, _ change: (inout MigrationNeeds) -> Void
  ) -> MigrationRefusal? {
    var needs = Self.sufficient
    change(&needs)
    return needs.refusal(migrates: migrates)
  }

  @Test("a login that has all of it is not refused, whether it may make roles or finds them made")
  func sufficient() {
    #expect(refusal { _ in } == nil)
    #expect(
      refusal {
        $0.missingRoles = ["latchkey_portal"]
        $0.mayMakeRoles = true
        $0.trigrams = .installable
      } == nil)
    #expect(Self.sufficient.ownerRefusal == nil)
  }

  @Test("each thing that lacks is a reason, with the statement that gives it where there is one")
  func reasons() {
    let cases: [((inout MigrationNeeds) -> Void, [String])] = [
      (
        { $0.missingRoles = ["latchkey_portal", "latchkey_jobs"] },
        [
          "create role latchkey_portal; create role latchkey_jobs;",
          "grant latchkey_portal, latchkey_jobs to app with admin option;",
        ]
      ),
      (
        {
          $0.strangeRoles = ["latchkey_jobs"]
          $0.mayJoinRoles = false
        }, ["grant latchkey_jobs to app with admin option;"]
      ),
      ({ $0.mayCreateInSchema = false }, ["grant usage, create on schema public to app;"]),
      ({ $0.schema = nil }, ["create schema authorization app;"]),
      ({ $0.trigrams = .databaseNeeded }, ["grant create on database portal to app;"]),
      ({ $0.trigrams = .superuserNeeded }, ["create extension pg_trgm;"]),
      ({ $0.trigrams = .absent }, []),
      (
        {
          $0.owner = "postgres"
          $0.isOwner = false
        }, []
      ),
    ]
    for (change, statements) in cases {
      let refusal = refusal(change)
      #expect(refusal?.reasons.count == 1)
      #expect(refusal?.statements == statements)
    }
  }

  @Test("where nothing is pending, roles that are missing are all that is needed")
  func nothingPending() {
    let change = { (needs: inout MigrationNeeds) in
      needs.strangeRoles = ["latchkey_jobs"]
      needs.mayJoinRoles = false
      needs.mayCreateInSchema = false
      needs.trigrams = .absent
      needs.isOwner = false
    }
    #expect(refusal(migrates: false, change) == nil)
    #expect(refusal(migrates: false) { $0.missingRoles = ["latchkey_jobs"] }?.statements.count == 2)
  }

  @Test("the message has the reasons and, where statements help, where they are to be run")
  func description() {
    #expect(
      refusal { $0.mayCreateInSchema = false }?.description == """
        the login app lacks rights in the database portal, and nothing was changed:
          - it may not create in the schema public
        As a superuser, in the database portal:
          grant usage, create on schema public to app;
        """)
    #expect(refusal { $0.trigrams = .absent }?.description.contains("As a superuser") == false)
  }
}
