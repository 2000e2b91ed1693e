import Foundation
import PortalTesting
import Postgres
import Testing

@testable import Portal

@Suite("Importing and exporting keys")
struct KeyImportsTests {
  private static let shop = Caller(actor: .token(id: .numbered(9), name: "shop"))
  private static let forms = ImportForm.all

  private func world(_ pool: PostgresPool) -> World {
    var world = World(pool)
    world.format.importSalt = ImportSalt("pepper", .after)
    return world
  }

  private func row(
    _ text: String, _ form: ImportForm, _ account: AccountReference = .externalID("cus_1"),
    _ settings: KeySettings = .plain
  ) throws -> KeyImport {
    let bytes = try #require(form.hash(of: Secret(presented: text), ImportSalt("pepper", .after)))
    return KeyImport(account: account, hash: ImportedHash(form: form, bytes: bytes), settings: settings)
  }

  private func verify(_ verifier: Verifier, _ text: String) async throws -> Verdict {
    let secret = Secret(presented: text)
    return try await verifier.verify(VerificationRequest(hash: verifier.hash(of: secret)), secret)
  }

  @Test("a key of every form is valid from its first use on, and is found by its own hash then", arguments: forms)
  func firstUse(_ form: ImportForm) async throws {
    try await withPool { pool in
      let world = world(pool)
      let text = "sk_short_" + String(repeating: "x", count: 40)
      let imported = try await world.imports.importKeys([try row(text, form)], by: Self.shop)
      #expect(imported.newCount == 1 && imported.rows.count == 1)
      let (id, account) = (imported.rows[0].id, imported.rows[0].accountID)
      #expect(try await world.keys.find(id, of: account).start == nil)
      #expect(try await world.desk.lookUp(pasted: text).map(\.id) == [id])
      let verifier = world.makeVerifier()
      let verdict = try await verify(verifier, text)
      #expect(verdict.isValid && verdict.found?.key.id == id)
      let key = try await world.keys.find(id, of: account)
      #expect(key.start == "sk_shor" && key.createdBy?.name == "shop")
      let hash = SecretHash(of: text.utf8)
      #expect(try await pool.query(FindVerifiableKeys(hashes: [hash])).first?.found?.hash == hash)
      #expect(try await verify(verifier, text).isValid)
      // Another text with the same long part is not this key.
      #expect(try await verify(verifier, "other" + text).code == .notFound)
      #expect(try await verify(world.makeVerifier(), "sk_other_" + String(text.suffix(40))).code == .notFound)
    }
  }

  @Test("of many first uses on several servers at once, all are valid, and the key is used once")
  func races() async throws {
    try await withPool { pool async throws in
      let world = world(pool)
      for round in 1...10 {
        let text = "sk_short_" + String(repeating: "\(round % 10)", count: 40)
        let form = ImportForm(.sha512, .long, isSalted: true)
        let id = try await world.imports.importKeys([try row(text, form)], by: Self.shop).rows[0].id
        let verifiers = (1...4).map { _ in world.makeVerifier() }
        let outcomes = await concurrently(20) { number in
          let secret = Secret(presented: text)
          let verifier = verifiers[number % 4]
          return try await verifier.verify(VerificationRequest(hash: verifier.hash(of: secret)), secret).code
        }
        #expect(outcomes.errors.isEmpty && outcomes.values.allSatisfy { $0 == .valid })
        #expect(try await pool.number("select revision from api_keys where id = '\(id)'") == 2)
      }
    }
  }

