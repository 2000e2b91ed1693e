package import Foundation
import JSON

/// Selects the events of a trail that match all of the given conditions.
package struct AuditFilter: Sendable, Equatable {
  package enum ByActor: Sendable, Equatable {
    case id(UUID)
    case kind(Actor.Kind)
  }

  package var actor: ByActor?
  package var action: AuditEvent.Action?
  package var targetID: UUID?
  /// The first moment that is included.
  package var from: Date?
  /// The first moment after `from` that is no longer included.
  package var to: Date?

  package init(
    actor: ByActor? = nil, action: AuditEvent.Action? = nil, targetID: UUID? = nil, from: Date? = nil, to: Date? = nil
  ) {
    self.actor = actor
    self.action = action
    self.targetID = targetID
    self.from = from
    self.to = to
  }

  var actorKind: Actor.Kind? {
    if case .kind(let kind) = actor { kind } else { nil }
  }

  var actorID: UUID? {
    if case .id(let id) = actor { id } else { nil }
  }
}

extension AuditFilter.ByActor {
  /// An id or a kind; nil for anything else.
  package init?(_ text: String) {
    if let id = UUID(uuidString: text) {
      self = .id(id)
    } else if let kind = Actor.Kind(named: text) {
      self = .kind(kind)
    } else {
      return nil
    }
  }
}
