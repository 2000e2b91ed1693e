/// The kinds of mail.
package enum MailKind: String, Sendable, CaseIterable {
  case passwordReset = "password_reset"
  case emailVerification = "email_verification"
  /// To the address that a user wants to have.
  case emailChange = "email_change"
  /// Somebody asked for an account with this address, which may have one already.
  case signUp = "sign_up"
  /// Of a person into an account; `subjectID` is the invitation's.
  case invitation
  case passwordChanged = "password_changed"
  /// To the address that was.
  case emailChanged = "email_changed"
  case keyCreated = "key_created"
  case keyRevoked = "key_revoked"
  /// All that the account had.
  case keysRevoked = "keys_revoked"
  case keyExpiring = "key_expiring"
  case accountSuspended = "account_suspended"
  case accountDeleted = "account_deleted"
  case accountResumed = "account_resumed"

  /// What the token in such a mail is for; nil where it has none.
  var purpose: OneTimeToken.Purpose? {
    switch self {
    case .passwordReset: .passwordReset
    case .emailVerification: .emailVerification
    case .emailChange: .emailChange
    case .signUp: .signUp
    case .invitation: .invitation
    case .passwordChanged, .emailChanged, .keyCreated, .keyRevoked, .keysRevoked, .keyExpiring, .accountSuspended,
      .accountResumed, .accountDeleted:
      nil
    }
  }
}
