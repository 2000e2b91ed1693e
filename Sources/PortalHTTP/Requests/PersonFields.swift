import Portal

/// A person's credentials and addresses. All of these are required.
extension RequestFields {
  /// A password to compare with the stored one, whatever its length.
  package mutating func presentedPassword(_ name: String) -> Password? {
    string(name, 1...Password.typedLengthMax).map { Password(presented: $0) }
  }

  /// A new password.
  package mutating func password(_ name: String) -> Password? {
    guard let text = string(name, 1...Password.typedLengthMax) else { return nil }
    do throws(Password.Refusal) { return try Password(new: text) } catch {
      refuse(name, error.message)
      return nil
    }
  }

  package mutating func email(_ name: String) -> EmailAddress? {
    guard let text = string(name, 1...EmailAddress.lengthMax) else { return nil }
    do throws(EmailAddress.Refusal) { return try EmailAddress(typed: text) } catch {
      refuse(name, error.message)
      return nil
    }
  }

  /// A one-time token.
  package mutating func token(_ name: String) -> Secret? {
    string(name, 1...Secret.lengthMax).map { Secret(presented: $0) }
  }
}
