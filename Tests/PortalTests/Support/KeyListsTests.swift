import Foundation
import PortalTesting
import Postgres
import Testing

@testable import Portal

@Suite("Lists of keys to revoke")
struct KeyListsTests {
  private let grace = Caller(actor: .staff(id: .numbered(7), name: "Grace"), ip: "192.0.2.9")
  private let hedy = Caller(actor: .staff(id: .numbered(8), name: "Hedy"))
  private let reason = SupportReason(text: "leaked on a forum", ticket: "SUP-1")

  private func aliveCount(_ pool: PostgresPool) async throws -> Int {
    try await pool.number("select count(*) from api_keys where revoked_at is null")
  }

  private func ids(_ pool: PostgresPool, _ count: Int) async throws -> [String] {
    try await pool.lines("select id from api_keys order by id limit \(count)")
  }

  // MARK: Lines

  @Test("a text is an id, a pasted key, or neither; a text in the form of an id may also be an imported key")
  func references() throws {
    let format = try #require(KeyFormat(prefix: "lk"))
    let id = UUID.version7()
    let secret = Secret.random(prefix: "lk_live")
    for text in [id.text, id.uuidString, " \(id.text)\n"] {
      let reference = try #require(KeyList.Reference(text, format))
      #expect(reference.id == id && reference.hash != nil)
    }
    for text in [secret.reveal(), "API_KEY=\(secret.reveal())", "Bearer \(secret.reveal())"] {
      let reference = try #require(KeyList.Reference(text, format))
      #expect(reference.id == nil && reference.hash == secret.hash)
    }
    for text in ["", " ", "two words"] { #expect(KeyList.Reference(text, format) == nil, "\(text)") }
    // They may have been imported.
    for text in ["lk_live_short", String(secret.reveal().dropLast())] {
      let reference = try #require(KeyList.Reference(text, format))
      #expect(!reference.isOfThisPortal && reference.imports.contains { $0.form == .native })
    }
  }

  @Test("the lines follow the list: duplicates by id and by key, unknown ones, revoked ones and texts that are no keys")
  func lines() throws {
    let format = try #require(KeyFormat(prefix: "lk"))
    let secrets = (0..<2).map { _ in Secret.random(prefix: "lk_live") }
    let keys = [
      KeyList.Found(id: .numbered(1), accountID: .numbered(9), hash: secrets[0].hash, revokedAt: nil),
      KeyList.Found(id: .numbered(2), accountID: .numbered(9), hash: secrets[1].hash, revokedAt: .distantPast),
    ]
    let texts = [
      secrets[0].reveal(), UUID.numbered(1).text, UUID.numbered(2).text, secrets[1].reveal(), UUID.numbered(3).text,
      Secret.random(prefix: "lk_live").reveal(), "lk_live_x",
    ]
    let lines = KeyList.lines(texts.map { KeyList.Reference($0, format) }, among: keys)
    #expect(
      lines.map(\.outcome) == [.waiting, .duplicate, .alreadyRevoked, .duplicate, .unknown, .unknown, .notAKey])
    #expect(lines.map(\.keyID) == [.numbered(1), .numbered(1), .numbered(2), .numbered(2), nil, nil, nil])
  }

  @Test("an imported key that was not used yet is found by what was imported, and one without a beginning is revoked")
  func imported() async throws {
    try await withPool { pool in
      let world = World(pool)
      let account = try await world.makeAccount()
      let (one, other) = (try await world.makeKey(account), try await world.makeKey(account))
      try await pool.script(
        """
        update api_keys set key_hash = null, key_start = null, import_form = 'sha512',
          import_hash = sha512('sk_other_system_1234') where id = '\(one.key.id)';
        update api_keys set key_start = null, import_form = 'sha256', import_hash = key_hash
        where id = '\(other.key.id)'
        """)
      let texts = ["sk_other_system_1234", other.key.id.text, "sk_nobody_has_this_12"]
      let (lines, _) = try await world.desk.revokeKeys(listed: texts, by: grace, reason)
      #expect(lines.map(\.outcome) == [.revoked, .revoked, .unknown])
      #expect(lines.map(\.keyID) == [one.key.id, other.key.id, nil])
    }
  }

  // MARK: Alone

