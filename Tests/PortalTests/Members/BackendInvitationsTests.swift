import Foundation
import PortalTesting
import Postgres
import Testing

@testable import Portal

@Suite("Invitations by backends")
struct BackendInvitationsTests {
  private static let shop = Caller(actor: .token(id: .numbered(9), name: "shop"))
  private let password = Password(presented: World.password)

  private func invitations(_ world: World) -> Invitations {
    Invitations(pool: world.pool, passwords: World.hasher, attempts: world.attempts, outbox: world.outbox)
  }

  private func invite(
    _ world: World, _ email: String, _ role: MemberRole = .owner, plan: String? = nil, into account: UUID
  ) async throws -> Secret {
    let (invitation, token) = try await invitations(world).invite(
      EmailAddress(email)!, as: role, plan: plan, into: account, by: Self.shop)
    #expect(invitation.inviterName == "shop")
    return try #require(token)
  }

  @Test("the first person to join makes an external account a customer's, under the plan of the invitation")
  func joins() async throws {
    try await withPool { pool in
      let world = World(pool)
      _ = try await world.plans.set(
        Plan(name: "team", keyCap: 2, scopes: ["*"], rateLimitPerMinuteMax: 100), by: World.caller)
      for (number, plan) in [String?.none, "team"].enumerated() {
        let id = try await world.makeExternal("cus_\(number)", by: Self.shop).account.id
        let keys = try await world.makeKeys(3, id)
        let token = try await invite(world, "ada\(number)@example.com", plan: plan, into: id)
        let accepted = try await invitations(world).accept(token, password: password, from: nil)
        #expect(accepted.account.kind == .customer && accepted.account.plan.name == plan ?? "default")
        #expect(accepted.role == .owner)
        // Its keys stay; whether there is room for another is up to the plan.
        for key in keys { #expect(try await world.keys.find(key.key.id, of: id).status(at: Date()) == .active) }
        if plan != nil {
          await #expect(throws: PortalError.keyCapReached(cap: 2)) { try await world.makeKey(id) }
        }
        #expect(
          try await world.actions(on: id) == [
            "account.created", "key.created", "key.created", "key.created", "member.invited", "account.plan_changed",
            "member.joined",
          ])
      }
    }
  }

  @Test("a second person joins a customer's account, whose plan stays")
  func second() async throws {
    try await withPool { pool in
      let world = World(pool)
      let id = try await world.makeExternal("cus_1", by: Self.shop).account.id
      _ = try await world.plans.set(
        Plan(name: "team", keyCap: 2, scopes: ["*"], rateLimitPerMinuteMax: 100), by: World.caller)
      var tokens: [Secret] = []
      for (number, plan) in ["default", "team"].enumerated() {
        tokens.append(try await invite(world, "ada\(number)@example.com", plan: plan, into: id))
      }
      for token in tokens { _ = try await invitations(world).accept(token, password: password, from: nil) }
      #expect(try await pool.lines("select kind || ' ' || plan from accounts") == ["customer default"])
      #expect(try await pool.lines("select role from memberships") == ["owner", "owner"])
      // Now the account has an owner, so others may have another role.
      _ = try await invite(world, "bob@example.com", .viewer, into: id)
    }
  }

  @Test("nobody but an owner is invited as the first person; and no unknown plan, nor into no account")
  func refusals() async throws {
    try await withPool { pool in
      let world = World(pool)
      let id = try await world.makeExternal("cus_1", by: Self.shop).account.id
      for role in MemberRole.allCases where role != .owner {
        let error = await #expect(throws: PortalError.self) {
          try await invite(world, "ada@example.com", role, into: id)
        }
        guard case .invalid(let problems) = error else {
          Issue.record("\(role): \(String(describing: error))")
          continue
        }
        #expect(problems.map(\.field) == [.role])
      }
      await #expect(throws: PortalError.invalid(.plan, "is not the name of a plan")) {
        try await invite(world, "ada@example.com", plan: "gold", into: id)
      }
      await #expect(throws: PortalError.notFound) {
        try await invite(world, "ada@example.com", into: .version7())
      }
      try await pool.script("update accounts set suspended_at = now()")
      await #expect(throws: PortalError.forbidden(reason: "The account is suspended.")) {
        try await invite(world, "ada@example.com", into: id)
      }
      #expect(try await pool.number("select count(*) from invitations") == 0)
    }
  }
}
