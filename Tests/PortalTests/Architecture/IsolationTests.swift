import Foundation
import JSON
import PortalTesting
import Postgres
import PostgresTesting
import Testing

@testable import Portal

/// A statement of an account, with one account's id.
private struct TenantCase: Sendable {
  /// The result for an account that has none of the requested rows.
  enum Nothing {
    case noRow
    /// One row: the account itself, or that it was created.
    case itself
    /// Empty rows.
    case emptyRows(Int)
    case refusal
  }

  let name: String
  let nothing: Nothing
  let isEmpty: @Sendable (PostgresConnection) async throws -> Int

  init<Statement: PostgresStatement>(_ statement: Statement, _ nothing: Nothing = .noRow) {
    name = "\(Statement.self)"
    self.nothing = nothing
    isEmpty = { try await $0.execute(Unguarded(statement: statement)) }
  }
}

/// A statement without its condition on the account, as if its author had forgotten it.
private struct Unguarded<Statement: PostgresStatement>: PostgresStatement {
  static var sql: String {
    Statement.sql
      .replacing(#/(\w+\.)?account_id = (\$\d+)/#) { "\($0.output.2)::uuid is not null" }
      .replacing(/where (account\.)?id = \$1\b/, with: "where $1::uuid is not null")
  }
  let statement: Statement
  func bind(_ bindings: inout PostgresBindings) { statement.bind(&bindings) }
}

/// The contents of an account: an owner who is logged in, keys of all kinds, usage, and a trail.
private struct Tenant {
  let accountID: UUID
  let email: String
  let key: UUID
  let spare: UUID
  let user: UUID
  let invitation: UUID
  let request: IdempotentRequest
  /// A bucket of credits, of which an instance that is alive has set something aside.
  let bucket: UUID

  init(_ world: World, _ email: String) async throws {
    self.email = email
    accountID = try await world.makeAccount(email)
    // Rolled from a key that is in its grace period.
    key = try await world.keys.roll(
      try await world.makeKey(accountID).key.id, of: accountID, graceSeconds: 60, by: World.caller
    ).successor.key.id
    spare = try await world.makeKey(accountID).key.id
    user = UUID(
      uuidString: try await world.pool.text("select user_id from memberships where account_id = '\(accountID)'") ?? "")!
    try await world.policies.set(KeyPolicy(disableAfterIdleDays: 7), of: accountID, by: World.caller)
    try await world.pool.script("update api_keys set created_at = now() - interval '8 days' where id = '\(spare)'")
    try await world.pool.script(
      """
      insert into permissions (id, slug) values (gen_random_uuid(), 'a') on conflict do nothing;
      insert into roles (id, name) values (gen_random_uuid(), 'pro') on conflict do nothing;
      insert into key_permissions (account_id, key_id, permission_id)
        select '\(accountID)', '\(key)', id from permissions;
      insert into key_roles (account_id, key_id, role_id) select '\(accountID)', '\(key)', id from roles
      """)
    bucket = .version7()
    let holder = UUID.version7()
    try await world.pool.script(
      """
      insert into credits (id, account_id, available) values ('\(bucket)', '\(accountID)', 5);
      insert into credit_holders (id, heard_at) values ('\(holder)', now() + interval '1 hour');
      insert into credit_leases (account_id, credits_id, holder_id, generation, granted)
        values ('\(accountID)', '\(bucket)', '\(holder)', 0, 3)
      """)
    let guest = NewInvitation(
      accountID: accountID, email: "guest@example.com", role: .viewer, inviterID: user, inviterName: email)
    invitation = guest.id
    try await world.pool.execute(
      InsertInvitation(invitation: guest, isMailed: false), as: .account(accountID))
    try await world.pool.execute(
      InsertInvitationToken(
        token: Secret.random(prefix: "lk_invite").hash, accountID: accountID, invitationID: invitation,
        email: "guest@example.com"), as: .account(accountID))
    request = IdempotentRequest(
      key: "once", request: [1], accountID: accountID, holder: .random(prefix: "lk_session"))!
    try await world.pool.execute(
      InsertFirstAnswer(
        request: request, answer: FirstAnswer(objects: ["{}"], newID: key, secret: nil), sealedSecret: [1]),
      as: .account(accountID))
    try await world.pool.script(
      """
      select count_usage(array['\(accountID)'::uuid], array['\(key)'::uuid], array[date_trunc('hour', now(), 'UTC')],
        array['/a'], '{1}', '{0}', array[now()], '{}', '{}', '{}', '{}', '{}')
      """)
  }