  @Test("up to 25 keys of several accounts are revoked at once, each with an event in its own trail and the reason")
  func alone() async throws {
    try await withPool { pool in
      let world = World(pool, hasMail: true)
      let (ada, eve) = (try await world.makeAccount(), try await world.makeAccount("eve@example.com"))
      let one = try await world.makeKey(ada)
      let others = try await world.makeKeys(2, eve)
      let spared = try await world.makeKey(eve)
      try await pool.script("delete from mails")
      let texts = [one.secret.reveal(), others[0].key.id.text, others[1].secret.reveal(), "sk_unknown"]
      let (lines, revocation) = try await world.desk.revokeKeys(listed: texts, by: grace, reason)
      guard case .done(let count, _) = revocation else {
        Issue.record("it waits")
        return
      }
      #expect(count == 3 && lines.map(\.outcome) == [.revoked, .revoked, .revoked, .unknown])
      #expect(lines.map(\.accountID) == [ada, eve, eve, nil] && lines.prefix(3).allSatisfy { $0.revokedAt != nil })
      #expect(try await pool.lines("select id from api_keys where revoked_at is null") == [spared.key.id.text])
      #expect(try await world.actions(on: ada).suffix(1) == ["key.revoked"])
      #expect(try await world.actions(on: eve).suffix(2) == ["key.revoked", "key.revoked"])
      let event = try #require(try await world.audit.list(of: ada, page: PageRequest(limit: 1)).items.first)
      #expect(event.targetID == one.key.id && event.actorName == "Grace" && event.ip == "192.0.2.9")
      #expect(event.reason == reason.text && event.ticket == "SUP-1")
      #expect(
        try await pool.lines("select kind || ' ' || recipient from mails order by 1")
          == ["key_revoked ada@example.com", "keys_revoked eve@example.com"])
      for secret in [one, others[0], others[1]].map(\.secret) {
        #expect(try await world.makeVerifier().verify(VerificationRequest(hash: secret.hash)).code == .revoked)
      }
      // Again: nothing changes.
      let rows = try await pool.number("select count(*) from audit_events")
      let (again, _) = try await world.desk.revokeKeys(listed: texts, by: grace, reason)
      #expect(again.map(\.outcome) == [.alreadyRevoked, .alreadyRevoked, .alreadyRevoked, .unknown])
      #expect(again.map(\.revokedAt) == lines.map(\.revokedAt))
      #expect(try await pool.number("select count(*) from audit_events") == rows)
    }
  }

  @Test("keys of a deleted account are unknown")
  func deletedAccount() async throws {
    try await withPool { pool in
      let world = World(pool)
      let issued = try await world.makeKey(try await world.makeAccount())
      try await pool.script("update accounts set suspended_at = now(), deleted_at = now()")
      let (lines, _) = try await world.desk.revokeKeys(listed: [issued.key.id.text], by: grace, reason)
      #expect(lines.map(\.outcome) == [.unknown])
    }
  }

  @Test("if one trail cannot be written, no key of the list is revoked")
  func atomic() async throws {
    try await withPool { pool in
      let world = World(pool)
      let (ada, eve) = (try await world.makeAccount(), try await world.makeAccount("eve@example.com"))
      let keys = [try await world.makeKey(ada), try await world.makeKey(eve)].map(\.key.id.text)
      let last = max(ada.text, eve.text)
      try await pool.script(
        """
        alter table audit_events add constraint closed
          check (account_id <> '\(last)' or action <> 'key.revoked') not valid
        """)
      await #expect(throws: PostgresError.self) {
        try await world.desk.revokeKeys(listed: keys, by: grace, reason)
      }
      #expect(try await aliveCount(pool) == 2)
      #expect(try await pool.number("select count(*) from audit_events where action = 'key.revoked'") == 0)
    }
  }

  @Test("lists that overlap, in whatever order, revoke each key once, and never wait for each other for good")
  func races() async throws {
    try await withPool { pool in
      let world = World(pool)
      var keys: [String] = []
      for number in 0..<5 {
        let account = try await world.makeAccount("ada\(number)@example.com")
        keys += try await world.makeKeys(3, account).map(\.key.id.text)
      }
      for _ in 0..<10 {
        try await pool.script("update api_keys set revoked_at = null")
        let events = try await pool.number("select count(*) from audit_events where action = 'key.revoked'")
        let outcomes = await concurrently(8) { [keys] _ in
          let (lines, _) = try await world.desk.revokeKeys(listed: keys.shuffled(), by: grace, reason)
          return lines.count { $0.outcome == .revoked }
        }
        #expect(outcomes.errors.isEmpty && outcomes.values.reduce(0, +) == 15)
        #expect(try await aliveCount(pool) == 0)
        #expect(
          try await pool.number("select count(*) from audit_events where action = 'key.revoked'") == events + 15)
      }
    }
  }

  // MARK: Together

  @Test("none of 26 keys is revoked until another member of staff confirms; those revoked meanwhile stay as they are")
  func confirmed() async throws {
    try await withPool { pool in
      let world = World(pool)
      let (ada, eve) = (try await world.makeAccount(), try await world.makeAccount("eve@example.com"))
      try await world.insertKeys(upTo: 20, ada)
      try await world.insertKeys(upTo: 10, eve)
      let texts = try await ids(pool, 26)
      let (lines, revocation) = try await world.desk.revokeKeys(listed: texts, by: grace, reason)
      guard case .waits(let confirmation) = revocation else {
        Issue.record("it does not wait")
        return
      }
      #expect(lines.allSatisfy { $0.outcome == .waiting })
      #expect(try await aliveCount(pool) == 30)
      #expect(confirmation.accountID == nil && confirmation.keyCount == 26)
      #expect(confirmation.keyIDs?.map(\.text) == texts.sorted())
      #expect(try await world.desk.confirmations() == [confirmation])
      // The same list again is the same request; another order of it, too.
      guard
        case .waits(let same) = try await world.desk.revokeKeys(listed: texts.reversed(), by: grace, reason).revocation
      else {
        Issue.record("it does not wait")
        return
      }
      #expect(same == confirmation)
      await #expect(throws: PortalError.self) { try await world.desk.confirm(confirmation.id, by: grace) }
      _ = try await world.desk.revokeKey(UUID(uuidString: texts[0])!, by: grace, reason)
      try await world.insertKeys(upTo: 40, eve)

      #expect(try await world.desk.confirm(confirmation.id, by: hedy).keyCount == 25)
      let listed = texts.joined(separator: "','")
      #expect(
        try await pool.number(
          "select count(*) from api_keys where revoked_at is not null and id in ('\(listed)')") == 26)
      #expect(try await pool.number("select count(*) from api_keys where revoked_at is not null") == 26)
      #expect(try await world.desk.confirmations() == [])
      await #expect(throws: PortalError.notFound) { try await world.desk.confirm(confirmation.id, by: hedy) }
      #expect(
        try await pool.lines(
          """
          select action || ' ' || actor_name || ' ' || detail from audit_events
          where account_id is null and target_id = '\(confirmation.id)' order by seq
          """) == ["revocation.requested Grace 26 listed keys", "revocation.confirmed Hedy 25 listed keys"])
      #expect(
        try await pool.number("select count(*) from audit_events where action = 'key.revoked' and actor_name = 'Hedy'")
          == 25)
    }
  }

  @Test("a request is withdrawn once, expires after a day, and goes with its requester")
  func withdrawn() async throws {
    try await withPool { pool in
      let world = World(pool)
      try await world.insertKeys(upTo: 26, try await world.makeAccount())
      let texts = try await ids(pool, 26)
      func ask() async throws -> UUID {
        guard
          case .waits(let confirmation) = try await world.desk.revokeKeys(listed: texts, by: grace, reason).revocation
        else { throw PortalError.notFound }
        return confirmation.id
      }
      let first = try await ask()
      try await world.desk.withdraw(first, by: hedy)
      await #expect(throws: PortalError.notFound) { try await world.desk.withdraw(first, by: hedy) }
      let second = try await ask()
      #expect(second != first)
      try await pool.script("update staff_confirmations set expires_at = now()")
      await #expect(throws: PortalError.notFound) { try await world.desk.confirm(second, by: hedy) }
      #expect(try await aliveCount(pool) == 26)
      #expect(
        try await pool.lines("select action from audit_events where account_id is null order by seq") == [
          "revocation.requested", "revocation.withdrawn", "revocation.requested",
        ])
    }
  }

  @Test("of thirty confirmations and withdrawals at the same time, one takes effect")
  func confirmationRaces() async throws {
    try await withPool { pool in
      let world = World(pool)
      try await world.insertKeys(upTo: 26, try await world.makeAccount())
      let texts = try await ids(pool, 26)
      guard case .waits(let confirmation) = try await world.desk.revokeKeys(listed: texts, by: grace, reason).revocation
      else {
        Issue.record("it does not wait")
        return
      }
      let outcomes = await concurrently(30) { number in
        if number % 2 == 0 {
          _ = try await world.desk.confirm(confirmation.id, by: hedy)
        } else {
          try await world.desk.withdraw(confirmation.id, by: hedy)
        }
      }
      #expect(outcomes.values.count == 1 && outcomes.count(of: .notFound) == 29)
      let alive = try await aliveCount(pool)
      #expect(alive == 0 || alive == 26)
      let last = try await pool.text(
        "select action from audit_events where account_id is null order by seq desc limit 1")
      #expect(last == (alive == 0 ? "revocation.confirmed" : "revocation.withdrawn"))
    }
  }
}
