import Foundation
import PortalTesting
import Postgres
import Testing

@testable import Portal

@Suite("An account's policy for its keys")
struct KeyPoliciesTests {
  private let now = Date(timeIntervalSince1970: 1_800_000_000)
  private static let plan = Plan(name: "default", keyCap: 25, scopes: ["*"], rateLimitPerMinuteMax: 100)

  private func fields(_ policy: KeyPolicy, _ settings: KeySettings) -> [FieldProblem.Field] {
    policy.problems(of: settings, madeAt: now).map(\.field)
  }

  @Test("each rule names the field that violates it, and a compliant key has no problems")
  func rules() {
    let plain = KeySettings(name: "Key", scopes: ["a:b", "c"])
    #expect(fields(KeyPolicy(), plain) == [])
    #expect(fields(KeyPolicy(isExpiryRequired: true), plain) == [.expiresAt])
    #expect(fields(KeyPolicy(maxLifetimeDays: 2), plain) == [.expiresAt])
    #expect(fields(KeyPolicy(isAllowlistRequired: true), plain) == [.allowedIPs])
    #expect(fields(KeyPolicy(allowedScopes: ["a:*"]), plain) == [.scope(1)])
    #expect(fields(KeyPolicy(allowedScopes: ["*"]), plain) == [])
    #expect(fields(KeyPolicy(disableAfterIdleDays: 1), plain) == [])
    var good = plain
    good.expiresAt = now.adding(days: 2)
    good.allowedIPs = [AddressBlock("::1")!]
    let strict = KeyPolicy(
      isExpiryRequired: true, maxLifetimeDays: 2, isAllowlistRequired: true, allowedScopes: ["a:*", "c"])
    #expect(fields(strict, good) == [])
    good.expiresAt = now.adding(days: 2).addingTimeInterval(1)
    #expect(fields(strict, good) == [.expiresAt])
    #expect(fields(strict, plain) == [.expiresAt, .allowedIPs])
  }

  @Test("the code is that of the first violated rule, and all problems are reported, from whichever rule")
  func codes() {
    let rules = KeyRules(plan: Self.plan, policy: KeyPolicy(isExpiryRequired: true, allowedScopes: ["b"]))
    var narrow = rules
    narrow.plan.scopes = ["b"]
    let settings = KeySettings(name: "Key", scopes: ["a"], rateLimitPerMinute: 101)
    func refused(_ rules: KeyRules, only fields: Set<FieldProblem.Field>? = nil) -> (String, [FieldProblem.Field])? {
      do {
        try rules.check(settings, madeAt: now, only: fields)
        return nil
      } catch PortalError.scopeNotAllowed(let problems) {
        return ("scope", problems.map(\.field))
      } catch PortalError.limitNotAllowed(let problems) {
        return ("limit", problems.map(\.field))
      } catch PortalError.policyViolation(let problems) {
        return ("policy", problems.map(\.field))
      } catch {
        return ("?", [])
      }
    }
    let all = [FieldProblem.Field.rateLimitPerMinute, .scope(0), .expiresAt]
    #expect(refused(rules)?.0 == "limit" && refused(rules)?.1 == all)
    #expect(refused(narrow)?.0 == "scope")
    #expect(refused(narrow)?.1 == [.scope(0)] + all)
    #expect(refused(rules, only: [.scopes])?.0 == "policy")
    #expect(refused(rules, only: [.scopes])?.1 == [.scope(0)])
    #expect(refused(rules, only: [.email]) == nil)
  }

  @Test("an account starts with an empty policy; a new policy is stored, and each change is recorded")
  func set() async throws {
    try await withPool { pool in
      let world = World(pool)
      let (account, other) = (try await world.makeAccount(), try await world.makeAccount("bob@example.com"))
      #expect(try await world.policies.find(of: account) == KeyPolicy())
      let policy = KeyPolicy(
        isExpiryRequired: true, maxLifetimeDays: 36_500, isAllowlistRequired: true, allowedScopes: ["a:*", "*"],
        disableAfterIdleDays: 3_650)
      for _ in 1...2 { try await world.policies.set(policy, of: account, by: World.caller) }
      #expect(try await world.policies.find(of: account) == policy)
      #expect(try await world.policies.find(of: other) == KeyPolicy())
      try await world.policies.set(KeyPolicy(), of: account, by: World.caller)
      #expect(try await world.policies.find(of: account) == KeyPolicy())
      #expect(
        try await world.actions(on: account)
          == ["account.created", "account.policy_changed", "account.policy_changed"])
      await #expect(throws: PortalError.notFound) { try await world.policies.find(of: .version7()) }
      await #expect(throws: PortalError.notFound) {
        try await world.policies.set(policy, of: .version7(), by: World.caller)
      }
    }
  }

  @Test("keys that are idle for longer than the policy allows are disabled, each with an event; others are not")
  func idle() async throws {
    try await withPool { pool in
      let world = World(pool)
      let (account, other) = (try await world.makeAccount(), try await world.makeAccount("bob@example.com"))
      try await world.policies.set(KeyPolicy(disableAfterIdleDays: 7), of: account, by: World.caller)
      try await world.policies.set(KeyPolicy(isExpiryRequired: false), of: other, by: World.caller)
      var ids: [String: UUID] = [:]
      for name in ["idle", "never used", "used", "enabled", "revoked", "expired", "disabled"] {
        ids[name] = try await world.makeKey(account).key.id
      }
      let untouched = try await world.makeKey(other).key.id
      _ = try await world.makeKey(account)
      try await pool.script("update api_keys set created_at = now() - interval '100 days'")
      let young = try await world.makeKey(account).key.id
      for (name, days) in [("idle", "8 days"), ("used", "6 days"), ("enabled", "90 days")] {
        try await pool.script(
          """
          update key_activity set last_used_at = now() - interval '\(days)' where key_id = '\(ids[name]!)'
          """)
      }
      for (name, change) in [
        ("enabled", "enabled_at = now() - interval '6 days'"), ("revoked", "revoked_at = now()"),
        ("expired", "expires_at = now() - interval '1 day'"), ("disabled", "disabled_at = '2020-01-01T00:00:00Z'"),
      ] {
        try await pool.script("update api_keys set \(change) where id = '\(ids[name]!)'")
      }
      let jobs = Jobs(pool: pool, instance: "here", retention: Retention(), observer: Observer([]))
      let job = try #require(jobs.all.first { $0.name == "idle-keys" })
      // These are the two keys and the key that was created without an entry in `ids`.
      #expect(await jobs.run(job, isForced: true) == .done(3))
      #expect(await jobs.run(job, isForced: true) == .done(0))
      let disabled = Set(
        try await pool.lines("select id from api_keys where disabled_at > now() - interval '1 hour'"))
      #expect(disabled.isSuperset(of: [ids["idle"]!.text, ids["never used"]!.text]) && disabled.count == 3)
      #expect(!disabled.contains(young.text) && !disabled.contains(untouched.text))
      let events = try await pool.lines(
        "select target_id || ' ' || actor_kind || ' ' || actor_name from audit_events where action = 'key.disabled'")
      #expect(Set(events) == Set(disabled.map { $0 + " job idle-keys" }))

      // A key that was enabled again is no longer idle.
      _ = try await world.keys.update(
        ids["idle"]!, of: account, KeyChanges(isEnabled: true), by: World.caller)
      #expect(await jobs.run(job, isForced: true) == .done(0))
    }
  }
}
