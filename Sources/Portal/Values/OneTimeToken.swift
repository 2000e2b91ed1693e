/// What is sent by mail to be presented once. Stored as its SHA-256.
package enum OneTimeToken {
  package enum Purpose: String, Sendable, CaseIterable {
    case passwordReset = "password_reset"
    case emailVerification = "email_verification"
    /// Of the address that a user wants to have.
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

    /// From when it is sent. A mail that could not be sent for so long is not sent any more.
    var lifetime: Duration {
      switch self {
      case .passwordReset: .seconds(30 * 60)
      case .emailVerification, .emailChange, .signUp: .seconds(24 * 3_600)
      case .invitation: .seconds(72 * 3_600)
      }
    }

    /// The lifetime as a mail tells of it.
    var lifetimeText: String {
      switch self {
      case .passwordReset: "30 minutes"
      case .emailVerification, .emailChange, .signUp: "24 hours"
      case .invitation: "72 hours"
      }
    }

    /// Below the portal's address, where a page takes the token and sends it to its route.
    var path: String {
      switch self {
      case .passwordReset: "/password/reset"
      case .emailVerification, .emailChange, .signUp: "/email/verify"
      case .invitation: "/invitations/accept"
      }
    }
  }
}
