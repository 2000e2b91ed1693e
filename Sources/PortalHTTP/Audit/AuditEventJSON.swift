import Foundation
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

  /// An event as it is exported: its texts, the time among them, are those that its hash is of.
  package mutating func fields(of event: ChainedAuditEvent) {
    field("accountId", event.trail.accountID)
    field("seq", event.seq)
    happening(of: event)
    field("prevHash", event.prevHash.description)
    field("hash", event.hash.description)
    if !event.redactions.isEmpty {
      objects("redactions", event.redactions) { json, redaction in
        json.field("toldBy", redaction.teller)
        json.field("hash", redaction.hash.description)
      }
    }
  }

  /// An event of a person's: without what chains it, which is the account's.
  mutating func fields(ofPersonal event: ChainedAuditEvent) {
    field("accountId", event.trail.accountID)
    happening(of: event)
  }

  /// One line for each event.
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
