import JSON
import Portal
import PortalHTTP

struct SignUpBody {
  package var email: EmailAddress
  package var password: Password
  package var accountName: String
}

extension SignUpBody: JSONBody {
  package init(_ fields: inout RequestFields) throws {
    let email = fields.email("email")
    let password = fields.password("password")
    let name = fields.typedLine("accountName", 1...Account.nameLengthMax)
    self = try fields.finish(email, password, name) { SignUpBody(email: $0, password: $1, accountName: $2) }
  }
}

/// Of a customer, and of staff.
///
/// Any text is taken for a password here: whether it would be allowed as a new one is nobody's business.
struct LogInBody {
  package var email: String
  package var password: Password
  /// Of the second factor.
  package var code: String?
}

extension LogInBody: JSONBody {
  package init(_ fields: inout RequestFields) throws {
    let email = fields.string("email", 1...EmailAddress.lengthMax)
    // Nobody can have it, and whoever pasted it would look for a mistake that cannot be seen.
    if let email, EmailAddress.hasInvisible(email) {
      fields.refuse("email", EmailAddress.Refusal.invisible.message)
    }
    let password = fields.presentedPassword("password")
    let code = fields.optionalString("code", 1...codeLengthMax)
    self = try fields.finish(email, password) { LogInBody(email: $0, password: $1, code: code) }
  }
}

/// The present password, where a session alone is not enough.
struct PasswordBody {
  package var password: Password
}

extension PasswordBody: JSONBody {
  package init(_ fields: inout RequestFields) throws {
    let password = fields.presentedPassword("password")
    self = try fields.finish(password) { PasswordBody(password: $0) }
  }
}

struct NewEmailBody {
  package var password: Password
  package var email: EmailAddress
}

extension NewEmailBody: JSONBody {
  package init(_ fields: inout RequestFields) throws {
    let password = fields.presentedPassword("password")
    let email = fields.email("email")
    self = try fields.finish(password, email) { NewEmailBody(password: $0, email: $1) }
  }
}

struct NewPasswordBody {
  package var password: Password
  package var newPassword: Password
}

extension NewPasswordBody: JSONBody {
  package init(_ fields: inout RequestFields) throws {
    let password = fields.presentedPassword("password")
    let new = fields.password("newPassword")
    if let new, let password, new.reveal().hasSameBytes(as: password.reveal()) {
      fields.refuse("newPassword", "must be another one")
    }
    self = try fields.finish(password, new) { NewPasswordBody(password: $0, newPassword: $1) }
  }
}

/// A code of the second factor.
struct CodeBody {
  package var code: String
}

extension CodeBody: JSONBody {
  package init(_ fields: inout RequestFields) throws {
    let code = fields.code()
    self = try fields.finish(code) { CodeBody(code: $0) }
  }
}

struct PasswordAndCodeBody {
  package var password: Password
  package var code: String
}

extension PasswordAndCodeBody: JSONBody {
  package init(_ fields: inout RequestFields) throws {
    let password = fields.presentedPassword("password")
    let code = fields.code()
    self = try fields.finish(password, code) { PasswordAndCodeBody(password: $0, code: $1) }
  }
}

extension RequestFields {
  fileprivate mutating func code() -> String? { string("code", 1...codeLengthMax) }
}

/// Characters of a code or a recovery code, with what people put between its groups.
private let codeLengthMax = 40
