import Foundation
import PortalTesting
import Postgres
import Testing

@testable import Portal

extension World {
  fileprivate var held: HeldKeys {
    HeldKeys(
      pool: pool, keys: keys, usages: Usages(pool: pool, gatewayPool: pool, clock: clock), limiter: RateLimiter())
  }
}

@Suite("HeldKeys")
struct HeldKeysTests {
  @Test("a key is found by its text, whatever its status, and nothing else is")
  func find() async throws {
    try await withPool { pool in
      let world = World(pool)
      let account = try await world.makeAccount()
      let issued = try await world.makeKey(account)
      #expect(try await world.held.find(issued.secret).key.id == issued.key.id)
      _ = try await world.keys.revoke(issued.key.id, of: account, by: World.caller)
      #expect(try await world.held.find(issued.secret).key.isRevoked)
      for text in ["", "x", "lk_live_x", Secret.random(prefix: "lk_live").reveal()] {
        await #expect(throws: PortalError.unauthenticated) {
          try await world.held.find(Secret(presented: text))
        }
      }
    }
  }

  @Test("thirty holders of one key revoke it once; owners and admins are notified, and the mail blames no staff")
  func races() async throws {
    try await withPool { pool in
      let world = World(pool, hasMail: true)
      let account = try await world.makeAccount()
      let issued = try await world.makeKey(account)
      try await pool.script("delete from mails")
      let held = try await world.held.find(issued.secret)
      let outcomes = await concurrently(30) { _ in
        try await world.held.revoke(held, by: held.caller(ip: "192.0.2.1")).revokedAt
      }
      #expect(outcomes.errors.isEmpty && Set(outcomes.values).count == 1)
      #expect(try await world.actions(on: account) == ["account.created", "key.created", "key.revoked"])
      #expect(try await pool.lines("select kind || ' ' || recipient from mails") == ["key_revoked ada@example.com"])
      let parameters = try Mail.Parameters(column: try await pool.text("select parameters from mails")!)
      #expect(parameters.isByHolder == true && parameters.keyStart == issued.key.start)
    }
  }
}
