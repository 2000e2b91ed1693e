import Portal

struct ForgottenPasswordBody {
  var email: EmailAddress
}

extension ForgottenPasswordBody: JSONBody {
  init(_ fields: inout RequestFields) throws {
    let email = fields.email("email")
    self = try fields.finish(email) { ForgottenPasswordBody(email: $0) }
  }
}

struct PasswordResetBody {
  var token: Secret
  var password: Password
}

extension PasswordResetBody: JSONBody {
  init(_ fields: inout RequestFields) throws {
    let token = fields.token("token")
    let password = fields.password("password")
    self = try fields.finish(token, password) { PasswordResetBody(token: $0, password: $1) }
  }
}

/// A one-time token, and nothing else.
struct TokenBody {
  var token: Secret
}

extension TokenBody: JSONBody {
  init(_ fields: inout RequestFields) throws {
    let token = fields.token("token")
    self = try fields.finish(token) { TokenBody(token: $0) }
  }
}
