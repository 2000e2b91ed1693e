import Portal

struct InvitationBody {
  var email: EmailAddress
  var role: MemberRole
}

extension InvitationBody: JSONBody {
  init(_ fields: inout RequestFields) throws {
    let email = fields.email("email")
    let role: MemberRole? = fields.choice("role")
    self = try fields.finish(email, role) { InvitationBody(email: $0, role: $1) }
  }
}

struct AcceptanceBody {
  var token: Secret
  /// The person's current password, or the password of a new user.
  var password: Password
}

extension AcceptanceBody: JSONBody {
  init(_ fields: inout RequestFields) throws {
    let token = fields.token("token")
    let password = fields.presentedPassword("password")
    self = try fields.finish(token, password) { AcceptanceBody(token: $0, password: $1) }
  }
}

struct RoleBody {
  var role: MemberRole
}

extension RoleBody: JSONBody {
  static var sizeMax: Int { 4 << 10 }

  init(_ fields: inout RequestFields) throws {
    let role: MemberRole? = fields.choice("role")
    self = try fields.finish(role) { RoleBody(role: $0) }
  }
}