  var cases: [TenantCase] {
    let today = Day(containing: Date())
    let range = UsageRange(accountID: accountID, from: today.advanced(by: -1), to: today.advanced(by: 1))
    let settings = KeySettings(name: "Key", scopes: ["a"])
    return [
      TenantCase(AskCreditHolders(accountID: accountID, bucketID: bucket)),
      TenantCase(CopyKeyPermissions(accountID: accountID, from: key, to: spare)),
      TenantCase(CopyKeyRoles(accountID: accountID, from: key, to: spare)),
      TenantCase(CountInvitations(accountID: accountID), .emptyRows(1)),
      TenantCase(CountLiveKeys(accountID: accountID), .emptyRows(1)),
      TenantCase(CountUnrevokedKeys(accountID: accountID), .emptyRows(1)),
      TenantCase(DeleteMembership(accountID: accountID, userID: user)),
      TenantCase(DisableIdleKeys(accountID: accountID)),
      TenantCase(
        EnqueueNotices(
          kind: .keyCreated, accountID: accountID, subjectID: key, parameters: Mail.Parameters(), isOpen: true)),
      TenantCase(
        ExportAuditEvents(
          trail: AuditTrail(accountID), filter: AuditFilter(), after: 0, end: 100, count: 10), .itself),
      TenantCase(FindInvitation(accountID: accountID, id: invitation)),
      TenantCase(FindFirstAnswer(request: request)),
      TenantCase(FindMemberByEmail(accountID: accountID, email: email)),
      TenantCase(FindKey(accountID: accountID, id: key)),
      TenantCase(FindKeyRules(accountID: accountID), .itself),
      TenantCase(FindManagedAccount(accountID: accountID), .itself),
      TenantCase(FindMember(accountID: accountID, userID: user)),
      TenantCase(FindSettledCredits(accountID: accountID, bucketIDs: [bucket])),
      TenantCase(InsertAccount(id: .version7(), name: "Account"), .refusal),
      TenantCase(InsertAccountRequest(accountID: accountID, request: request, answer: "{}"), .refusal),
      TenantCase(
        InsertAuditEvent.onAccount(accountID, .accountSuspended, by: World.caller), .refusal),
      TenantCase(
        InsertExternalAccount(id: .version7(), settings: ManagedAccountSettings(name: "Account")), .refusal),
      TenantCase(
        InsertKeyAuditEvents(accountID: accountID, keyIDs: [key, spare], action: .keyRevoked, caller: World.caller),
        .refusal),
      TenantCase(
        InsertKey(
          id: .version7(), accountID: accountID, settings: settings, secret: .random(prefix: "lk_live"),
          creator: World.caller.actor),
        .refusal),
      TenantCase(
        InsertInvitation(
          invitation: NewInvitation(
            accountID: accountID, email: "eve@example.com", role: .owner, inviterID: user, inviterName: email),
          isMailed: false), .refusal),
      TenantCase(
        InsertInvitationToken(
          token: Secret.random(prefix: "lk_invite").hash, accountID: accountID, invitationID: invitation,
          email: "eve@example.com"), .refusal),
      TenantCase(
        InsertFirstAnswer(
          request: request, answer: FirstAnswer(objects: ["{}"], newID: .version7(), secret: nil),
          sealedSecret: [1]),
        .refusal),
      TenantCase(InsertMembership(accountID: accountID, userID: .version7(), role: .owner), .refusal),
      TenantCase(ListAuditEvents(accountID: accountID, filter: AuditFilter(), before: nil, count: 10), .itself),
      TenantCase(ListInvitations(accountID: accountID, before: nil, count: 10)),
      TenantCase(ListKeys(accountID: accountID, filter: KeyFilter(), before: nil, count: 10)),
      TenantCase(ListMembers(accountID: accountID, before: nil, count: 10)),
      TenantCase(ListOwners(accountID: accountID)),
      TenantCase(ListUsageHours(accountID: accountID, count: 2), .emptyRows(2)),
      TenantCase(LockAccount(accountID: accountID), .itself),
      TenantCase(LockKey(accountID: accountID, id: key)),
      TenantCase(LockPredecessors(accountID: accountID, id: key)),
      TenantCase(ReadCredits(accountID: accountID, bucketID: bucket, questions: [])),
      TenantCase(RetireRolledKey(accountID: accountID, id: spare, graceSeconds: 0)),
      TenantCase(RevokeAllKeys(accountID: accountID)),
      TenantCase(RevokeInvitations(accountID: accountID, of: .id(invitation))),
      TenantCase(VoidInvitationTokens(accountID: accountID, of: .id(invitation))),
      TenantCase(RevokeKey(accountID: accountID, id: key)),
      TenantCase(SetKeyPolicy(accountID: accountID, policy: KeyPolicy()), .refusal),
      TenantCase(SetKeyResources(accountID: accountID, id: key, resources: .none)),
      TenantCase(SetMemberRole(accountID: accountID, userID: user, role: .viewer)),
      TenantCase(SetSharedLimit(accountID: accountID, limitPerMinute: 7, mode: .fast), .itself),
      TenantCase(SummarizeAuditEvents(trail: AuditTrail(accountID), filter: AuditFilter()), .itself),
      TenantCase(SumKeyUsageByDay(range: range, keyID: key)),
      TenantCase(SumKeyUsageByEndpoint(range: range, keyID: key)),
      TenantCase(SumUsageByDay(range: range)),
      TenantCase(SumUsageByEndpoint(range: range)),
      TenantCase(SumUsageByKey(range: range)),
      TenantCase(UpdateKey(accountID: accountID, id: key, settings: settings, isEnabled: false)),
    ]
  }
}

extension PostgresPool {
  /// Everything that belongs to an account, as one text.
  fileprivate func everything(of accountID: UUID) async throws -> String {
    let tables = try await lines(
      """
      select relname from pg_class join pg_attribute on attrelid = pg_class.oid and attname = 'account_id'
      where relnamespace = 'public'::regnamespace and relkind in ('r', 'p') and not relispartition order by 1
      """)
    var texts: [String] = []
    for (table, column) in tables.map({ ($0, "account_id") }) + [("accounts", "id")] {
      texts.append(
        try await text(
          "select string_agg(t::text, chr(10) order by t::text) from \(table) t where \(column) = '\(accountID)'") ?? ""
      )
    }
    return texts.joined(separator: "\n")
  }
}

private struct Undone: Error {}

@Suite("Tenants are kept apart below the statements")
struct IsolationTests {
  /// Statements that take an account's id without running for it: logins, and staff and backends, who name it.
  private static let others: Set = [
    "BeginErasure", "ChangeCredits", "DeleteCredits", "ForgiveCredits", "InsertCredits", "SetAccountCredits",
    "SetCreditRefill", "SetKeyCredits",
    "DeleteExpiredConfirmation", "DeleteKeyPermissions", "DeleteKeyRoles", "FindAccountRequest",
    "FindConfirmation", "FindImportedKeys", "FindUserForLogin", "InsertConfirmation", "InsertKeyPermissions",
    "InsertKeyRoles",
    "InsertSession", "LockAccountRequest", "LockListedKeys", "LockMembers", "MakeCustomer", "MoveSession",
    "RevokeListedKeys", "SetAccountPlan", "SetAccountSuspension", "TakeConfirmation", "UpdateManagedAccount",
  ]

