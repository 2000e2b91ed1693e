import Foundation
import JSON
package import Portal

extension JSONWriter {
  /// An event of a page.
  mutating func fields(of event: AuditEvent) {
    field("id", event.id)
    field("at", event.at)
    actor(event.actorKind, event.actorID, event.actorName)
    field("action", event.action)
    target(event.targetKind, event.targetID)
    field("reason", event.reason)
    field("ticket", event.ticket)
    field("detail", event.detail)
    field("ip", event.ip)
  }

  /// An event of an export. Its texts, including the time, are exactly the ones that its hash covers.
  package mutating func fields(of event: ChainedAuditEvent) {
    field("accountId", event.trail.accountID)
    field("seq", event.seq)
    happening(of: event)
    field("prevHash", event.prevHash.description)
    field("hash", event.hash.description)
    if !event.redactions.isEmpty {
      objects("redactions", event.redactions) { json, redaction in
        json.field("recordedBy", redaction.recordedBy)
        json.field("hash", redaction.hash.description)
      }
    }
  }

  /// An event of a person's export, without the members of the hash chain, which belong to the account.
  mutating func fields(ofPersonal event: ChainedAuditEvent) {
    field("accountId", event.trail.accountID)
    happening(of: event)
  }

  package mutating func fields(of summary: AuditSummary) {
    field("total", summary.total)
    let counts = summary.entries.map { (name: $0.action, value: JSONValue.number("\($0.count)")) }
    field("byAction", json: JSONWriter.text(of: .object(counts)))
    field("lastActivityAt", summary.lastAt)
  }

  mutating func fields(of head: AuditHead) {
    field("accountId", head.trail.accountID)
    field("seq", head.seq)
    field("hash", head.hash.description)
  }

  /// One line per event.
  package mutating func lines(of events: [ChainedAuditEvent]) {
    for event in events { line { $0.fields(of: event) } }
  }

  private mutating func happening(of event: ChainedAuditEvent) {
    field("id", event.id)
    field("at", event.at)
    actor(event.actorKind, event.actorID, event.actorName)
    field("action", event.action)
    target(event.targetKind, event.targetID)
    field("reason", event.reason)
    field("ticket", event.ticket)
    field("detail", event.detail)
    field("ip", event.ip)
  }

  private mutating func actor(_ kind: String, _ id: UUID?, _ name: String) {
    object("actor") { json in
      json.field("kind", kind)
      json.field("id", id)
      json.field("name", name)
    }
  }

  private mutating func target(_ kind: String, _ id: UUID?) {
    object("target") { json in
      json.field("kind", kind)
      json.field("id", id)
    }
  }
}
