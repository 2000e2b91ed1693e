import Foundation
import JSON
import Portal
import PortalHTTP

extension JSONWriter {
  /// `accountID` is set where a person's sessions may be in several accounts.
  mutating func fields(of session: OpenSession, in accountID: UUID? = nil) {
    field("id", session.id)
    if let accountID { field("accountId", accountID) }
    field("createdAt", session.createdAt)
    field("lastSeenAt", session.lastSeenAt)
    field("expiresAt", session.expiresAt)
    field("ip", session.ip)
    field("userAgent", session.userAgent)
  }

  /// The new token of a session.
  mutating func fields(of login: IssuedSession<some PersonSession>) {
    field("token", login.token.reveal())
    field("expiresAt", login.session.expiresAt)
  }

  /// The person who is logged in, the account and the role.
  mutating func fields(of session: MemberSession) {
    object("user") { $0.fields(of: session.user) }
    object("account") { json in
      json.fields(of: session.account)
      json.object("plan") { $0.fields(of: session.account.plan) }
    }
    field("role", session.role.rawValue)
  }

  mutating func fields(of session: StaffSession) {
    object("staff") { $0.fields(of: session.member) }
    field("role", session.member.role.rawValue)
  }

  mutating func fields(of status: SecondFactors.Status) {
    field("enabledAt", status.confirmedAt)
    field("recoveryCodes", status.recoveryCodeCount)
  }

  /// The secret for the authenticator of the person with this address.
  mutating func fields(of factor: TOTP, for email: String) {
    field("secret", factor.reveal())
    field("uri", factor.uri(for: email))
  }

  mutating func field(_ codes: [RecoveryCode]) { field("recoveryCodes", codes.map { $0.reveal() }) }
}
