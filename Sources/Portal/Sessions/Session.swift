package import Foundation

/// The session of a customer or of a member of staff. The two kinds have separate tables, so that neither can ever be
/// mistaken for the other.
package protocol PersonSession: Sendable {
  /// The table of these sessions, and its column with the person's id.
  static var table: String { get }
  static var personColumn: String { get }
  /// True if these people, and so their sessions, belong to accounts.
  static var haveAccounts: Bool { get }
  /// The table of these people, and its column with the name that the audit trail shows.
  static var personTable: String { get }
  static var nameColumn: String { get }
  /// The kind of such a person in the audit trail.
  static var personKind: String { get }
  static var tokenPrefix: String { get }
  static var logInKind: Attempt.Kind { get }

  var id: UUID { get }
  /// The hash of the session's token. Only the holder of the current token can replace it.
  var tokenHash: SecretHash { get set }
  var personID: UUID { get }
  var email: String { get }
  var expiresAt: Date { get }
  /// Whether its use was not recorded within the last minute before it was read.
  var isUseDue: Bool { get }

  /// The actor to record in the audit trail.
  static func actor(id: UUID, name: String) -> Actor
  func caller(ip: String?) -> Caller
}

/// The session of a customer in one of their accounts.
package struct MemberSession: PersonSession {
  package static let table = "sessions"
  package static let personColumn = "user_id"
  package static let haveAccounts = true
  package static let personTable = "users"
  package static let nameColumn = "email"
  package static let personKind = "user"
  package static let tokenPrefix = "lk_session"
  package static let logInKind = Attempt.Kind.logIn

  package var id: UUID
  package var tokenHash: SecretHash
  package var user: User
  package var account: Account
  package var role: MemberRole
  package var expiresAt: Date
  package var isUseDue: Bool

  package var personID: UUID { user.id }
  package var email: String { user.email }

  package static func actor(id: UUID, name: String) -> Actor { .user(id: id, email: name) }

  package func caller(ip: String?) -> Caller {
    Caller(actor: Self.actor(id: user.id, name: user.email), ip: ip)
  }
}

/// The session of a member of staff.
package struct StaffSession: PersonSession {
  package static let table = "staff_sessions"
  package static let personColumn = "staff_id"
  package static let haveAccounts = false
  package static let personTable = "staff"
  package static let nameColumn = "name"
  package static let personKind = "staff"
  package static let tokenPrefix = "lk_staff"
  package static let logInKind = Attempt.Kind.staffLogIn

  package var id: UUID
  package var tokenHash: SecretHash
  package var member: StaffMember
  package var hasSecondFactor: Bool
  package var expiresAt: Date
  package var isUseDue: Bool

  package var personID: UUID { member.id }
  package var email: String { member.email }

  package static func actor(id: UUID, name: String) -> Actor { .staff(id: id, name: name) }

  package func caller(ip: String?) -> Caller {
    Caller(actor: Self.actor(id: member.id, name: member.name), ip: ip)
  }
}

/// A session with its new token, which can be shown only now.
package struct IssuedSession<Session: Sendable>: Sendable {
  package var session: Session
  package var token: Secret
}

/// Where a login comes from, so that its owner can recognize it.
package struct Origin: Sendable {
  private static let userAgentLengthMax = 256

  package let ip: String?
  /// Truncated if too long, and without control characters.
  package let userAgent: String?

  package init(ip: String? = nil, userAgent: String? = nil) {
    self.ip = ip
    self.userAgent = userAgent.map { text in
      String(
        String.UnicodeScalarView(
          text.unicodeScalars.filter { $0.properties.generalCategory != .control }.prefix(Self.userAgentLengthMax)))
    }
  }
}

/// A session as its owner sees it in a list.
package struct OpenSession: Sendable, Equatable {
  package var id: UUID
  package var createdAt: Date
  package var lastSeenAt: Date
  package var expiresAt: Date
  package var ip: String?
  package var userAgent: String?
}

extension MemberSession {
  /// Throws `.forbidden` for a member whose role does not allow it.
  package func require(_ permission: MemberPermission) throws(PortalError) {
    guard role.permits(permission) else {
      throw .forbidden(reason: "Requires the role \(permission.leastRole.rawValue); yours is \(role.rawValue).")
    }
  }
}

extension InsertAuditEvent {
  static func onMember(
    _ userID: UUID, of accountID: UUID, _ action: AuditEvent.Action, by caller: Caller, detail: AuditDetail
  ) -> InsertAuditEvent {
    onPerson(userID, MemberSession.personKind, in: accountID, action, by: caller, detail: detail)
  }

  /// An event that a person caused for themselves, in an account's trail or, with nil, in the trail outside accounts.
  static func onPerson<Session: PersonSession>(
    of session: Session, in accountID: UUID?, _ action: AuditEvent.Action, ip: String?
  ) -> InsertAuditEvent {
    onPerson(session.personID, Session.personKind, in: accountID, action, by: session.caller(ip: ip))
  }
}
