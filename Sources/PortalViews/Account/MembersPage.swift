package import Foundation
package import Portal

/// The people in an account, and those who are invited.
package struct MembersPage: PortalPage {
  package let title = "Members"
  package let section: Frame.Section? = .members
  private let members: [Member]
  private let invitations: [Invitation]
  private let reader: User
  private let mayChange: Bool
  private let form: FormState
  private let next: Link?
  private let note: HTML?
  private let now: Date

  package static let roles = [
    FormState.Option("viewer", "Viewer", hint: "Sees everything and changes nothing."),
    FormState.Option("developer", "Developer", hint: "Also makes, changes, rolls and revokes keys."),
    FormState.Option("admin", "Admin", hint: "Also invites and removes members, and sets rules for keys."),
    FormState.Option("owner", "Owner", hint: "Also deletes the account, and makes owners."),
  ]

  /// `form` has `email` and `role` of an invitation that is being written.
  package init(
    _ members: [Member], _ invitations: [Invitation], reader: User, mayChange: Bool, _ form: FormState, next: Link?,
    note: HTML? = nil, at now: Date
  ) {
    (self.members, self.invitations, self.reader, self.mayChange) = (members, invitations, reader, mayChange)
    (self.form, self.next, self.note, self.now) = (form, next, note, now)
  }

  package static let noRole: HTML = """
    <div class="note bad" role="alert"><p><strong>Choose a role.</strong> Nothing has been changed.</p></div>
    """

  package static func changed(_ member: Member) -> HTML {
    """
    <div class="note good" role="status"><p><strong>\(member.user.email) is \(member.role.rawValue)
    now.</strong></p></div>
    """
  }

  package static func invited(_ invitation: Invitation) -> HTML {
    """
    <div class="note good" role="status"><p><strong>A mail is on its way to \(invitation.email).</strong> The invitation
    is valid until \(HTML.time(invitation.expiresAt)).</p></div>
    """
  }

  package var content: HTML {
    let head: HTML = """
      <thead><tr><th scope="col">Address</th><th scope="col">Role</th><th scope="col">Since</th>
      <th scope="col">Actions</th></tr></thead>
      """
    return """
      \(note)<table class="cards">\(head)<tbody>\(each: members, row)</tbody></table>\(HTML.more(next))
      \(when: !invitations.isEmpty, invited)\(when: mayChange, invite)
      """
  }

  private func row(_ member: Member) -> HTML {
    var role = FormState()
    role.set("role", member.role.rawValue)
    let isReader = member.user.id == reader.id
    let id = "role-\(member.user.id.text)"
    let options = Self.roles.map { FormState.Option($0.value, $0.label) }
    let change: HTML = """
      <form method="post" action="/members/\(member.user.id)/role">\(role.menu("role", "Role", options, id: id))
      <button class="plain">Change</button></form>
      """
    let remove: HTML = "<a href=\"/members/\(member.user.id)/remove\">Remove</a>"
    return """
      <tr><th scope="row">\(member.user.email)\(when: isReader, " <span class=\"quiet\">(you)</span>")</th>
      <td>\(mayChange ? change : "\(member.role.rawValue)")</td>
      <td data-label="Since">\(HTML.time(member.joinedAt))</td>
      <td>\(when: mayChange || isReader, remove)</td></tr>

      """
  }

  private var invited: HTML {
    func row(_ invitation: Invitation) -> HTML {
      let withdraw: HTML = """
        <form method="post" action="/invitations/\(invitation.id)/revoke"><button class="plain">Withdraw</button></form>
        """
      return """
        <tr><th scope="row">\(invitation.email)</th><td data-label="Role">\(invitation.role.rawValue)</td>
        <td data-label="By">\(invitation.inviterName)</td>
        <td data-label="Valid until">\(HTML.time(invitation.expiresAt))</td><td>\(when: mayChange, withdraw)</td></tr>

        """
    }
    return """
      <h2>Invited</h2><table class="cards"><thead><tr><th scope="col">Address</th><th scope="col">Role</th>
      <th scope="col">By</th><th scope="col">Valid until</th><th scope="col">Actions</th></tr></thead>
      <tbody>\(each: invitations, row)</tbody></table>
      """
  }

  private var invite: HTML {
    """
    <h2>Invite somebody</h2>\(form.summary)<form method="post" action="/invitations">
    \(form.line("email", "E-mail address", .email, isRequired: true))\(form.choice("role", "Role", Self.roles))
    <p class="actions"><button>Invite</button></p></form>
    """
  }
}

/// An invitation whose code has to be passed on, because this portal sends no mail.
package struct InvitationPage: PortalPage {
  package let title = "Pass this code on"
  package let section: Frame.Section? = .members
  private let invitation: Invitation
  private let token: Secret

  package init(_ invitation: Invitation, _ token: Secret) { (self.invitation, self.token) = (invitation, token) }

  package var content: HTML {
    """
    <div class="note warn"><p><strong>This code is shown once.</strong> Give it to \(invitation.email) in a way that
    nobody else reads. It is valid until \(HTML.time(invitation.expiresAt)).</p></div>
    <pre class="secret"><code>\(token.reveal())</code></pre>
    <p>They paste it at <code>/invitations/accept</code> on this portal.</p><p><a href="/members">To the members</a></p>
    """
  }
}

/// Asks before a person leaves the account.
package struct RemoveMemberPage: PortalPage {
  package let title: String
  package let section: Frame.Section? = .members
  private let userID: UUID
  private let isReader: Bool

  package init(_ userID: UUID, isReader: Bool) {
    title = isReader ? "Leave the account" : "Remove a member"
    (self.userID, self.isReader) = (userID, isReader)
  }

  package var content: HTML {
    let meaning: HTML =
      isReader
      ? "You will no longer see this account. Keys that you made keep working."
      : "They will no longer see this account, and their sessions in it end. Keys that they made keep working."
    return """
      <p>\(meaning)</p><form method="post" action="/members/\(userID)/remove"><p class="actions">
      <button class="danger">\(isReader ? "Leave" : "Remove")</button> <a href="/members">Cancel</a></p></form>
      """
  }
}
