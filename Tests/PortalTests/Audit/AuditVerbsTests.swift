import Foundation
import PortalTesting
import Postgres
import PostgresTesting
import Testing

@testable import Portal

/// A change, and the events that it records.
private struct Verb: Sendable, CustomTestStringConvertible {
  let testDescription: String
  let events: [String]
  let run: @Sendable (Stage) async throws -> Void

  init(_ name: String, _ events: [String], _ run: @escaping @Sendable (Stage) async throws -> Void) {
    testDescription = name
    self.events = events
    self.run = run
  }
}

/// The account, people and tokens that the verbs change.
private struct Stage: Sendable {
  let world: World
  let account: UUID
  let user: User
  let key: UUID
  let revokedKey: UUID
  let staff: StaffMember
  let token: UUID
  let session: Secret
  let staffSession: Secret

  var sessions: Sessions { Self.sessions(world.pool) }
  var password: Password { Password(presented: World.password) }
  let reason = SupportReason(text: "because", ticket: "T-1")

  static func sessions(_ pool: PostgresPool) -> Sessions {
    Sessions(
      pool: pool, passwords: World.hasher, attempts: Attempts(pool: pool),
      box: SecretBox(base64: Data(repeating: 7, count: 32).base64EncodedString()), lifetime: .seconds(60))
  }

  init(_ pool: PostgresPool) async throws {
    world = World(pool)
    let password = Password(presented: World.password)
    (account, user) = try await world.accounts.create(
      name: "Account", email: EmailAddress("ada@example.com")!, password: password, by: .other(World.caller))
    key = try await world.makeKey(account).key.id
    revokedKey = try await world.makeKey(account).key.id
    _ = try await world.keys.revoke(revokedKey, of: account, by: World.caller)
    staff = try await world.accounts.createStaff(
      name: "Grace", email: EmailAddress("grace@example.com")!, role: .support, password: password, by: World.caller)
    token = try await world.tokens.create(name: "gateway", permissions: [.writeUsage], by: World.caller).id
    session = try await Self.sessions(pool).logIn(email: "ada@example.com", password: password, from: Origin()).token
    staffSession = try await Self.sessions(pool)
      .logInStaff(email: "grace@example.com", password: password, from: Origin()).token
  }

  var staffMembers: StaffMembers { StaffMembers(pool: world.pool) }

  /// Hedy, an admin, inserted into the database without an event.
  func admin() async throws -> Caller {
    try await world.pool.script(
      """
      insert into staff (id, email, name, role, password_hash)
      values ('\(UUID.numbered(8))', 'hedy@example.com', 'Hedy', 'admin', 'x') on conflict do nothing
      """)
    return hedy
  }

  var members: Members { Members(pool: world.pool) }
  var invitations: Invitations {
    Invitations(
      pool: world.pool, passwords: World.hasher, attempts: world.attempts, outbox: world.outbox)
  }

  func customerSession() async throws -> MemberSession { try await sessions.find(session) }

  /// Inserted into the database without an event.
  func addMember(_ role: String = "viewer") async throws -> UUID {
    let id = UUID.version7()
    try await world.pool.script(
      """
      insert into users (id, email, password_hash) values ('\(id)', 'bob@example.com', 'x');
      insert into memberships (account_id, user_id, role) values ('\(account)', '\(id)', '\(role)')
      """)
    return id
  }

  /// Another account of the same person.
  func addAccount() async throws -> UUID {
    let id = UUID.version7()
    _ = try await world.pool.pipeline(
      InsertAccount(id: id, name: "Other"), InsertMembership(accountID: id, userID: user.id, role: .viewer),
      as: .account(id))
    return id
  }

  func invite() async throws -> Secret? {
    try await invitations.invite(
      EmailAddress("eve@example.com")!, as: .viewer, into: account, by: try await customerSession(), ip: nil
    ).token
  }

  /// A token as a mail has it.
  func sendToken(_ purpose: OneTimeToken.Purpose) async throws -> Secret {
    let token = Secret.random(prefix: purpose.prefix)
    let hash = token.hash.bytes.map { String(format: "%02x", $0) }.joined()
    try await world.pool.script(
      """
      insert into one_time_tokens (token_hash, purpose, email, user_id, expires_at)
      values ('\\x\(hash)', '\(purpose.rawValue)', '\(user.email)', '\(user.id)', now() + interval '1 hour')
      """)
    return token
  }

