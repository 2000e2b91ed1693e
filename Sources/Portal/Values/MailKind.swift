/// The kinds of mail.
package enum MailKind: String, Sendable, CaseIterable {
  case passwordReset = "password_reset"
  case emailVerification = "email_verification"
  /// To the new address that a user has asked for.
  case emailChange = "email_change"
  /// Somebody asked for an account with this address, which may already have one.
  case signUp = "sign_up"
  /// Invites a person to an account; `subjectID` is the invitation's.
  case invitation
  case passwordChanged = "password_changed"
  /// To the former address.
  case emailChanged = "email_changed"
  case keyCreated = "key_created"
  case keyRevoked = "key_revoked"
  /// All keys of the account.
  case keysRevoked = "keys_revoked"
  case keyExpiring = "key_expiring"
  case accountSuspended = "account_suspended"
  case accountDeleted = "account_deleted"
  case accountResumed = "account_resumed"

  /// The purpose of the token in such a mail; nil if it has none.
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
