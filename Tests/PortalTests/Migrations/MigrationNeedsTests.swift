import Testing

@testable import Portal

@Suite("The rights that migrations need")
struct MigrationNeedsTests {
  private static let sufficient = MigrationNeeds(
    login: "app", database: "portal", schema: "public", owner: "app", missingRoles: [], unavailableRoles: [],
    mayMakeRoles: false, mayJoinRoles: true, mayCreateInSchema: true, trigrams: .installed, isOwner: true)

  private func refusal(
    migrates: Bool = true, _ change: (inout MigrationNeeds) -> Void
  ) -> MigrationRefusal? {
    var needs = Self.sufficient
    change(&needs)
    return needs.refusal(migrates: migrates)
  }

  @Test("a login with all rights is not refused, whether it may create roles or they exist")
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

  @Test("each missing right is a reason, with the statement that grants it if there is one")
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
          $0.unavailableRoles = ["latchkey_jobs"]
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

  @Test("when nothing is pending, only missing roles are needed")
  func nothingPending() {
    let change = { (needs: inout MigrationNeeds) in
      needs.unavailableRoles = ["latchkey_jobs"]
      needs.mayJoinRoles = false
      needs.mayCreateInSchema = false
      needs.trigrams = .absent
      needs.isOwner = false
    }
    #expect(refusal(migrates: false, change) == nil)
    #expect(refusal(migrates: false) { $0.missingRoles = ["latchkey_jobs"] }?.statements.count == 2)
  }

  @Test("the message has the reasons and, if statements help, where to run them")
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