  @Test("every statement of an account finds and changes nothing of another one, even if it forgets the account")
  func forgottenAccount() async throws {
    try await withPool { pool in
      let world = World(pool)
      let one = try await Tenant(world, "ada@example.com")
      let other = try await world.makeAccount("bob@example.com")
      try await pool.script("delete from memberships where account_id = '\(other)'")
      let before = try await pool.everything(of: one.accountID)
      #expect(before.count > 500)

      for tenantCase in one.cases {
        // Otherwise a statement that never finds anything would pass as isolated.
        let own = try await count(tenantCase, pool, as: one.accountID)
        let foreign = try await count(tenantCase, pool, as: other)
        switch tenantCase.nothing {
        case .noRow:
          #expect(own != 0 && own != nil && foreign == 0, "\(tenantCase.name)")
        case .itself:
          #expect(own ?? 0 > 0 && foreign == 1, "\(tenantCase.name)")
        case .emptyRows(let count):
          #expect(own == count && foreign == count, "\(tenantCase.name)")
        case .refusal:
          #expect(foreign == nil, "\(tenantCase.name)")
        }
        #expect(try await pool.everything(of: one.accountID) == before, "\(tenantCase.name)")
      }
    }
  }

  /// The number of rows that it returns or touches; nil if it is refused. Everything is rolled back.
  private func count(_ tenantCase: TenantCase, _ pool: PostgresPool, as accountID: UUID) async throws -> Int? {
    var count: Int?
    do {
      try await pool.withTransaction(as: .account(accountID)) { transaction in
        count = try await tenantCase.isEmpty(transaction)
        // Its changes are rolled back where they were allowed; a deferred trigger would be too late for that.
        throw Undone()
      }
    } catch is Undone {
    } catch let error as PostgresError where error.sqlState == "42501" {
      return nil
    } catch let error as PostgresError where error.sqlState == "23503" {
      return 1
    }
    return count
  }

