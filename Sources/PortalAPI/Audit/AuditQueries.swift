import Portal

extension AuditFilter {
  init(_ query: Query) throws(InvalidRequest) {
    self.init(
      action: try query.choice("action", AuditEvent.Action.self), targetID: try query.uuid("target"),
      from: try query.time("from"), to: try query.time("to"))
    if let text = query.text("actor") {
      guard let actor = AuditFilter.ByActor(text) else {
        let kinds = Actor.Kind.allCases.map(\.rawValue).joined(separator: ", ")
        throw InvalidRequest("query.actor", "must be a UUID or one of \(kinds)")
      }
      self.actor = actor
    }
    if let from, let to, from > to {
      throw InvalidRequest("query.from", "must not be after query.to")
    }
  }
}
