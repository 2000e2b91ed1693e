package import Foundation
package import Portal

/// The reader's own sessions, password and accounts.
package struct MePage: PortalPage {
  package let title = "You"
  package let section: Frame.Section? = .me
  private let reader: User
  private let sessions: [OpenSession]
  private let current: UUID
  private let accounts: [OwnAccount]
  private let accountID: UUID
  private let form: FormState
  private let note: HTML?
  private let now: Date

  /// `current` is the session of this page, in the account `accountID`.
  package init(
    _ reader: User, sessions: [OpenSession], current: UUID, accounts: [OwnAccount], accountID: UUID, _ form: FormState,
    note: HTML? = nil, at now: Date
  ) {
    (self.reader, self.sessions, self.current, self.accounts) = (reader, sessions, current, accounts)
    (self.accountID, self.form, self.note, self.now) = (accountID, form, note, now)
  }

  package static let passwordChanged: HTML = """
    <div class="note good" role="status"><p><strong>Your password is changed.</strong> All your other sessions have
    ended.</p></div>
    """

  package static let othersEnded: HTML = """
    <div class="note good" role="status"><p><strong>All your other sessions have ended.</strong></p></div>
    """

  package var content: HTML {
    let endOthers: HTML = """
      <form method="post" action="/me/sessions/end-others"><button class="plain">End all other sessions</button></form>
      """
    return """
      \(note)<p>You are signed in as <strong>\(reader.email)</strong>.</p>
      \(when: accounts.count > 1, accountList)
      <h2>Sessions</h2><p>Where you are signed in. End what you do not recognize, and then change your password.</p>
      <table class="cards"><thead><tr><th scope="col">Browser or program</th><th scope="col">Last seen</th>
      <th scope="col">Since</th><th scope="col">Actions</th></tr></thead><tbody>\(each: sessions, row)</tbody></table>
      \(when: sessions.count > 1, endOthers)
      <h2>Password</h2>\(form.summary)<form method="post" action="/me/password">
      \(form.secret("password", "Current password", autocomplete: "current-password"))
      \(form.secret("newPassword", "New password", hint: SignUpPage.passwordHint, autocomplete: "new-password"))
      <p class="actions"><button>Change the password</button></p></form>
      """
  }

  private func row(_ session: OpenSession) -> HTML {
    let isCurrent = session.id == current
    let place: HTML? = session.ip.map { "<br><span class=\"quiet small\">from \($0)</span>" }
    let end: HTML = """
      <form method="post" action="/me/sessions/\(session.id)/end"><button class="plain">End</button></form>
      """
    return """
      <tr><th scope="row">\(session.userAgent ?? "not known")\(place)</th>
      <td data-label="Last seen">\(HTML.briefTime(session.lastSeenAt, at: now))</td>
      <td data-label="Since">\(HTML.time(session.createdAt))</td><td>\(isCurrent ? "this one" : end)</td></tr>

      """
  }

  private var accountList: HTML {
    func row(_ account: OwnAccount) -> HTML {
      let go: HTML = """
        <form method="post" action="/accounts/\(account.id)/switch">
        <button class="plain">Go to this account</button></form>
        """
      return """
        <tr><th scope="row">\(account.name)</th><td data-label="Your role">\(account.role.rawValue)</td>
        <td>\(account.id == accountID ? "you are here" : go)</td></tr>

        """
    }
    return """
      <h2>Accounts</h2><table class="cards"><thead><tr><th scope="col">Account</th><th scope="col">Your role</th>
      <th scope="col">Actions</th></tr></thead><tbody>\(each: accounts, row)</tbody></table>
      """
  }
}