  @Test("rows that are always returned are the other account's own, or empty")
  func ownRows() async throws {
    try await withPool { pool in
      let world = World(pool)
      let one = try await Tenant(world, "ada@example.com")
      let other = try await world.makeAccount("bob@example.com")
      let count = try await pool.query(CountLiveKeys(accountID: one.accountID), as: .account(other))
      #expect(count == [0])
      #expect(try await pool.query(CountLiveKeys(accountID: one.accountID), as: .account(one.accountID)) == [2])
      let locked = try await pool.query(LockAccount(accountID: one.accountID), as: .account(other))
      #expect(locked.isEmpty)
      let hours = try await pool.query(ListUsageHours(accountID: one.accountID, count: 2), as: .account(other))
      #expect(hours.map(\.successes) == [0, 0])
    }
  }

  @Test("without an account, nothing is visible")
  func noAccount() async throws {
    try await withPool { pool in
      let one = try await Tenant(World(pool), "ada@example.com")
      let nobody = PostgresSettings(["role": DatabaseRole.portal.rawValue])
      #expect(try await pool.query(FindKey(accountID: one.accountID, id: one.key), as: nobody).isEmpty)
      #expect(try await pool.query(LockAccount(accountID: one.accountID), as: nobody).isEmpty)
      #expect(try await pool.execute(RevokeKey(accountID: one.accountID, id: one.key), as: nobody) == 0)
    }
  }

