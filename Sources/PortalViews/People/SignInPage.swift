/// Signing in, with a password and, where the person has one, the code of a second factor.
package struct SignInPage: PortalPage {
  package let title = "Sign in"
  private let form: FormState
  private let needsCode: Bool
  private let isSignUpOpen: Bool
  private let note: HTML?

  /// `form` has `email` and `next`. With `needsCode`, the password was right and a code is required as well; the
  /// password has to be typed again, because no page has it.
  package init(_ form: FormState, needsCode: Bool = false, isSignUpOpen: Bool, note: HTML? = nil) {
    (self.form, self.needsCode, self.isSignUpOpen, self.note) = (form, needsCode, isSignUpOpen, note)
  }

  /// For a reader who asked for another page.
  package static let first: HTML =
    "<div class=\"note\"><p>Sign in first. Then you get to the page that you asked for.</p></div>"

  package var content: HTML {
    let code = form.code(
      "code", "Code", hint: "The six digits of your authenticator, or a recovery code.",
      autocomplete: "one-time-code", isRequired: needsCode)
    let step: HTML = """
      <div class="note"><p><strong>One more step.</strong> Your account has a second factor. Type your password again,
      and the code.</p></div>
      """
    let optional: HTML = "<details><summary>I have a second factor</summary>\(code)</details>"
    return """
      \(note)\(when: needsCode, step)\(form.summary)
      <form method="post" action="/login">
      \(form.line("email", "E-mail address", .email, autocomplete: "username", isRequired: true))
      \(form.secret("password", "Password", autocomplete: "current-password"))
      \(needsCode ? code : optional)\(form.hidden("next"))
      <p class="actions"><button>Sign in</button></p></form>
      <p><a href="/password/forgot">Forgotten your password?</a></p>
      \(when: isSignUpOpen, "<p><a href=\"/signup\">Create an account</a></p>")
      """
  }
}
