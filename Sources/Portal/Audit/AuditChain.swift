import Crypto
package import Foundation
import JSON

/// Identifies a chain of events.
package enum AuditTrail: Hashable, Sendable, CustomStringConvertible {
  case account(UUID)
  /// Events that belong to no account: of staff, service tokens and jobs.
  case system

  package init(_ accountID: UUID?) { self = accountID.map { .account($0) } ?? .system }

  /// An account's id, or `system`; nil for anything else.
  package init?(text: String) {
    if text == "system" {
      self = .system
    } else if let id = UUID(uuidString: text) {
      self = .account(id)
    } else {
      return nil
    }
  }

  package var accountID: UUID? {
    if case .account(let id) = self { id } else { nil }
  }

  package var description: String { accountID?.text ?? "system" }
}

/// The SHA-256 of an event, which covers all events before it.
package struct AuditHash: Hashable, Sendable, CustomStringConvertible {
  package static let byteCount = 32
  /// The previous hash of the first event.
  package static let zero = AuditHash(bytes: Array(repeating: 0, count: byteCount))

  let bytes: [UInt8]

  init(bytes: [UInt8]) { self.bytes = bytes }

  /// From 64 hexadecimal digits; nil for anything else.
  package init?(hex: some StringProtocol) {
    let digits = hex.utf8.map { Character(Unicode.Scalar($0)).hexDigitValue }
    guard digits.count == 2 * Self.byteCount else { return nil }
    var bytes: [UInt8] = []
    for index in stride(from: 0, to: digits.count, by: 2) {
      guard let high = digits[index], let low = digits[index + 1] else { return nil }
      bytes.append(UInt8(high << 4 | low))
    }
    self.bytes = bytes
  }

  /// 64 lower-case hexadecimal digits.
  package var description: String {
    bytes.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
  }
}

/// The number and the hash of a chain's last event. A copy that is kept elsewhere shows later whether the chain up to
/// there is unchanged.
package struct AuditHead: Hashable, Sendable, CustomStringConvertible {
  package var trail: AuditTrail
  package var seq: Int
  package var hash: AuditHash

  package init(trail: AuditTrail, seq: Int, hash: AuditHash) {
    self.trail = trail
    self.seq = seq
    self.hash = hash
  }

  /// From ``description``; nil for anything else.
  package init?(text: some StringProtocol) {
    let parts = text.split(separator: ":", omittingEmptySubsequences: false)
    guard parts.count == 3, let trail = AuditTrail(text: String(parts[0])), let seq = Int(parts[1]), seq > 0,
      let hash = AuditHash(hex: parts[2])
    else { return nil }
    self.init(trail: trail, seq: seq, hash: hash)
  }

  /// `ACCOUNT:SEQ:HASH`
  package var description: String { "\(trail):\(seq):\(hash)" }
}

/// An event with all of its columns, none of them rounded.
package struct ChainedAuditEvent: Sendable, Equatable {
  private static let microsecondsPerDay = 86_400_000_000

  package var trail: AuditTrail
  package var seq: Int
  package var id: UUID
  /// Since 1970-01-01 00:00:00 UTC.
  package var atMicroseconds: Int
  package var actorKind: String
  package var actorID: UUID?
  package var actorName: String
  package var action: String
  package var targetKind: String
  package var targetID: UUID?
  package var reason: String?
  package var ticket: String?
  package var detail: String?
  package var ip: String?
  package var prevHash: AuditHash
  /// The stored hash; see ``computedHash``.
  package var hash: AuditHash
  /// Oldest first.
  package var redactions: [AuditRedaction] = []

  /// `2026-01-31T12:00:00.123456Z`
  package var at: String {
    var (number, rest) = atMicroseconds.quotientAndRemainder(dividingBy: Self.microsecondsPerDay)
    if rest < 0 { (number, rest) = (number - 1, rest + Self.microsecondsPerDay) }
    let (year, month, day) = Day(number: number).civil
    let (hour, minute, second) = (rest / 3_600_000_000, rest / 60_000_000 % 60, rest / 1_000_000 % 60)
    return "\(pad(year, 4))-\(pad(month, 2))-\(pad(day, 2))T\(pad(hour, 2)):\(pad(minute, 2)):\(pad(second, 2))."
      + "\(pad(rest % 1_000_000, 6))Z"
  }

  private func pad(_ number: Int, _ width: Int) -> String {
    let digits = "\(number)"
    return String(repeating: "0", count: max(0, width - digits.count)) + digits
  }

  /// The bytes that are hashed: a label, then the fields in a fixed order, each preceded by its length. They can be
  /// decoded in only one way, so no two events have the same bytes. An event with a detail has another label and one
  /// field more. docs/AUDIT.md specifies the encoding; `audit_event_hash` in the database computes the same.
  var canonicalBytes: [UInt8] {
    var bytes = Array((detail == nil ? "latchkey-audit-1" : "latchkey-audit-2").utf8)
    var fields = [
      trail.accountID?.text, "\(seq)", id.text, at, actorKind, actorID?.text, actorName, action, targetKind,
      targetID?.text, reason, ticket,
    ]
    if let detail { fields.append(detail) }
    fields += [ip, prevHash.description]
    for field in fields { Self.append(field, to: &bytes) }
    return bytes
  }

  fileprivate static func append(_ field: String?, to bytes: inout [UInt8]) {
    let length = field.map { UInt32($0.utf8.count) } ?? .max
    withUnsafeBytes(of: length.bigEndian) { bytes.append(contentsOf: $0) }
    if let field { bytes.append(contentsOf: field.utf8) }
  }

  /// The hash of the present fields. It equals ``hash``, or the hash of the last redaction if there is one.
  var computedHash: AuditHash { AuditHash(bytes: Array(SHA256.hash(data: canonicalBytes))) }
}

/// The removal of a person from an event. The event keeps its hash.
package struct AuditRedaction: Sendable, Equatable {
  /// The `seq` of the event of the same chain that records it.
  package var recordedBy: Int
  /// The hash of the event's fields after the redaction.
  package var hash: AuditHash
}

/// The digest of the events that one event records as redacted, in the order of their numbers: of each its number, its
/// hash, and the hash of its fields after the redaction. `redact_audit_events` in the database computes the same.
struct AuditRedactionDigest {
  private(set) var eventCount = 0
  private(set) var firstSeq = 0
  private var hasher: SHA256

  init() {
    hasher = SHA256()
    hasher.update(data: Array("latchkey-redaction-1".utf8))
  }

  mutating func add(_ event: ChainedAuditEvent, leaving hash: AuditHash) {
    if eventCount == 0 { firstSeq = event.seq }
    eventCount += 1
    var bytes: [UInt8] = []
    for field in ["\(event.seq)", event.hash.description, hash.description] {
      ChainedAuditEvent.append(field, to: &bytes)
    }
    hasher.update(data: bytes)
  }

  /// The detail of the event that records the redactions.
  var summary: String {
    Self.summary(eventCount, AuditHash(bytes: Array(hasher.finalize())).description)
  }

  static func summary(_ eventCount: Int, _ digest: String) -> String { "\(eventCount) events, SHA-256 \(digest)" }

  /// Whether `event` has this summary in its detail, or in its reason if it has no detail: versions without details
  /// wrote it there.
  func matches(_ event: ChainedAuditEvent) -> Bool { event.detail ?? event.reason == summary }
}
