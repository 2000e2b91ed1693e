import Foundation
import PortalTesting
import Postgres
import Testing

@testable import Portal

@Suite("Accounts")
struct AccountsTests {
  private let ada = EmailAddress("ada@example.com")!
  private let password = Password(presented: World.password)

  private func count(_ pool: PostgresPool) async throws -> [Int] {
    var counts: [Int] = []
    for table in ["accounts", "users", "memberships", "audit_events"] {
      counts.append(try await pool.number("select count(*) from \(table)"))
    }
    return counts
  }

  @Test("signing up creates an account with its owner, and the trail names the owner as its creator")
  func signUp() async throws {
    try await withPool { pool in
      let world = World(pool)
      let (account, user) = try await world.accounts.create(
        name: "Ünïcode 🔑", email: ada, password: password, by: .owner(ip: "192.0.2.1"))
      #expect(user.email == "ada@example.com")
      #expect(
        try await pool.lines("select concat_ws(' ', id, name, plan, suspended_at) from accounts")
          == ["\(account.text) Ünïcode 🔑 default"])
      #expect(
        try await pool.lines("select concat_ws(' ', user_id, role) from memberships") == ["\(user.id.text) owner"])
      let event = try #require(try await world.audit.list(of: account, page: PageRequest()).items.first)
      #expect(event.action == "account.created" && event.targetKind == "account" && event.targetID == account)
      #expect(event.actorKind == "user" && event.actorID == user.id && event.actorName == "ada@example.com")
      #expect(event.ip == "192.0.2.1")
    }
  }

  @Test("a password is stored as a scrypt hash, and no part of it in plain text")
  func storedHashed() async throws {
    try await withPool { pool in
      _ = try await World(pool).makeAccount()
      let row = try #require(try await pool.text("select users::text from users"))
      #expect(row.contains("$scrypt$") && !row.contains("horse"))
    }
  }

  @Test("the trail of an account created on the command line says so")
  func byCommand() async throws {
    try await withPool { pool in
      let world = World(pool)
      let account = try await world.makeAccount()
      let event = try #require(try await world.audit.list(of: account, page: PageRequest()).items.first)
      #expect(event.actorKind == "command" && event.actorID == nil && event.actorName == "test" && event.ip == nil)
    }
  }

  // MARK: All or nothing

  @Test(
    "of twenty concurrent sign-ups with one address in any spelling, one succeeds and the others leave nothing behind")
  func taken() async throws {
    try await withPool { pool async throws in
      let accounts = World(pool).accounts
      let spellings = ["ada@example.com", "ADA@EXAMPLE.COM", " Ada@Example.com "].map { EmailAddress($0)! }
      let outcomes = await concurrently(20) { index in
        try await accounts.create(
          name: "\(index)", email: spellings[index % 3], password: password, by: .owner(ip: nil)
        ).account
      }
      #expect(outcomes.values.count == 1 && outcomes.count(of: .emailTaken) == 19)
      #expect(try await count(pool) == [1, 1, 1, 1])
    }
  }

  @Test(
    "if any part of an account cannot be written, nothing is",
    arguments: [
      "alter table accounts add constraint closed check (false)",
      "alter table users add constraint closed check (false)",
      "alter table memberships add constraint closed check (false)",
      "alter table audit_events add constraint closed check (false)",
    ])
  func oneTransaction(_ change: String) async throws {
    try await withPool { pool in
      try await pool.script(change)
      await #expect(throws: PostgresError.self) { try await World(pool).makeAccount() }
      #expect(try await count(pool) == [0, 0, 0, 0])
    }
  }

  @Test("a name must have 1 to 100 characters, also for PostgreSQL")
  func names() async throws {
    try await withPool { pool in
      let accounts = World(pool).accounts
      for name in ["", String(repeating: "é", count: 101)] {
        let error = await #expect(throws: PostgresError.self) {
          try await accounts.create(name: name, email: ada, password: password, by: .owner(ip: nil))
        }
        #expect(error?.violates("accounts_name_length") == true)
      }
      _ = try await accounts.create(
        name: String(repeating: "🔑", count: 100), email: ada, password: password, by: .owner(ip: nil))
    }
  }

  @Test("an address is unique among staff, and a customer may have the same one")
  func staff() async throws {
    try await withPool { pool in
      let world = World(pool)
      _ = try await world.makeAccount()
      let outcomes = await concurrently(5) { _ in
        try await world.accounts.createStaff(
          name: "Ada", email: ada, role: .admin, password: password, by: World.caller)
      }
      #expect(outcomes.values.count == 1 && outcomes.count(of: .emailTaken) == 4)
      #expect(outcomes.values[0].role == .admin && outcomes.values[0].email == "ada@example.com")
    }
  }
}
