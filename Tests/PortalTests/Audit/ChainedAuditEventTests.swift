import Foundation
import PortalTesting
import Postgres
import PostgresTesting
import Testing

@testable import Portal

@Suite("The encoding of an audit event")
struct ChainedAuditEventTests {
  private static let id = UUID(uuidString: "01A1FF93-0755-70AF-9B6E-D75E8F14F55E")!

  /// The hashes were computed by another program that follows docs/AUDIT.md.
  @Test("the hashes of known events do not change")
  func knownHashes() {
    let one = ChainedAuditEvent(
      trail: .account(UUID(uuidString: "01A1FF93-0755-70AF-9B6E-D75E8F14F55D")!), seq: 2, id: Self.id,
      atMicroseconds: 1_769_860_800_123_456, actorKind: "staff",
      actorID: UUID(uuidString: "01A1FF93-0755-70AF-9B6E-D75E8F14F55F")!, actorName: "Grace", action: "key.revoked",
      targetKind: "key", targetID: UUID(uuidString: "01A1FF93-0755-70AF-9B6E-D75E8F14F560")!,
      reason: "leaked on a forum 🙈", ticket: "", ip: "2001:db8::1",
      prevHash: AuditHash(hex: String(repeating: "ab", count: 32))!, hash: .zero)
    #expect(one.at == "2026-01-31T12:00:00.123456Z")
    #expect("\(one.computedHash)" == "f373b003ee89539d4cdb14fb3c7b21a6e16ea85bf365f0ca2748b3e6af8f9de5")
    var detailed = one
    detailed.detail = "Its successor was rolled."
    #expect("\(detailed.computedHash)" == "228cd51949a7e29e35c88ac3cc27449bb9430b7b251ea34b508374550e9dcfa6")
    (detailed.reason, detailed.ticket, detailed.detail) = ("", nil, "")
    #expect("\(detailed.computedHash)" == "3a7301426d1370a27a77eddee7fdd02690272dfb09610f310b950184724910d0")
    let other = ChainedAuditEvent(
      trail: .system, seq: 1, id: Self.id, atMicroseconds: -1, actorKind: "job", actorID: nil,
      actorName: "usage-hours", action: "usage.deleted", targetKind: "usage", targetID: nil, reason: nil, ticket: nil,
      ip: nil, prevHash: .zero, hash: .zero)
    #expect(other.at == "1969-12-31T23:59:59.999999Z")
    #expect("\(other.computedHash)" == "56f36ef9d61e99eb759c9b81e0f6ca3039fec436d028512a4178f71f4da6025c")
  }

  /// Decodes the fields of an event. With the first label there is no detail.
  private func decode(_ bytes: [UInt8]) throws -> [String?] {
    let labels = ["latchkey-audit-1", "latchkey-audit-2"].map { Array($0.utf8) }
    let label = try #require(labels.firstIndex { bytes.starts(with: $0) })
    var rest = bytes[labels[label].count...]
    func take(_ count: Int) throws -> ArraySlice<UInt8> {
      try #require(count <= rest.count)
      defer { rest = rest.dropFirst(count) }
      return rest.prefix(count)
    }
    var fields: [String?] = []
    while !rest.isEmpty {
      let length = try take(4).reduce(0) { $0 << 8 | Int($1) }
      fields.append(length == 0xFFFF_FFFF ? nil : String(decoding: try take(length), as: UTF8.self))
    }
    #expect(fields.count == (label == 0 ? 14 : 15))
    if label == 0 { fields.insert(nil, at: 12) }
    return fields
  }

  private func fields(_ event: ChainedAuditEvent) -> [String?] {
    [
      event.trail.accountID?.text, "\(event.seq)", event.id.text, event.at, event.actorKind, event.actorID?.text,
      event.actorName, event.action, event.targetKind, event.targetID?.text, event.reason, event.ticket, event.detail,
      event.ip, "\(event.prevHash)",
    ]
  }

  /// A text of few pieces, so that the same bytes occur in different fields.
  private func text(_ generator: inout SeededGenerator) -> String {
    let pieces = ["", "a", "b", "\0\0\0\u{1}a", "key", "\u{1F648}", "é", "e\u{301}", "\"\n", ",", "null", "\u{7F}"]
    return (0..<Int.random(in: 0...3, using: &generator)).map { _ in pieces.randomElement(using: &generator)! }
      .joined()
  }

  private func event(_ generator: inout SeededGenerator) -> ChainedAuditEvent {
    func perhaps<Value>(_ value: Value) -> Value? { Bool.random(using: &generator) ? value : nil }
    func id() -> UUID {
      [Self.id, UUID(uuidString: "00000000-0000-0000-0000-00000000000A")!].randomElement(using: &generator)!
    }
    return ChainedAuditEvent(
      trail: AuditTrail(perhaps(id())), seq: Int.random(in: 1...20, using: &generator), id: id(),
      atMicroseconds: Int.random(in: 0...3, using: &generator) * 500_000, actorKind: text(&generator),
      actorID: perhaps(id()), actorName: text(&generator), action: text(&generator), targetKind: text(&generator),
      targetID: perhaps(id()), reason: perhaps(text(&generator)), ticket: perhaps(text(&generator)),
      detail: perhaps(text(&generator)), ip: perhaps("192.0.2.1"),
      prevHash: perhaps(.zero) ?? AuditHash(bytes: Array(repeating: 1, count: 32)), hash: .zero)
  }