  @Test("staff change nothing outside the account that they have named")
  func staff() async throws {
    try await withPool { pool in
      let world = World(pool)
      let (one, other) = (
        try await world.makeAccount("ada@example.com"), try await world.makeAccount("bob@example.com")
      )
      let key = try await world.makeKey(one).key.id
      let set = SetKeyResources(accountID: one, id: key, resources: .none)
      #expect(try await pool.execute(set, as: .staff) == 0)
      #expect(try await pool.execute(set, as: .staff(in: other)) == 0)
      #expect(try await pool.execute(set, as: .staff(in: one)) == 1)
      let suspend = SetAccountSuspension(accountID: one, isSuspended: true, reason: "why")
      #expect(try await pool.execute(suspend, as: .staff) == 0)
      #expect(try await pool.execute(suspend, as: .staff(in: other)) == 0)
      #expect(try await pool.execute(suspend, as: .staff(in: one)) == 1)
      let assign = SetAccountPlan(accountID: one, plan: "default")
      #expect(try await pool.execute(assign, as: .staff) == 0)
      #expect(try await pool.execute(assign, as: .staff(in: other)) == 0)
      #expect(try await pool.execute(assign, as: .staff(in: one)) == 1)
      let update = UpdateManagedAccount(accountID: one, settings: ManagedAccountSettings(name: "Other"))
      #expect(try await pool.execute(update, as: .staff) == 0)
      #expect(try await pool.execute(update, as: .staff(in: other)) == 0)
      #expect(try await pool.execute(update, as: .staff(in: one)) == 1)
      try await pool.script("update accounts set kind = 'external'")
      let make = MakeCustomer(accountID: one, plan: "default")
      #expect(try await pool.execute(make, as: .staff) == 0)
      #expect(try await pool.execute(make, as: .staff(in: other)) == 0)
      #expect(try await pool.execute(make, as: .staff(in: one)) == 1)
      let listed = RevokeListedKeys(accountID: one, ids: [key])
      #expect(try await pool.execute(listed, as: .staff) == 0)
      #expect(try await pool.execute(listed, as: .staff(in: other)) == 0)
      #expect(try await pool.execute(listed, as: .staff(in: one)) == 1)
      try await pool.script("update api_keys set revoked_at = null")
      #expect(try await pool.query(MoveKeys(target: other, keyIDs: [key]), as: .staff) == [0])
      #expect(try await pool.query(MoveKeys(target: other, keyIDs: [key]), as: .staff(in: other)) == [0])
      #expect(try await world.keys.find(key, of: one).accountID == one)
      let revoke = RevokeAllKeys(accountID: one)
      #expect(try await pool.execute(revoke, as: .staff) == 0)
      #expect(try await pool.execute(revoke, as: .staff(in: other)) == 0)
      #expect(try await pool.execute(revoke, as: .staff(in: one)) == 1)
    }
  }

  @Test("keys are granted roles and permissions by staff in their account, and by nobody else")
  func grants() async throws {
    try await withPool { pool in
      let one = try await Tenant(World(pool), "ada@example.com")
      let other = try await World(pool).makeAccount("bob@example.com")
      let role = UUID(uuidString: try await pool.text("select id from roles") ?? "")!
      let take = DeleteKeyRoles(accountID: one.accountID, keyID: one.key, roleIDs: [role])
      let give = InsertKeyRoles(accountID: one.accountID, keyID: one.spare, roleIDs: [role])
      for settings in [PostgresSettings.staff, .staff(in: other)] {
        #expect(try await pool.execute(take, as: settings) == 0)
        let error = await #expect(throws: PostgresError.self) { try await pool.execute(give, as: settings) }
        #expect(error?.sqlState == "42501")
      }
      let error = await #expect(throws: PostgresError.self) {
        try await pool.execute(take, as: .account(one.accountID))
      }
      #expect(error?.sqlState == "42501")
      #expect(try await pool.execute(take, as: .staff(in: one.accountID)) == 1)
      #expect(try await pool.execute(give, as: .staff(in: one.accountID)) == 1)
      // Another account's key is not found, whatever the statement says.
      let stolen = InsertKeyRoles(accountID: other, keyID: one.key, roleIDs: [role])
      #expect(try await pool.execute(stolen, as: .staff(in: other)) == 0)
    }
  }