  var grace: Caller { Caller(actor: .staff(id: staff.id, name: staff.name)) }
  var shop: Caller { Caller(actor: .token(id: .numbered(9), name: "shop")) }
  var hedy: Caller { Caller(actor: .staff(id: .numbered(8), name: "Hedy")) }

  /// For 26 keys, which require a confirmation.
  func requestRevocation() async throws -> StaffConfirmation {
    try await world.insertKeys(upTo: 26, account)
    guard case .waits(let confirmation) = try await world.desk.revokeKeys(of: account, by: grace, reason) else {
      throw PortalError.notFound
    }
    return confirmation
  }

  func run(_ job: String, _ caller: Caller? = nil) async throws {
    let jobs = Jobs(pool: world.pool, instance: "here", retention: Retention(), observer: Observer([]))
    let job = try #require(jobs.all.first { $0.name == job })
    guard case .done = await jobs.run(job, isForced: true, by: caller) else {
      Issue.record("\(job.name) failed")
      return
    }
  }
}

@Suite("Every change is recorded in the audit trail")
struct AuditVerbsTests {
  /// `trail actor action target`
  private static let verbs = [
    Verb("an account is made", ["account command account.created account"]) {
      _ = try await $0.world.makeAccount("bob@example.com")
    },
    Verb("somebody signs up", ["account user account.created account"]) {
      _ = try await $0.world.accounts.create(
        name: "B", email: EmailAddress("bob@example.com")!, password: $0.password, by: .owner(ip: "192.0.2.1"))
    },
    Verb("an account's limit is set", ["account command account.limit_changed account"]) {
      try await $0.world.accounts.setSharedLimit(5, .fast, of: $0.account, by: World.caller)
    },
    Verb("an account is suspended, twice", ["account command account.suspended account"]) {
      for _ in 1...2 {
        _ = try await $0.world.desk.setSuspension(of: $0.account, to: true, by: World.caller, $0.reason)
      }
    },
    Verb("an account that is not suspended is resumed", []) {
      _ = try await $0.world.desk.setSuspension(of: $0.account, to: false, by: World.caller, $0.reason)
    },
    Verb("support revokes all keys of an account, twice", ["account staff key.revoked key"]) { stage in
      for _ in 1...2 { _ = try await stage.world.desk.revokeKeys(of: stage.account, by: stage.grace, stage.reason) }
    },
    Verb(
      "support requests the revocation of all keys twice, and another member of staff confirms it",
      ["account staff revocation.requested confirmation"]
        + Array(repeating: "account staff key.revoked key", count: 26)
        + ["account staff revocation.confirmed confirmation"]
    ) { stage in
      let confirmation = try await stage.requestRevocation()
      _ = try await stage.requestRevocation()
      await #expect(throws: PortalError.self) {
        _ = try await stage.world.desk.confirm(confirmation.id, by: stage.grace)
      }
      _ = try await stage.world.desk.confirm(confirmation.id, by: stage.hedy)
      await #expect(throws: PortalError.notFound) {
        _ = try await stage.world.desk.confirm(confirmation.id, by: stage.hedy)
      }
    },
    Verb(
      "support withdraws a requested revocation, twice",
      ["account staff revocation.requested confirmation", "account staff revocation.withdrawn confirmation"]
    ) { stage in
      let confirmation = try await stage.requestRevocation()
      try await stage.world.desk.withdraw(confirmation.id, by: stage.hedy)
      await #expect(throws: PortalError.notFound) {
        try await stage.world.desk.withdraw(confirmation.id, by: stage.grace)
      }
    },
    Verb("an account gets another plan, twice", ["account staff account.plan_changed account"]) {
      try await $0.world.pool.script(
        """
        insert into plans (name, key_cap, scopes, rate_limit_per_minute_max)
        select 'small', 5, scopes, rate_limit_per_minute_max from plans where name = 'default'
        """
      )
      let caller = Caller(actor: .staff(id: $0.staff.id, name: "Grace"))
      for _ in 1...2 { _ = try await $0.world.plans.assign("small", to: $0.account, by: caller, $0.reason) }
    },
    Verb("a plan is made", ["system command plan.set plan"]) {
      let plan = Plan(name: "tiny", keyCap: 1, scopes: ["*"], rateLimitPerMinuteMax: 1)
      for _ in 1...2 { _ = try await $0.world.plans.set(plan, by: World.caller) }
    },
    Verb("an account's policy is set, twice", ["account command account.policy_changed account"]) {
      for _ in 1...2 {
        try await $0.world.policies.set(KeyPolicy(disableAfterIdleDays: 9), of: $0.account, by: World.caller)
      }
    },
    Verb(
      "a key is changed, disabled and enabled",
      ["account command key.updated key", "account command key.disabled key", "account command key.enabled key"]
    ) {
      for changes in [KeyChanges(name: "Other"), KeyChanges(isEnabled: false), KeyChanges(isEnabled: true)] {
        _ = try await $0.world.keys.update($0.key, of: $0.account, changes, by: World.caller)
      }
    },
    Verb("a member gets another role", ["account user member.role_changed user"]) {
      let (user, session) = (try await $0.addMember(), try await $0.customerSession())
      for _ in 1...2 {
        _ = try await $0.members.setRole(.admin, of: user, in: $0.account, by: session, ip: nil)
      }
    },
    Verb("a member is removed", ["account user member.removed user"]) {
      let (user, session) = (try await $0.addMember(), try await $0.customerSession())
      try await $0.members.remove(user, from: $0.account, by: session, ip: nil)
    },
    Verb(
      "a member with an open invitation is removed",
      [
        "account user member.invited invitation", "account user member.removed user",
        "account user invitation.revoked invitation",
      ]
    ) {
      let (user, session) = (try await $0.addMember("admin"), try await $0.customerSession())
      _ = try await $0.invite()
      try await $0.world.pool.script("update invitations set inviter_id = '\(user)'")
      try await $0.members.remove(user, from: $0.account, by: session, ip: nil)
    },
    Verb("a user confirms another address", ["account user user.email_changed user"]) {
      let token = try await $0.sendToken(.emailChange)
      try await $0.world.pool.script("update one_time_tokens set email = 'new@example.com'")
      try await $0.world.credentials.verifyEmail(token, from: nil)
    },
    Verb("a member leaves", ["account user member.left user"]) {
      _ = try await $0.addMember("owner")
      let session = try await $0.customerSession()
      try await $0.members.remove(session.user.id, from: $0.account, by: session, ip: nil)
    },
    Verb(
      "somebody is invited and accepts", ["account user member.invited invitation", "account user member.joined user"]
    ) { stage in
      let token = try #require(try await stage.invite())
      _ = try await stage.invitations.accept(token, password: stage.password, from: nil)
      await #expect(throws: PortalError.self) {
        _ = try await stage.invitations.accept(token, password: stage.password, from: nil)
      }
    },
    Verb(
      "an invitation is revoked",
      ["account user member.invited invitation", "account user invitation.revoked invitation"]
    ) {
      _ = try await $0.invite()
      let session = try await $0.customerSession()
      let invitation = try #require(try await $0.invitations.list(of: $0.account, page: PageRequest()).items.first)
      try await $0.invitations.revoke(invitation.id, of: $0.account, by: session, ip: nil)
    },
    Verb("a password is reset by mail, twice", ["account user user.password_reset user"]) { stage in
      let token = try await stage.sendToken(.passwordReset)
      try await stage.world.credentials.resetPassword(token, to: stage.password, from: nil)
      await #expect(throws: PortalError.invalidToken) {
        try await stage.world.credentials.resetPassword(token, to: stage.password, from: nil)
      }
    },
    Verb("an address is confirmed", ["account user user.email_verified user"]) {
      try await $0.world.credentials.verifyEmail(try await $0.sendToken(.emailVerification), from: nil)
    },
    Verb("a login is granted the right to serve", ["system command portal.granted role"]) {
      let role = "server_\(UUID().uuidString.prefix(8).lowercased())"
      try await $0.world.pool.script("create role \(role)")
      try await DatabaseGrants(pool: $0.world.pool).grant(to: role, by: World.caller)
      try await $0.world.pool.script("drop role \(role)")
    },
    Verb(
      "a backend changes the name and the plan of an account, twice",
      [
        "account token account.updated account", "account token account.plan_changed account",
      ]
    ) {
      for _ in 1...2 {
        _ = try await $0.world.managed.update(
          $0.account, ManagedAccountChanges(name: "Other", plan: "external"), by: $0.shop)
      }
    },
    Verb(
      "a backend deletes an account",
      [
        "account token key.revoked key", "account token account.deleted account",
      ]
    ) { _ = try await $0.world.deletion.delete($0.account, by: $0.shop) },
    Verb("a backend invites somebody", ["account token member.invited invitation"]) {
      _ = try await $0.invitations.invite(
        EmailAddress("eve@example.com")!, as: .viewer, into: $0.account, by: $0.shop)
    },
    Verb("a key is made", ["account command key.created key"]) { try await $0.world.makeKey($0.account) },
    Verb("a key is revoked", ["account command key.revoked key"]) {
      _ = try await $0.world.keys.revoke($0.key, of: $0.account, by: World.caller)
    },
    Verb("a key is revoked by support, twice", ["account staff key.revoked key"]) {
      let caller = Caller(actor: .staff(id: $0.staff.id, name: "Grace"))
      for _ in 1...2 { _ = try await $0.world.desk.revokeKey($0.key, by: caller, $0.reason) }
    },
    Verb("a revoked key is revoked", []) {
      _ = try await $0.world.keys.revoke($0.revokedKey, of: $0.account, by: World.caller)
    },
    Verb(
      "a key is rolled, which creates another", ["account command key.created key", "account command key.rolled key"]
    ) { _ = try await $0.world.keys.roll($0.key, of: $0.account, graceSeconds: 0, by: World.caller) },
    Verb(
      "a key is rolled twice, which revokes the first one in its grace period",
      [
        "account command key.created key", "account command key.rolled key", "account command key.created key",
        "account command key.rolled key", "account command key.revoked key",
      ]
    ) { stage in
      var key = stage.key
      for _ in 1...2 {
        key = try await stage.world.keys.roll(key, of: stage.account, graceSeconds: 60, by: World.caller)
          .successor.key.id
      }
    },
    Verb("a revoked key is rolled", []) { stage in
      await #expect(throws: PortalError.keyNotActive) {
        try await stage.world.keys.roll(stage.revokedKey, of: stage.account, graceSeconds: 0, by: World.caller)
      }
    },
    Verb("a customer logs in", ["account user session.opened user"]) {
      _ = try await $0.sessions.logIn(email: "ada@example.com", password: $0.password, from: Origin(ip: "192.0.2.1"))
    },
    Verb("a login fails", []) { stage in
      await #expect(throws: PortalError.invalidCredentials) {
        try await stage.sessions.logIn(email: "ada@example.com", password: Password(presented: "x"), from: Origin())
      }
    },
    Verb("a customer logs out, twice", ["account user session.closed user"]) {
      let session = try await $0.customerSession()
      for _ in 1...2 { try await $0.sessions.logOut(session, ip: nil) }
    },
    Verb("staff log in", ["system staff session.opened staff"]) {
      _ = try await $0.sessions.logInStaff(email: "grace@example.com", password: $0.password, from: Origin())
    },
    Verb("staff log out, twice", ["system staff session.closed staff"]) {
      let session = try await $0.sessions.findStaff($0.staffSession)
      for _ in 1...2 { try await $0.sessions.logOut(session, ip: nil) }
    },
    Verb(
      "a customer logs in with a session",
      ["account user session.closed user", "account user session.opened user"]
    ) {
      _ = try await $0.sessions.logIn(
        email: "ada@example.com", password: $0.password, from: Origin(), replacing: $0.session)
    },
    Verb(
      "a customer switches to another account",
      [
        // The first event of the other account's trail.
        "account user session.opened user", "account user session.closed user",
      ]
    ) {
      let (session, other) = (try await $0.customerSession(), try await $0.addAccount())
      _ = try await $0.sessions.switchAccount(of: session, to: other, ip: nil)
    },
    Verb(
      "a customer logs out everywhere else",
      ["account user session.opened user", "account user session.closed user"]
    ) {
      _ = try await $0.sessions.logIn(email: "ada@example.com", password: $0.password, from: Origin())
      _ = try await $0.sessions.endOthers(of: try await $0.customerSession(), ip: nil)
    },
    Verb("a customer changes the password", ["account user user.password_changed user"]) {
      _ = try await $0.sessions.credentialChanges.changePassword(
        $0.password, to: Password("another battery staple")!, of: try await $0.customerSession(), ip: nil)
    },
    Verb("staff change the password", ["system staff user.password_changed staff"]) {
      _ = try await $0.sessions.credentialChanges.changePassword(
        $0.password, to: Password("another battery staple")!, of: try await $0.sessions.findStaff($0.staffSession),
        ip: nil)
    },
    Verb("a customer changes the address", ["account user user.email_changed user"]) {
      let session = try await $0.customerSession()
      let proof = try await $0.sessions.credentialChanges.prove($0.password, of: session)
      _ = try await $0.sessions.credentialChanges.changeEmail(
        to: EmailAddress("eve@example.com")!, proof, of: session, ip: nil)
    },
    Verb(
      "a second factor is set up, its codes are renewed, and it is disabled",
      [
        "system staff user.second_factor_enabled staff", "system staff user.recovery_code_used staff",
        "system staff user.recovery_codes_renewed staff", "system staff user.recovery_code_used staff",
        "system staff user.second_factor_disabled staff",
      ]
    ) { stage in
      let (factors, password) = (stage.sessions.secondFactors, stage.password)
      var session = try await stage.sessions.findStaff(stage.staffSession)
      let factor = try await factors.start(password, of: session)
      let (codes, login) = try await factors.confirm(factor.code(atStep: TOTP.step(at: Date())), of: session, ip: nil)
      session = login.session
      let renewed = try await factors.renewCodes(password, codes[0].reveal(), of: session, ip: nil)
      _ = try await factors.disable(password, renewed[0].reveal(), of: session, ip: nil)
    },
    Verb("an account is deleted, with a key", ["account user key.revoked key", "account user account.deleted account"])
    {
      let session = try await $0.customerSession()
      let proof = try await $0.sessions.credentialChanges.prove($0.password, of: session)
      _ = try await $0.world.deletion.delete(proof, of: session, ip: nil)
    },
    Verb(
      "a person with events is erased, twice",
      ["system command user.erased user", "account command user.erased user", "account command audit.redacted user"]
    ) { stage in
      _ = try await stage.addMember("owner")
      let erasures = PersonErasures(pool: stage.world.pool)
      for _ in 1...2 { _ = try await erasures.erase(stage.user.id, by: World.caller) }
    },
    Verb("an account's last owner is erased", []) { stage in
      await #expect(throws: PortalError.lastOwner) {
        try await PersonErasures(pool: stage.world.pool).erase(stage.user.id, by: World.caller)
      }
    },
    Verb("a member of staff is made", ["system command staff.created staff"]) {
      _ = try await $0.world.accounts.createStaff(
        name: "Bob", email: EmailAddress("bob@example.com")!, role: .admin, password: $0.password, by: World.caller)
    },
    Verb("a member of staff is created with an address that is taken", []) { stage in
      await #expect(throws: PortalError.emailTaken) {
        try await stage.world.accounts.createStaff(
          name: "Bob", email: EmailAddress("grace@example.com")!, role: .admin, password: stage.password,
          by: World.caller)
      }
    },
    Verb(
      "a member of staff gets another role, is disabled and enabled, each twice",
      [
        "system staff staff.role_changed staff", "system staff staff.disabled staff",
        "system staff staff.enabled staff",
      ]
    ) { stage in
      for changes in [StaffChanges(role: .admin), StaffChanges(isEnabled: false), StaffChanges(isEnabled: true)] {
        for _ in 1...2 { _ = try await stage.staffMembers.update(stage.staff.id, changes, by: try await stage.admin()) }
      }
    },
    Verb(
      "a member of staff with a pending confirmation is removed",
      ["system command staff.removed staff", "account command revocation.withdrawn confirmation"]
    ) { stage in
      _ = try await stage.requestRevocation()
      try await stage.world.pool.script("insert into seen select id from audit_events")
      try await stage.staffMembers.remove(stage.staff.id, by: World.caller)
    },
    Verb(
      "a second factor of staff is reset, twice", ["system command staff.second_factor_reset staff"]
    ) { stage in
      try await stage.world.pool.script(
        """
        insert into second_factors (staff_id, sealed_secret)
          values ('\(stage.staff.id)', decode(repeat('00', 48), 'hex'))
        """)
      try await stage.staffMembers.resetSecondFactor(stage.staff.id, by: World.caller)
      await #expect(throws: PortalError.notFound) {
        try await stage.staffMembers.resetSecondFactor(stage.staff.id, by: World.caller)
      }
    },
    Verb("a member of staff who is no longer an admin removes another", []) { stage in
      await #expect(throws: PortalError.unauthenticated) {
        try await stage.staffMembers.remove(stage.staff.id, by: stage.hedy)
      }
    },
    Verb("a service token is made", ["system command token.created token"]) {
      _ = try await $0.world.tokens.create(name: "other", permissions: [.verifyKeys], by: World.caller)
    },
    Verb("a service token is revoked, twice", ["system command token.revoked token"]) {
      for _ in 1...2 { _ = try await $0.world.tokens.revoke($0.token, by: World.caller) }
    },
    Verb(
      "a service token is rolled, which creates another, and cannot be rolled again",
      ["system command token.created token", "system command token.rolled token"]
    ) { stage in
      _ = try await stage.world.tokens.roll(stage.token, graceSeconds: 60, by: World.caller)
      await #expect(throws: PortalError.tokenNotActive) {
        try await stage.world.tokens.roll(stage.token, graceSeconds: 60, by: World.caller)
      }
    },
    Verb(
      "a service token makes and revokes a key", ["account token key.created key", "account token key.revoked key"]
    ) { stage in
      let caller = Caller(actor: .token(id: stage.token, name: "gateway"))
      let id = try await stage.world.keys.create(.plain, for: stage.account, by: caller).key.id
      _ = try await stage.world.keys.revoke(id, of: stage.account, by: caller)
    },
    Verb("a service token of the other environment makes and revokes a key", []) { stage in
      let caller = Caller(actor: .token(id: stage.token, name: "gateway"), environment: .test)
      await #expect(throws: PortalError.self) {
        try await stage.world.keys.create(.plain, for: stage.account, by: caller)
      }
      await #expect(throws: PortalError.notFound) {
        try await stage.world.keys.revoke(stage.key, of: stage.account, by: caller)
      }
    },
    Verb("a role is granted analytics", ["system command analytics.granted role"]) {
      let role = "analyst_\(UUID().uuidString.prefix(8).lowercased())"
      try await AnalyticsRole(pool: $0.world.pool).grant(to: role, by: World.caller)
      try await $0.world.pool.script("drop owned by \(role); drop role \(role)")
    },
    Verb(
      "a month of usage is dropped from three tables",
      ["system job usage.deleted usage", "system job usage.deleted usage", "system job usage.deleted usage"]
    ) {
      try await $0.world.pool.script("select ensure_usage_partitions('2020-01-01', 0)")
      try await $0.run("usage-retention")
    },
    Verb("hourly totals are deleted by an operator", ["system command usage.deleted usage"]) {
      try await $0.world.pool.script(
        """
        insert into account_usage_hours (account_id, hour)
        values ('\($0.account)', date_trunc('hour', now() - interval '10 days'))
        """)
      for _ in 1...2 { try await $0.run("usage-hours", World.caller) }
    },
    Verb("names of batches are deleted", ["system job usage.deleted usage"]) {
      try await $0.world.pool.script(
        """
        insert into usage_batches (token_id, batch_id, received_at)
        select '\($0.token)', n::text, now() - interval '10 days' from generate_series(1, 3) n
        """)
      try await $0.run("usage-batches")
    },
    Verb("writers of counters are deleted", ["system job usage.deleted usage"]) {
      try await $0.world.pool.script(
        """
        insert into usage_sources (id, flushed_number, updated_at)
        values (gen_random_uuid(), 1, now() - interval '500 days')
        """)
      try await $0.run("usage-sources")
    },
    Verb(
      "an api is created, changed, twice, and deleted",
      ["system command api.created api", "system command api.updated api", "system command api.deleted api"]
    ) { stage in
      let apis = stage.world.apis
      let api = try await apis.create(CatalogAPI.Settings(slug: "orders", name: "Orders"), by: World.caller)
      for _ in 1...2 { _ = try await apis.update(.id(api.id), CatalogAPIChanges(slug: "shop"), by: World.caller) }
      try await apis.delete(.name("shop"), by: World.caller)
    },
    Verb(
      "a permission is created, changed, twice, and deleted",
      [
        "system command permission.created permission", "system command permission.updated permission",
        "system command permission.deleted permission",
      ]
    ) { stage in
      let permissions = stage.world.permissions
      let made = try await permissions.create(CatalogPermission.Settings(slug: "orders.read"), by: World.caller)
      for _ in 1...2 {
        _ = try await permissions.update(
          .id(made.id), CatalogPermissionChanges(description: .set("Reading.")), by: World.caller)
      }
      try await permissions.delete(.name("orders.read"), by: World.caller)
    },
    Verb(
      "a role is created, gets a permission, twice, and is deleted",
      [
        "system command permission.created permission", "system command role.created role",
        "system command role.updated role", "system command role.deleted role",
      ]
    ) { stage in
      _ = try await stage.world.permissions.create(CatalogPermission.Settings(slug: "a"), by: World.caller)
      let roles = stage.world.roles
      _ = try await roles.create(CatalogRole.Settings(name: "pro"), permissions: [], by: World.caller)
      for _ in 1...2 {
        _ = try await roles.update(.name("pro"), CatalogRoleChanges(permissions: [.name("a")]), by: World.caller)
      }
      try await roles.delete(.name("pro"), by: World.caller)
    },
    Verb(
      "a key gets a role and a permission, twice, and loses them",
      [
        "system command permission.created permission", "system command role.created role",
        "account command key.roles_changed key", "account command key.permissions_changed key",
        "account command key.roles_changed key", "account command key.permissions_changed key",
      ]
    ) { stage in
      let (world, key) = (stage.world, stage.key)
      _ = try await world.permissions.create(CatalogPermission.Settings(slug: "a"), by: World.caller)
      _ = try await world.roles.create(CatalogRole.Settings(name: "pro"), permissions: [], by: World.caller)
      let (add, remove) = (GrantChanges(add: [.name("pro")]), GrantChanges(remove: [.name("pro")]))
      let (addA, removeA) = (GrantChanges(add: [.name("a")]), GrantChanges(remove: [.name("a")]))
      for _ in 1...2 {
        _ = try await world.grants.changeRoles(of: key, add, by: World.caller, stage.reason)
        _ = try await world.grants.changePermissions(of: key, addA, by: World.caller)
      }
      for _ in 1...2 {
        _ = try await world.grants.changeRoles(of: key, remove, by: World.caller)
        _ = try await world.grants.changePermissions(of: key, removeA, by: World.caller)
      }
      await #expect(throws: PortalError.keyNotActive) {
        try await world.grants.changeRoles(of: stage.revokedKey, add, by: World.caller)
      }
    },
    Verb(
      "a backend moves a key to another account, twice", ["account token key.moved key", "account token key.moved key"]
    ) {
      let target = try await $0.addAccount()
      for _ in 1...2 { _ = try await $0.world.keyMoves.move($0.key, to: .id(target), by: $0.shop) }
    },
    Verb(
      "a backend imports two keys, twice, one of them for a new customer",
      ["account token account.created account", "system token keys.imported key"]
    ) {
      let stage = $0
      let rows = [AccountReference.id(stage.account), .externalID("cus_1")].enumerated().map { index, account in
        KeyImport(
          account: account, hash: ImportedHash(form: .native, bytes: SecretHash(of: "key \(index)".utf8).bytes),
          settings: .plain)
      }
      for _ in 1...2 { _ = try await stage.world.imports.importKeys(rows, by: stage.shop) }
    },
    Verb("a backend exports the keys", ["system token keys.exported key"]) {
      _ = try await $0.world.exports.export(by: $0.shop)
    },
    Verb(
      "a key gets resources, twice, and loses them",
      ["account command key.resources_changed key", "account command key.resources_changed key"]
    ) { stage in
      let (grants, key) = (stage.world.grants, stage.key)
      let one = ResourceScopes([ResourceScopes.Entry(name: "project:1", scopes: ["a"])])
      for _ in 1...2 { _ = try await grants.setResources(of: key, one, by: World.caller, stage.reason) }
      for _ in 1...2 { _ = try await grants.setResources(of: key, .none, by: World.caller) }
      await #expect(throws: PortalError.keyNotActive) {
        try await grants.setResources(of: stage.revokedKey, one, by: World.caller)
      }
    },
    Verb(
      "an override is set in a new namespace, twice, and deleted, and so is the namespace",
      [
        "system command limit_namespace.created limit_namespace", "system command limit_override.set limit_override",
        "system command limit_override.deleted limit_override",
        "system command limit_namespace.deleted limit_namespace",
      ]
    ) { stage in
      let overrides = stage.world.overrides
      let limit = WindowLimit(limit: 10, windowMilliseconds: 60_000)
      for _ in 1...2 { _ = try await overrides.set(limit, for: "user_*", in: "emails", by: World.caller) }
      let id = try #require(try await overrides.list(in: "emails").items.first?.id)
      _ = try await overrides.delete(id, in: "emails", by: World.caller)
      _ = try await stage.world.namespaces.delete("emails", by: World.caller)
    },
    Verb("a standalone limit is used twice", ["system command limit_namespace.created limit_namespace"]) { stage in
      let limits = stage.world.makeStandaloneLimits()
      let request = LimitRequest(
        namespace: "emails", identifier: "user_1", limit: WindowLimit(limit: 10, windowMilliseconds: 60_000))
      for _ in 1...2 { _ = try await limits.take(request, by: World.caller) }
    },
    Verb("an epoch of the invalidation log begins", ["system command epoch.begun epoch"]) {
      _ = try await InvalidationEpochs(pool: $0.world.pool, propagations: $0.world.propagations)
        .begin(by: World.caller, SupportReason(text: "A table was restored."))
    },
    Verb(
      "credits are set, changed, and forgiven",
      [
        "account command key.credits_changed key", "account command key.credits_changed key",
        "account command account.credits_changed account", "account command credits.forgiven credits",
      ]
    ) { stage in
      let world = stage.world
      try await world.change(.set(5), of: .key(stage.key))
      try await world.change(.decrement(2), of: .key(stage.key))
      try await world.change(.set(5), of: .account(stage.account))
      // Nothing changes.
      try await world.change(.settings(remaining: nil, refill: .remove), of: .account(stage.account))
      try await world.pool.script(
        """
        insert into credit_holders (id, heard_at) values (gen_random_uuid(), now() - interval '1 hour');
        insert into credit_leases (account_id, credits_id, holder_id, generation, granted)
          select account.id, account.credits_id, holder.id, 0, 1 from accounts account, credit_holders holder
        """)
      for _ in 1...2 {
        _ = try await world.credits.forgive(CreditSilence(seconds: 60, runCount: 0), by: World.caller)
      }
    },
    Verb("there is nothing for the jobs to delete", []) {
      for job in ["usage-retention", "usage-hours", "usage-batches", "usage-sources"] { try await $0.run(job) }
    },
  ]

  @Test("there is one event per changed object, and none if nothing changed", arguments: verbs)
  private func events(_ verb: Verb) async throws {
    try await withPool { pool in
      let stage = try await Stage(pool)
      try await pool.script("create table seen as select id from audit_events")
      try await verb.run(stage)
      let events = try await pool.lines(
        """
        select case when account_id is null then 'system' else 'account' end || ' ' || actor_kind || ' ' || action
          || ' '
          || target_kind from audit_events where id not in (select id from seen) order by seq
        """)
      #expect(events == verb.events)
      #expect(try await AuditChains(pool: pool).verify { _ in }.isIntact)
      // The reasons that the stage and the verbs state. All other texts are the program's.
      let reasons = try await pool.lines("select distinct reason from audit_events where reason is not null")
      #expect(Set(reasons).isSubset(of: ["because", "A table was restored."]), "\(reasons)")
      let detailed = Self.detailedActions.map { "'\($0.rawValue)'" }.joined(separator: ", ")
      #expect(
        try await pool.lines(
          """
          select action from audit_events
          where (detail is not null) <> (action in (\(detailed)))
            and coalesce(detail, '') <> 'Its successor was rolled.'
          """) == [])
    }
  }

  /// The actions whose events always have a detail. Of the others, only `key.revoked` by a roll has one.
  private static let detailedActions: [AuditEvent.Action] = [
    .memberInvited, .memberJoined, .memberLeft, .memberRemoved, .memberRoleChanged, .invitationRevoked,
    .staffRoleChanged, .staffDisabled, .staffEnabled, .staffRemoved, .staffSecondFactorReset, .tokenCreated,
    .usageDeleted, .analyticsGranted, .portalGranted, .planSet, .auditRedacted,
    .accountUpdated, .accountPlanChanged, .apiCreated, .apiUpdated, .apiDeleted, .permissionCreated,
    .permissionUpdated, .permissionDeleted, .roleCreated,
    .roleUpdated, .roleDeleted, .keyRolesChanged, .keyPermissionsChanged, .limitNamespaceCreated,
    .limitNamespaceDeleted, .limitOverrideSet, .limitOverrideDeleted,
    .keyCreditsChanged, .accountCreditsChanged, .creditsForgiven, .keyResourcesChanged, .keyMoved,
    .keysImported,
  ]

  @Test("docs/AUDIT.md lists every action")
  func documented() throws {
    let text = try String(contentsOfFile: repositoryRoot + "/docs/AUDIT.md", encoding: .utf8)
    let missing = AuditEvent.Action.allCases.map(\.rawValue).filter { !text.contains("`\($0)`") }
    #expect(missing == [])
  }

  /// A new action without a verb fails here.
  @Test("every action is recorded by one of these verbs")
  func actions() {
    let told = Set(Self.verbs.flatMap(\.events).map { String($0.split(separator: " ")[2]) })
    #expect(told.union(["account.resumed"]) == Set(AuditEvent.Action.allCases.map(\.rawValue)))
  }
}
