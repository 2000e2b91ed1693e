package import Foundation

/// The actor of an audit event.
package enum Actor: Sendable, Equatable {
  package enum Kind: String, Sendable, CaseIterable {
    case user, staff, command, job, token, key
  }

  case user(id: UUID, email: String)
  case staff(id: UUID, name: String)
  /// A person at the server's command line, by the name of the operating system's user.
  case command(name: String)
  /// A background job.
  case job(name: String)
  /// A service token that works on the account's keys.
  case token(id: UUID, name: String)
  /// The holder of an API key, identified by the key.
  case key(id: UUID, name: String)

  var kind: Kind {
    switch self {
    case .user: .user
    case .staff: .staff
    case .command: .command
    case .job: .job
    case .token: .token
    case .key: .key
    }
  }

  /// Whether the actor is a member of the account, or acts for its members.
  var isCustomer: Bool {
    switch self {
    case .user, .token: true
    case .staff, .command, .job, .key: false
    }
  }

  var id: UUID? {
    switch self {
    case .user(let id, _), .staff(let id, _), .token(let id, _), .key(let id, _): id
    case .command, .job: nil
    }
  }

  var name: String {
    switch self {
    case .user(_, let email): email
    case .staff(_, let name), .command(let name), .job(let name), .token(_, let name), .key(_, let name): name
    }
  }
}

/// The actor of a request and the client's address, which are recorded with every change.
package struct Caller: Sendable, Equatable {
  package var actor: Actor
  /// The client's address, if there is one.
  package var ip: String?
  /// The only environment whose keys the caller may see; nil: all.
  package var environment: KeyEnvironment?
  /// The only apis whose keys the caller may see, besides the keys for all apis; nil: all.
  package var apiIDs: [UUID]?
  /// The person that a backend acts for, in its own words. Recorded in the detail of its events.
  package var onBehalfOf: String?

  package static let onBehalfOfLengthMax = 200

  package init(
    actor: Actor, ip: String? = nil, environment: KeyEnvironment? = nil, apiIDs: [UUID]? = nil,
    onBehalfOf: String? = nil
  ) {
    self.actor = actor
    self.ip = ip
    self.environment = environment
    self.apiIDs = apiIDs
    self.onBehalfOf = onBehalfOf
  }
}

/// The reason that a person states for an action, and the ticket that it belongs to.
package struct SupportReason: Sendable, Equatable {
  package static let textLengthMin = 3
  package static let textLengthMax = 500
  package static let ticketLengthMax = 100

  package var text: String
  package var ticket: String?

  package init(text: String, ticket: String? = nil) {
    self.text = text
    self.ticket = ticket
  }
}

/// The program's description of a change, such as the address of a removed member, which identifies them after the
/// target is gone. The reason that a person states is a ``SupportReason``.
package struct AuditDetail: Sendable, Equatable {
  /// In code points. The parts of a detail (addresses, names, roles) are bounded, so that only a mistake reaches this.
  package static let lengthMax = 500

  package let text: String

  /// Cuts off what exceeds ``lengthMax``: a change must not fail because its description is too long.
  package init(_ text: String) {
    self.text = String(String.UnicodeScalarView(text.unicodeScalars.prefix(Self.lengthMax)))
  }

  /// The detail of an event by this caller: the description of the change, then the person that a backend acts for.
  init?(_ detail: AuditDetail?, by caller: Caller) {
    let parts = [detail?.text, caller.onBehalfOf.map { "on behalf of \($0)" }].compactMap(\.self)
    guard !parts.isEmpty else { return nil }
    self.init(parts.joined(separator: "; "))
  }
}

/// An event of an audit trail, as pages have it.
package struct AuditEvent: Sendable, Equatable {
  package enum Action: String, Sendable, CaseIterable {
    case accountCreated = "account.created"
    case accountSuspended = "account.suspended"
    case accountResumed = "account.resumed"
    case accountLimitChanged = "account.limit_changed"
    case accountPlanChanged = "account.plan_changed"
    case accountPolicyChanged = "account.policy_changed"
    case keyCreated = "key.created"
    case keyRevoked = "key.revoked"
    case keyRolled = "key.rolled"
    case memberRoleChanged = "member.role_changed"
    case memberRemoved = "member.removed"
    case memberLeft = "member.left"
    case memberInvited = "member.invited"
    case memberJoined = "member.joined"
    case invitationRevoked = "invitation.revoked"
    case sessionOpened = "session.opened"
    case sessionClosed = "session.closed"
    case staffCreated = "staff.created"
    case staffRoleChanged = "staff.role_changed"
    case staffDisabled = "staff.disabled"
    case staffEnabled = "staff.enabled"
    case staffRemoved = "staff.removed"
    case staffSecondFactorReset = "staff.second_factor_reset"
    case tokenCreated = "token.created"
    case tokenRevoked = "token.revoked"
    case tokenRolled = "token.rolled"
    case usageDeleted = "usage.deleted"
    case analyticsGranted = "analytics.granted"
    case portalGranted = "portal.granted"
    case planSet = "plan.set"
    case userPasswordReset = "user.password_reset"
    case userEmailVerified = "user.email_verified"
    case keyUpdated = "key.updated"
    case keyDisabled = "key.disabled"
    case keyEnabled = "key.enabled"
    case accountDeleted = "account.deleted"
    case passwordChanged = "user.password_changed"
    case emailChanged = "user.email_changed"
    case secondFactorEnabled = "user.second_factor_enabled"
    case secondFactorDisabled = "user.second_factor_disabled"
    case recoveryCodeUsed = "user.recovery_code_used"
    case recoveryCodesRenewed = "user.recovery_codes_renewed"
    case revocationRequested = "revocation.requested"
    case revocationConfirmed = "revocation.confirmed"
    case revocationWithdrawn = "revocation.withdrawn"
    case keyRolesChanged = "key.roles_changed"
    case keyPermissionsChanged = "key.permissions_changed"
    case epochBegun = "epoch.begun"
    case apiCreated = "api.created"
    case apiUpdated = "api.updated"
    case apiDeleted = "api.deleted"
    case permissionCreated = "permission.created"
    case permissionUpdated = "permission.updated"
    case permissionDeleted = "permission.deleted"
    case roleCreated = "role.created"
    case roleUpdated = "role.updated"
    case roleDeleted = "role.deleted"
    case userErased = "user.erased"
    /// A person was removed from earlier events of the trail. The detail identifies these events.
    case auditRedacted = "audit.redacted"
    case accountUpdated = "account.updated"
    case limitNamespaceCreated = "limit_namespace.created"
    case limitNamespaceDeleted = "limit_namespace.deleted"
    case limitOverrideSet = "limit_override.set"
    case limitOverrideDeleted = "limit_override.deleted"
    case keyCreditsChanged = "key.credits_changed"
    case accountCreditsChanged = "account.credits_changed"
    /// What a silent instance had set aside was taken back. It may have been spent.
    case creditsForgiven = "credits.forgiven"
    case keyResourcesChanged = "key.resources_changed"
    /// The key moved to another account, or from it. In both trails.
    case keyMoved = "key.moved"
    case keysImported = "keys.imported"
    case keysExported = "keys.exported"
  }

  package var id: UUID
  package var at: Date
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
}