  @Test("an unused key that is revoked or disabled is refused as such, and one that is deleted is not found")
  func states() async throws {
    try await withPool { pool in
      let world = world(pool)
      let form = ImportForm(.sha512)
      let row = try row("sk_a_b", form)
      let imported = try await world.imports.importKeys([row], by: Self.shop).rows[0]
      _ = try await world.keys.revoke(imported.id, of: imported.accountID, by: Self.shop)
      #expect(try await verify(world.makeVerifier(), "sk_a_b").code == .revoked)
      var disabled = try self.row("sk_c_d", form)
      disabled.isEnabled = false
      _ = try await world.imports.importKeys([disabled], by: Self.shop)
      let verifier = world.makeVerifier()
      #expect(try await verify(verifier, "sk_c_d").code == .disabled)
      try await pool.script("delete from api_keys")
      #expect(try await verify(world.makeVerifier(), "sk_c_d").code == .notFound)
    }
  }

  @Test("from the first import on, a text with the own prefix and a wrong checksum is looked up")
  func checksum() async throws {
    try await withPool { pool in
      let world = world(pool)
      let verifier = world.makeVerifier()
      let foreign = Secret(presented: "lk_live_of_another_system")
      // Nothing is known yet, so nothing is ruled out.
      #expect(verifier.hash(of: foreign) != nil)
      _ = try await verifier.apply(pool.newestSync())
      #expect(verifier.hash(of: foreign) == nil)
      for text in ["", String(repeating: "x", count: 513)] {
        #expect(world.makeVerifier().hash(of: Secret(presented: text)) == nil)
      }
      _ = try await world.imports.importKeys([try row(foreign.reveal(), .native)], by: Self.shop)
      _ = try await verifier.apply(pool.newestSync())
      #expect(try await verify(verifier, foreign.reveal()).isValid)
      #expect(try await world.desk.lookUp(pasted: foreign.reveal()).count == 1)
    }
  }

  @Test("a server that has not heard of the first import of a form learns of it from the look-up itself")
  func unheard() async throws {
    try await withPool { pool in
      let world = world(pool)
      let verifier = world.makeVerifier()
      _ = try await verifier.apply(pool.newestSync())
      _ = try await world.imports.importKeys([try row("sk_a_b", ImportForm(.sha512))], by: Self.shop)
      #expect(try await verify(verifier, "sk_a_b").isValid)
      #expect(verifier.importWarning == nil)
    }
  }

