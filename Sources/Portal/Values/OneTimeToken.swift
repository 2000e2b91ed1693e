/// A token that is sent by mail and can be used once. Stored as its SHA-256.
package enum OneTimeToken {
  package enum Purpose: String, Sendable, CaseIterable {
    case passwordReset = "password_reset"
    case emailVerification = "email_verification"
    /// Confirms the new address that a user has asked for.
    case emailChange = "email_change"
    case signUp = "sign_up"
    case invitation

    package var prefix: String {
      switch self {
      case .passwordReset: "lk_reset"
      case .emailVerification: "lk_verify"
      case .emailChange: "lk_email"
      case .signUp: "lk_signup"
      case .invitation: "lk_invite"
      }
    }

    /// Counted from when the token is sent. A mail that could not be sent within this time is given up.
    var lifetime: Duration {
      switch self {
      case .passwordReset: .seconds(30 * 60)
      case .emailVerification, .emailChange, .signUp: .seconds(24 * 3_600)
      case .invitation: .seconds(72 * 3_600)
      }
    }

    /// The lifetime, in the words of a mail.
    var lifetimeText: String {
      switch self {
      case .passwordReset: "30 minutes"
      case .emailVerification, .emailChange, .signUp: "24 hours"
      case .invitation: "72 hours"
      }
    }

    /// The path below the portal's address of the page that takes the token and sends it to its route.
    var path: String {
      switch self {
      case .passwordReset: "/password/reset"
      case .emailVerification, .emailChange, .signUp: "/email/verify"
      case .invitation: "/invitations/accept"
      }
    }
  }
}
