import JSON
import Portal

struct SignUpBody {
  var email: EmailAddress
  var password: Password
  var accountName: String
}

extension SignUpBody: JSONBody {
  init(_ fields: inout RequestFields) throws {
    let email = fields.email("email")
    let password = fields.password("password")
    let name = fields.typedLine("accountName", 1...Account.nameLengthMax)
    self = try fields.finish(email, password, name) { SignUpBody(email: $0, password: $1, accountName: $2) }
  }
}

/// The log-in of a customer or a member of staff.
///
/// Any text is accepted as a password: the response must not reveal whether it would be allowed as a new one.
struct LogInBody {
  var email: String
  var password: Password
  /// The code of the second factor.
  var code: String?
}

extension LogInBody: JSONBody {
  init(_ fields: inout RequestFields) throws {
    let email = fields.string("email", 1...EmailAddress.lengthMax)
    // No account can have such an address, and the user cannot see the mistake in the text that they pasted.
    if let email, EmailAddress.hasInvisible(email) {
      fields.refuse("email", EmailAddress.Refusal.invisible.message)
    }
    let password = fields.presentedPassword("password")
    let code = fields.optionalString("code", 1...codeLengthMax)
    self = try fields.finish(email, password) { LogInBody(email: $0, password: $1, code: code) }
  }
}

/// The current password, for routes where a session alone is not enough.
struct PasswordBody {
  var password: Password
}

extension PasswordBody: JSONBody {
  init(_ fields: inout RequestFields) throws {
    let password = fields.presentedPassword("password")
    self = try fields.finish(password) { PasswordBody(password: $0) }
  }
}

struct NewEmailBody {
  var password: Password
  var email: EmailAddress
}

extension NewEmailBody: JSONBody {
  init(_ fields: inout RequestFields) throws {
    let password = fields.presentedPassword("password")
    let email = fields.email("email")
    self = try fields.finish(password, email) { NewEmailBody(password: $0, email: $1) }
  }
}

struct NewPasswordBody {
  var password: Password
  var newPassword: Password
}

extension NewPasswordBody: JSONBody {
  init(_ fields: inout RequestFields) throws {
    let password = fields.presentedPassword("password")
    let new = fields.password("newPassword")
    if let new, let password, new.reveal().hasSameBytes(as: password.reveal()) {
      fields.refuse("newPassword", "must differ from the current password")
    }
    self = try fields.finish(password, new) { NewPasswordBody(password: $0, newPassword: $1) }
  }
}

/// A code of the second factor.
struct CodeBody {
  var code: String
}

extension CodeBody: JSONBody {
  init(_ fields: inout RequestFields) throws {
    let code = fields.code()
    self = try fields.finish(code) { CodeBody(code: $0) }
  }
}

struct PasswordAndCodeBody {
  var password: Password
  var code: String
}

extension PasswordAndCodeBody: JSONBody {
  init(_ fields: inout RequestFields) throws {
    let password = fields.presentedPassword("password")
    let code = fields.code()
    self = try fields.finish(password, code) { PasswordAndCodeBody(password: $0, code: $1) }
  }
}

extension RequestFields {
  fileprivate mutating func code() -> String? { string("code", 1...codeLengthMax) }
}

/// The maximum length of a code or a recovery code in characters, including separators between its groups.
private let codeLengthMax = 40
