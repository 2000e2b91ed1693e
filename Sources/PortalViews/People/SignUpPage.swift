import Portal

package struct SignUpPage: PortalPage {
  package let title = "Create an account"
  private let form: FormState

  /// `form` has `email` and `accountName`.
  package init(_ form: FormState) { self.form = form }

  package var content: HTML {
    let name = form.line(
      "accountName", "Name of the account", hint: "Your company or team, as others will see it.",
      autocomplete: "organization", isRequired: true)
    return """
      \(form.summary)<form method="post" action="/signup">
      \(name)
      \(form.line("email", "E-mail address", .email, autocomplete: "username", isRequired: true))
      \(form.secret("password", "Password", hint: SignUpPage.passwordHint, autocomplete: "new-password"))
      <p class="actions"><button>Create the account</button></p></form>
      <p><a href="/login">I have an account</a></p>
      """
  }

  static let passwordHint = "At least \(Password.lengthMin) characters. A few unusual words are easiest to remember."
}
