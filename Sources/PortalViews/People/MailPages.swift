/// A page that says what has happened, and nothing else.
package struct MessagePage: PortalPage {
  package let title: String
  package let content: HTML

  package init(_ title: String, _ content: HTML) { (self.title, self.content) = (title, content) }

  /// After a request for a mail. It says the same whether or not the address is known.
  package static let mailIsOnItsWay = MessagePage(
    "Look into your mail",
    """
    <p>If this address can be used here, a mail with a code is on its way to it.</p>
    <p>Nothing there after some minutes? Look into the folder for unwanted mail, and check the address for typing
    mistakes.</p><p><a href="/login">Back to signing in</a></p>
    """)

  package static let signUpMailIsOnItsWay = MessagePage(
    "Look into your mail",
    """
    <p>A mail is on its way to the address that you gave. Open its link and paste the code to confirm the address; then
    the account is yours.</p><p><a href="/email/verify">I have the code</a></p>
    """)

  package static let emailVerified = MessagePage(
    "Your address is confirmed",
    "<p>Thank you. Sign in to go on.</p><p class=\"actions\"><a class=\"button\" href=\"/login\">Sign in</a></p>")

  package static let passwordReset = MessagePage(
    "Your password is changed",
    """
    <p>All earlier sessions have ended. Sign in with the new password.</p>
    <p class="actions"><a class="button" href="/login">Sign in</a></p>
    """)

  package static let signUpClosed = MessagePage(
    "Sign-up is closed",
    """
    <p>On this portal, the operator creates accounts. Ask them for one, or ask a colleague to invite you to theirs.</p>
    <p><a href="/login">I have an account</a></p>
    """)

  package static let invitationAccepted = MessagePage(
    "Welcome",
    """
    <p>You are a member of the account now. Sign in to see it.</p>
    <p class="actions"><a class="button" href="/login">Sign in</a></p>
    """)
}

/// Asking for a mail with a code to set a new password.
package struct ForgottenPasswordPage: PortalPage {
  package let title = "Set a new password"
  private let form: FormState

  package init(_ form: FormState) { self.form = form }

  package var content: HTML {
    """
    <p>Tell us your address, and we send you a code to set a new password with.</p>
    \(form.summary)<form method="post" action="/password/forgot">
    \(form.line("email", "E-mail address", .email, autocomplete: "username", isRequired: true))
    <p class="actions"><button>Send the code</button></p></form>
    <p><a href="/login">Back to signing in</a></p>
    """
  }
}

/// The pages that links in mails lead to. A link alone changes nothing, because programs that check mail follow links,
/// too: the code is sent with the form.
package struct MailedCodePage: PortalPage {
  package let title: String
  private let path: Link
  private let intro: String
  private let button: String
  private let form: FormState
  private let password: HTML

  package static let invalidCode =
    "This code is mistyped, too old, or was used before. Ask for a new one if you pasted it whole."

  private static let hint = "The line in the mail that begins with lk_."

  package static func resetPassword(_ form: FormState) -> MailedCodePage {
    MailedCodePage(
      title: "Set a new password", path: "/password/reset",
      intro: "Paste the code from the mail, and choose a new password.", button: "Set the password", form: form,
      password: form.secret(
        "password", "New password", hint: SignUpPage.passwordHint, autocomplete: "new-password"))
  }

  package static func verifyEmail(_ form: FormState) -> MailedCodePage {
    MailedCodePage(
      title: "Confirm your address", path: "/email/verify", intro: "Paste the code from the mail.",
      button: "Confirm the address", form: form, password: "")
  }

  package static func acceptInvitation(_ form: FormState) -> MailedCodePage {
    MailedCodePage(
      title: "Accept an invitation", path: "/invitations/accept",
      intro: "Paste the code from the mail, or the one that a colleague gave to you.", button: "Join the account",
      form: form,
      password: form.secret(
        "password", "Password",
        hint: "If you have a password here, that one. If you are new, choose one: " + SignUpPage.passwordHint,
        autocomplete: "current-password"))
  }

  package var content: HTML {
    """
    <p>\(intro)</p>\(form.summary)<form method="post" action="\(path)">
    \(form.code("token", "Code", hint: Self.hint))\(password)
    <p class="actions"><button>\(button)</button></p></form>
    """
  }
}
