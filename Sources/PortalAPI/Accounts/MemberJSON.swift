import JSON
import Portal

extension JSONWriter {
  mutating func fields(of member: Member) {
    field("userId", member.user.id)
    field("email", member.user.email)
    field("role", member.role.rawValue)
    field("joinedAt", member.joinedAt)
  }

  mutating func fields(of invitation: Invitation) {
    field("id", invitation.id)
    field("email", invitation.email)
    field("role", invitation.role.rawValue)
    field("invitedBy", invitation.inviterName)
    field("createdAt", invitation.createdAt)
    field("expiresAt", invitation.expiresAt)
  }

  /// An invitation with its token, which is nil if it is sent by mail.
  mutating func fields(of invitation: Invitation, _ token: Secret?) {
    fields(of: invitation)
    field("token", token?.reveal())
  }

  /// A person's membership in an account.
  mutating func fields(of user: User, in account: Account, as role: MemberRole) {
    object("user") { $0.fields(of: user) }
    object("account") { $0.fields(of: account) }
    field("role", role.rawValue)
  }
}
