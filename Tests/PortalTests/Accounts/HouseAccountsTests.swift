import Foundation
import PortalTesting
import Postgres
import Testing

@testable import Portal

@Suite("House accounts, for keys that belong to no customer")
struct HouseAccountsTests {
  private static let shop = Caller(actor: .token(id: .numbered(9), name: "shop"))

  private func makeHouse(_ world: World, _ api: CatalogAPI) async throws -> UUID {
    let id = UUID.version7()
    try await world.pool.withTransaction(as: .account(id)) { transaction in
      try await world.managed.create(
        id, for: nil, orHouseOf: api.id, named: api.settings.slug, by: Self.shop, on: transaction)
    }
    return id
  }

  private func makeAPI(_ world: World) async throws -> CatalogAPI {
    try await world.apis.create(CatalogAPI.Settings(slug: "orders", name: "Orders"), by: World.caller)
  }

  @Test("an api has one, which is in no list unless it is asked for, and is not a customer's account to analysts")
  func lists() async throws {
    try await withPool { pool in
      let world = World(pool)
      let api = try await makeAPI(world)
      #expect(try await world.managed.findHouse(of: api.id) == nil)
      let house = try await makeHouse(world, api)
      #expect(try await world.managed.findHouse(of: api.id) == house)
      await #expect(throws: PortalError.nameTaken) { try await makeHouse(world, api) }
      let found = try await world.managed.find(house)
      #expect(found.account.kind == .house && found.account.name == "Keys of orders")
      #expect(found.account.plan.name == Plan.externalName && found.externalID == nil)
      #expect(try await world.managed.list().items == [])
      #expect(try await world.managed.list(ManagedAccountFilter(kind: .house)).items == [found])
      #expect(try await world.desk.search(AccountSearch(name: "orders")) == [])
      #expect(try await world.desk.search(AccountSearch(id: house)).map(\.account.id) == [house])
      #expect(try await pool.number("select count(*) from accounts_v1") == 0)
      #expect(try await world.actions(on: house) == ["account.created"])
    }
  }

  @Test("it has no people and no settings: it is neither changed, joined nor deleted")
  func fixed() async throws {
    try await withPool { pool in
      let world = World(pool)
      let house = try await makeHouse(world, try await makeAPI(world))
      let refusal = PortalError.forbidden(reason: "The account is for an api's keys that belong to no customer.")
      await #expect(throws: refusal) {
        try await world.managed.update(house, ManagedAccountChanges(name: "x"), by: Self.shop)
      }
      await #expect(throws: refusal) { try await world.deletion.delete(house, by: Self.shop) }
      let invitations = Invitations(
        pool: pool, passwords: World.hasher, attempts: world.attempts, outbox: world.outbox)
      await #expect(throws: refusal) {
        try await invitations.invite(EmailAddress("ada@example.com")!, as: .owner, into: house, by: Self.shop)
      }
    }
  }

  @Test("its keys have no cap, whatever its plan says, and are usually without a limit")
  func cap() async throws {
    try await withPool { pool in
      let world = World(pool)
      let house = try await makeHouse(world, try await makeAPI(world))
      try await pool.script("update plans set key_cap = 1 where name = 'external'")
      for _ in 1...3 {
        let now = try await world.keys.now()
        let key = try await pool.withTransaction(as: .account(house)) {
          try await world.keys.create(
            KeySettings(name: "Key", scopes: []), takesUsualLimit: true, for: house, by: Self.shop, at: now, on: $0)
        }.key
        #expect(key.rateLimitPerMinute == nil)
      }
    }
  }

  @Test("a change of its keys waits for no lock of the account; a change of a customer's does")
  func locks() async throws {
    try await withPool { pool in
      let world = World(pool)
      let (house, customer) = (
        try await makeHouse(world, try await makeAPI(world)), try await world.makeAccount()
      )
      let id = try await world.makeKey(house).key.id
      for account in [house, customer] {
        try await pool.withTransaction(as: .account(account)) { transaction in
          _ = try await transaction.query(LockAccount(accountID: account))
          let isFree = try await pool.withTransaction(as: .account(account)) { other in
            try await other.query(TryAccount(accountID: account)).count == 1
          }
          #expect(isFree == (account == house))
        }
      }
      #expect(try await world.keys.revoke(id, of: house, by: Self.shop).id == id)
    }
  }

  @Test("of fifty concurrent requests with one Idempotency-Key, one makes a key, although nothing locks the account")
  func once() async throws {
    try await withPool { pool async throws in
      let world = World(pool)
      let house = try await makeHouse(world, try await makeAPI(world))
      let now = try await world.keys.now()
      let request = IdempotentRequest(
        key: "once", request: [1], accountID: house, holder: .random(prefix: "lk_svc"))!
      let outcomes = await concurrently(50) { _ in
        try await world.idempotency.once(request, of: house) { transaction in
          let issued = try await world.keys.create(.plain, for: house, by: Self.shop, at: now, on: transaction)
          return FirstAnswer(objects: ["{}"], newID: issued.key.id, secret: issued.secret)
        }.newID
      }
      #expect(outcomes.errors.isEmpty && Set(outcomes.values).count == 1)
      #expect(try await pool.number("select count(*) from api_keys") == 1)
    }
  }

  @Test("the house account of a deleted api keeps its revoked keys, and a new api gets another")
  func deletedAPI() async throws {
    try await withPool { pool in
      let world = World(pool)
      let house = try await makeHouse(world, try await makeAPI(world))
      try await world.apis.delete(.name("orders"), by: World.caller)
      #expect(try await pool.lines("select kind || coalesce(house_api_id::text, '') from accounts") == ["house"])
      #expect(try await makeHouse(world, try await makeAPI(world)) != house)
    }
  }

  @Test("an external account is named after its external id, as far as a name may be long")
  func names() {
    #expect(ManagedAccount.name(for: "cus_1") == "cus_1")
    #expect(ManagedAccount.name(for: String(repeating: "x", count: 200)) == String(repeating: "x", count: 100))
    #expect(ManagedAccount.name(for: String(repeating: "x", count: 99) + " y") == String(repeating: "x", count: 99))
    // A joiner whose second emoji is cut off may not stand at the end of a name.
    let family = String(repeating: "x", count: 98) + "\u{1F468}\u{200D}\u{1F469}"
    #expect(ManagedAccount.name(for: family) == "External account")
  }
}

/// Locks an account unless somebody else has.
private struct TryAccount: PostgresStatement {
  typealias Row = UUID
  static let sql = "select id from accounts where id = $1 for update skip locked"
  let accountID: UUID
  func bind(_ bindings: inout PostgresBindings) { bindings.append(accountID) }
}
