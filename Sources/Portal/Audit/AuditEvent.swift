package import Foundation

/// Who did something to a tenant.
package enum Actor: Sendable, Equatable {
  case user(id: UUID, email: String)
  case staff(id: UUID, name: String)
  /// Somebody at the server's command line.
  case command(name: String)

  var kind: String {
    switch self {
    case .user: "user"
    case .staff: "staff"
    case .command: "command"
    }
  }

  var id: UUID? {
    switch self {
    case .user(let id, _), .staff(let id, _): id
    case .command: nil
    }
  }

  var name: String {
    switch self {
    case .user(_, let email): email
    case .staff(_, let name), .command(let name): name
    }
  }
}

/// Who asks, and from where: goes into the audit trail with every change.
package struct Caller: Sendable, Equatable {
  package var actor: Actor
  /// The client's address, where there is one.
  package var ip: String?

  package init(actor: Actor, ip: String? = nil) {
    self.actor = actor
    self.ip = ip
  }
}

/// Why a member of staff acts.
package struct SupportReason: Sendable, Equatable {
  package static let textLengthMin = 3
  package static let textLengthMax = 500

  package var text: String
  package var ticket: String?

  package init(text: String, ticket: String? = nil) {
    self.text = text
    self.ticket = ticket
  }
}

/// One entry of an account's audit trail.
package struct AuditEvent: Sendable, Equatable {
  package enum Action: String, Sendable {
    case accountCreated = "account.created"
    case accountSuspended = "account.suspended"
    case accountResumed = "account.resumed"
    case accountLimitChanged = "account.limit_changed"
    case keyCreated = "key.created"
    case keyRevoked = "key.revoked"
    case keyRolled = "key.rolled"
    case memberRoleChanged = "member.role_changed"
    case memberRemoved = "member.removed"
    case memberLeft = "member.left"
  }

  package var id: UUID
  package var at: Date
  package var actorKind: String
  package var actorID: UUID?
  package var actorName: String
  package var action: String
  package var targetKind: String
  package var targetID: UUID
  package var reason: String?
  package var ticket: String?
  package var ip: String?
}
