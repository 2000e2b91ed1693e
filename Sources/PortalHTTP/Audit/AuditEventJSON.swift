package import Portal

extension JSONWriter {
  /// An event of a page.
  mutating func fields(of event: AuditEvent) {
    field("id", event.id)
    field("at", event.at)
    object("actor") { json in
      json.field("kind", event.actorKind)
      json.field("id", event.actorID)
      json.field("name", event.actorName)
    }
    field("action", event.action)
    object("target") { json in
      json.field("kind", event.targetKind)
      json.field("id", event.targetID)
    }
    field("reason", event.reason)
    field("ticket", event.ticket)
    field("ip", event.ip)
  }

  /// An event as it is exported: its texts, the time among them, are those that its hash is of.
  package mutating func fields(of event: ChainedAuditEvent) {
    field("accountId", event.trail.accountID)
    field("seq", event.seq)
    field("id", event.id)
    field("at", event.at)
    object("actor") { json in
      json.field("kind", event.actorKind)
      json.field("id", event.actorID)
      json.field("name", event.actorName)
    }
    field("action", event.action)
    object("target") { json in
      json.field("kind", event.targetKind)
      json.field("id", event.targetID)
    }
    field("reason", event.reason)
    field("ticket", event.ticket)
    field("ip", event.ip)
    field("prevHash", event.prevHash.description)
    field("hash", event.hash.description)
    if !event.redactions.isEmpty {
      array("redactions", event.redactions) { json, redaction in
        json.object { json in
          json.field("toldBy", redaction.teller)
          json.field("hash", redaction.hash.description)
        }
      }
    }
  }

  /// One line for each event.
  package mutating func lines(of events: [ChainedAuditEvent]) {
    for event in events { line { $0.fields(of: event) } }
  }
}