  @Test("requests to be confirmed are created and read in the account that staff named, and invisible to accounts")
  func confirmations() async throws {
    try await withPool { pool in
      let world = World(pool)
      let (one, other) = (
        try await world.makeAccount("ada@example.com"), try await world.makeAccount("bob@example.com")
      )
      let id = UUID.version7()
      let grace = Caller(actor: .staff(id: .numbered(7), name: "Grace"))
      let insert = InsertConfirmation(
        id: id, accountID: one, keyCount: 26, caller: grace, reason: SupportReason(text: "leaked"))
      let take = TakeConfirmation(accountID: one, id: id)
      for settings in [PostgresSettings.staff, .staff(in: other), .account(one)] {
        let error = await #expect(throws: PostgresError.self) { try await pool.execute(insert, as: settings) }
        #expect(error?.sqlState == "42501")
      }
      #expect(try await pool.execute(insert, as: .staff(in: one)) == 1)
      #expect(try await pool.query(FindConfirmation(accountID: one), as: .staff).count == 1)
      for settings in [PostgresSettings.staff, .staff(in: other)] {
        #expect(try await pool.query(take, as: settings).isEmpty)
      }
      for sql in ["find", "take"] {
        let error = await #expect(throws: PostgresError.self) {
          if sql == "find" {
            _ = try await pool.query(FindConfirmation(accountID: one), as: .account(one))
          } else {
            _ = try await pool.query(take, as: .account(one))
          }
        }
        #expect(error?.sqlState == "42501")
      }
      // Lists of keys are of no account.
      let list = InsertConfirmation(
        id: .version7(), accountID: nil, keyIDs: [id], keyCount: 1, caller: grace,
        reason: SupportReason(text: "leaked"))
      let refused = await #expect(throws: PostgresError.self) { try await pool.execute(list, as: .account(one)) }
      #expect(refused?.sqlState == "42501")
      #expect(try await pool.execute(list, as: .staff) == 1)
      #expect(try await pool.query(TakeListConfirmation(id: list.id), as: .staff).map(\.keyIDs) == [[id]])
      try await pool.script("update staff_confirmations set expires_at = now()")
      for settings in [PostgresSettings.staff, .staff(in: other)] {
        #expect(try await pool.execute(DeleteExpiredConfirmation(accountID: one), as: settings) == 0)
      }
      #expect(try await pool.execute(DeleteExpiredConfirmation(accountID: one), as: .staff(in: one)) == 1)
    }
  }

  /// A statement that is not in the list above has no test.
  @Test("every statement with an account's id is in the list")
  func complete() async throws {
    let folder = URL(filePath: repositoryRoot).appending(path: "Sources/Portal")
    let files =
      FileManager.default.enumerator(at: folder, includingPropertiesForKeys: nil)?
      .compactMap { $0 as? URL }.filter { $0.lastPathComponent.hasSuffix("Statements.swift") } ?? []
    #expect(files.count > 10)
    let subject =
      #/let (?:accountID: UUID\??|range: UsageRange|request: IdempotentRequest|invitation: NewInvitation)\n/#
    var names: Set<String> = []
    for file in files {
      let source = try String(contentsOf: file, encoding: .utf8)
      for part in source.split(separator: #/\n(?:private |package )?struct /#).dropFirst() {
        let body = part.prefix(upTo: part.range(of: "\n}")?.lowerBound ?? part.endIndex)
        guard body.contains("PostgresStatement"),
          body.contains(subject)
        else {
          continue
        }
        names.insert(String(body.prefix { $0.isLetter }))
      }
    }
    let world = Set(
      try await withPool { pool in try await Tenant(World(pool), "ada@example.com").cases.map(\.name) })
    let withoutField = ["ExportAuditEvents", "InsertAccount", "InsertExternalAccount", "SummarizeAuditEvents"]
    #expect(names.subtracting(Self.others) == world.subtracting(withoutField))
  }
}