  @Test("without the salt, salted keys are neither imported nor found, and a warning says so")
  func unsalted() async throws {
    try await withPool { pool in
      let salted = try row("sk_a_b", ImportForm(.sha256, isSalted: true))
      let plain = World(pool)
      await #expect(throws: PortalError.invalid(.row(0, .salted), "requires KEY_IMPORT_SALT, which is not set")) {
        try await plain.imports.importKeys([salted], by: Self.shop)
      }
      _ = try await world(pool).imports.importKeys([salted], by: Self.shop)
      let verifier = plain.makeVerifier()
      #expect(try await verify(verifier, "sk_a_b").code == .notFound)
      #expect(verifier.importWarning != nil)
    }
  }

  @Test("a repeated import changes nothing; a part that is new is added; one row of the log per statement")
  func repeated() async throws {
    try await withPool { pool in
      let world = world(pool)
      var rows: [KeyImport] = []
      for number in 0..<50 {
        rows.append(try row("sk_a_\(number)", ImportForm(.sha512), .externalID("cus_\(number % 5)")))
      }
      let first = try await world.imports.importKeys(Array(rows.prefix(30)), by: Self.shop)
      #expect(first.newCount == 30)
      let seq = try await pool.number("select seq from invalidation_head")
      let second = try await world.imports.importKeys(rows, by: Self.shop)
      #expect(second.newCount == 20 && second.rows.prefix(30).map(\.id) == first.rows.map(\.id))
      #expect(try await pool.number("select seq from invalidation_head") == seq + 1)
      let third = try await world.imports.importKeys(rows, by: Self.shop)
      #expect(third.newCount == 0 && third.rows.map(\.id) == second.rows.map(\.id))
      #expect(try await pool.number("select count(*) from api_keys") == 50)
      #expect(try await pool.number("select count(*) from accounts") == 5)
      #expect(try await pool.number("select count(*) from audit_events where action = 'keys.imported'") == 2)
      #expect(try await AuditChains(pool: pool).verify { _ in }.isIntact)
    }
  }

  @Test("of imports of the same keys at the same time, each key is added once")
  func concurrent() async throws {
    try await withPool { pool async throws in
      let world = world(pool)
      var rows: [KeyImport] = []
      for number in 0..<20 {
        rows.append(try row("sk_a_\(number)", ImportForm(.sha256, .long), .externalID("cus_\(number)")))
      }
      let all = rows
      let outcomes = await concurrently(8) { number in
        try await world.imports.importKeys(number.isMultiple(of: 2) ? all : all.reversed(), by: Self.shop).newCount
      }
      #expect(outcomes.errors.isEmpty, "\(outcomes.errors)")
      #expect(outcomes.values.reduce(0, +) == 20)
      #expect(try await pool.number("select count(*) from accounts") == 20)
    }
  }

  @Test("all problems of all rows are reported at their places, and nothing is imported")
  func problems() async throws {
    try await withPool { pool in
      let world = world(pool)
      let (account, other) = (try await world.makeAccount(), try await world.makeAccount("bob@example.com"))
      try await world.policies.set(KeyPolicy(allowedScopes: ["x"]), of: account, by: World.caller)
      try await world.insertKeys(upTo: 25, other)
      let taken = try row("sk_taken_1", ImportForm(.sha512), .externalID("cus_2"))
      _ = try await world.imports.importKeys([taken], by: Self.shop)
      let count = try await pool.number("select count(*) from api_keys")
      let events = try await pool.number("select count(*) from audit_events")
      var unknownAPI = try row("sk_a_3", .native)
      unknownAPI.api = .name("nobody")
      let rows = [
        try row("sk_a_0", .native, .id(account)), try row("sk_a_1", .native, .id(other)),
        try row("sk_a_2", .native, .id(.version7())), unknownAPI,
        try row("sk_taken_1", ImportForm(.sha512), .externalID("cus_3")), try row("sk_a_5", .native),
      ]
      let error = await #expect(throws: PortalError.self) {
        try await world.imports.importKeys(rows, by: Self.shop)
      }
      guard case .invalid(let problems)? = error else { return }
      #expect(
        problems.map(\.field) == [
          .row(0, .scope(0)), .row(1, .account), .row(2, .account), .row(3, .api), .row(4, .hash),
        ])
      await #expect(throws: PortalError.invalid(.row(1, .hash), "must not be repeated")) {
        try await world.imports.importKeys([taken, taken], by: Self.shop)
      }
      #expect(try await pool.number("select count(*) from api_keys") == count)
      #expect(try await pool.number("select count(*) from audit_events") == events)
      #expect(try await pool.number("select count(*) from accounts where external_id = 'cus_3'") == 0)
    }
  }

  @Test("an export has every key with its hash, from which an import into an empty deployment goes on")
  func export() async throws {
    try await withPool { pool in
      let world = world(pool)
      let account = try await world.makeAccount()
      let issued = try await world.makeKey(account)
      let unused = try await world.imports.importKeys(
        [try row("sk_a_b", ImportForm(.sha512, .long))], by: Self.shop
      ).rows[0]
      var exported: [ExportedKey] = []
      let export = try await world.exports.export(by: Self.shop)
      try await export.read { exported += $0 }
      #expect(exported.map(\.key.id) == [issued.key.id, unused.id])
      #expect(exported[0].hash == ImportedHash(form: .native, bytes: issued.secret.hash.bytes))
      #expect(exported[1].hash.form == ImportForm(.sha512, .long) && exported[1].externalID == "cus_1")
      #expect(try await pool.number("select count(*) from audit_events where action = 'keys.exported'") == 1)
      // A key that was made here is there already, whatever imports it.
      let own = KeyImport(account: .id(account), hash: exported[0].hash, settings: .plain)
      #expect(try await world.imports.importKeys([own], by: Self.shop).rows[0].id == issued.key.id)
    }
  }
}