  @Test("an encoding can be decoded in only one way, so no two events have the same one")
  func injective() throws {
    var generator = SeededGenerator(seed: 11)
    var seen: [[UInt8]: [String?]] = [:]
    for _ in 0..<20_000 {
      let event = event(&generator)
      let (bytes, fields) = (event.canonicalBytes, fields(event))
      let decoded = try decode(bytes)
      // Compared by bytes, because é and e with a combining accent are equal strings.
      #expect(decoded.map { $0.map { Array($0.utf8) } } == fields.map { $0.map { Array($0.utf8) } })
      if let other = seen.updateValue(fields, forKey: bytes) { #expect(other == fields) }
    }
    #expect(seen.count > 19_000)
  }

  @Test("a change of any field changes the hash")
  func everyField() {
    let plain = ChainedAuditEvent.sample(.account(.version7()))
    var detailed = plain
    detailed.detail = "from viewer to admin"
    detailed = detailed.hashed()
    let changes: [(inout ChainedAuditEvent) -> Void] = [
      { $0.trail = .system }, { $0.trail = .account(.version7()) }, { $0.seq += 1 }, { $0.id = .version7() },
      { $0.atMicroseconds += 1 }, { $0.actorKind = "staff" }, { $0.actorID = nil }, { $0.actorID = .version7() },
      { $0.actorName = "" }, { $0.action = "key.rolled" }, { $0.targetKind = "account" }, { $0.targetID = nil },
      { $0.targetID = .version7() }, { $0.reason = "" }, { $0.ticket = "" }, { $0.ip = "::1" },
      { $0.prevHash = plain.hash },
    ]
    var hashes: Set = [plain.hash, detailed.hash]
    #expect(hashes.count == 2)
    for event in [plain, detailed] {
      for change in changes {
        var changed = event
        change(&changed)
        #expect(hashes.insert(changed.computedHash).inserted)
      }
    }
    detailed.detail = ""
    #expect(hashes.insert(detailed.computedHash).inserted)
    // The same text in another field.
    (detailed.reason, detailed.detail) = ("from viewer to admin", nil)
    #expect(hashes.insert(detailed.computedHash).inserted)
    (detailed.reason, detailed.ticket) = (nil, "from viewer to admin")
    #expect(hashes.insert(detailed.computedHash).inserted)
  }

  @Test("the database and this process compute the same hash for all kinds of fields")
  func sameInDatabase() async throws {
    var generator = SeededGenerator(seed: 5)
    let texts = ["", "a", "🙈", "e\u{301}", "\"quoted\"\n\t\\", "\u{1}", String(repeating: "lang", count: 3_000)]
    let times = [
      "0001-01-01 00:00:00+00", "1969-12-31 23:59:59.999999+00", "1970-01-01 00:00:00+00", "2024-02-29 12:34:56.7+00",
      "2026-06-30 23:59:59.000001+02", "9999-12-31 23:59:59.999999+00",
    ]
    let addresses = ["192.0.2.1", "192.0.2.0/24", "2001:db8::1", "::ffff:192.0.2.1", "2001:db8::/32"]
    let rows = (0..<200).map { number in
      func pick(_ values: [String]) -> String {
        "'" + values.randomElement(using: &generator)!.replacing("'", with: "''") + "'"
      }
      func perhaps(_ value: String) -> String { Bool.random(using: &generator) ? value : "null" }
      return """
        (gen_random_uuid(), \(pick(times)), \(pick(["user", "staff", "command", "job"])),
          \(perhaps("gen_random_uuid()")), \(pick(texts)), \(pick(texts)), \(pick(texts)),
          \(perhaps("gen_random_uuid()")), \(perhaps(pick(texts))), \(perhaps(pick(texts))),
          \(perhaps(pick(texts))), \(perhaps(pick(addresses) + "::inet")))
        """
    }
    try await withPool { pool in
      // One statement per row: in a common list of values, the columns would get one type.
      try await pool.script(
        "set timezone = 'Asia/Kathmandu'; set datestyle = 'SQL, DMY'; set bytea_output = 'escape';"
          + rows.map { row in
            """
            insert into audit_events
              (id, at, actor_kind, actor_id, actor_name, action, target_kind, target_id, reason, ticket, detail, ip)
            values \(row);
            """
          }.joined(separator: "\n"))
      var findings: [AuditOutcome] = []
      let verification = try await AuditChains(pool: pool).verify { findings.append($0) }
      #expect(verification == AuditVerification(chainCount: 1, eventCount: 200, findingCount: 0), "\(findings)")
    }
  }

  @Test("a time that has no unique encoding is refused")
  func times() async throws {
    try await withPool { pool in
      for time in ["infinity", "-infinity", "0044-03-15 12:00:00+00 BC", "10000-01-01 00:00:00+00"] {
        let error = await #expect(throws: PostgresError.self) {
          try await pool.script(
            """
            insert into audit_events (id, at, actor_kind, actor_name, action, target_kind)
            values (gen_random_uuid(), '\(time)', 'job', 'x', 'x', 'x')
            """)
        }
        #expect(error?.constraint == "audit_events_at_range", "\(time) \(String(describing: error))")
      }
    }
  }

  @Test("the text of a hash or head is parsed as it was printed, and any other text is rejected")
  func texts() {
    let head = AuditHead(trail: .account(Self.id), seq: 17, hash: ChainedAuditEvent.sample(.system).hash)
    #expect(AuditHead(text: "\(head)") == head)
    let system = AuditHead(trail: .system, seq: 1, hash: .zero)
    #expect(AuditHead(text: "\(system)") == system && "\(system)".hasPrefix("system:1:0000"))
    for text in [
      "", "system", "system:1", "system:0:\(head.hash)", "system:-1:\(head.hash)", "system:1:\(head.hash)0",
      "system:1:\(head.hash):", "sys:1:\(head.hash)", "system:x:\(head.hash)",
      "system:1:" + String(repeating: "g", count: 64),
    ] { #expect(AuditHead(text: text) == nil, "\(text)") }
  }
}
