import Foundation
import HTTPTypes
import Hummingbird
import Portal
import PortalHTTP
import PortalViews

/// `/members` and `/invitations`: the people in the account.
struct MemberPages {
  let members: Members
  let invitations: Invitations
  let clock: DatabaseClock
  let cookie: SessionCookie

  func addRoutes(to routes: PublicRoutes) {
    routes.get("invitations/accept", .anybody, query: nil) { _, _ in
      Response(MailedCodePage.acceptInvitation(FormState()))
    }
    routes.post("invitations/accept", .anybody, use: accept)
  }

  func addRoutes(to routes: MemberRoutes) {
    routes.get("members", .readMembers, query: nil) { try await page($0, $1, Self.emptyForm) }
    routes.post("members/{id}/role", .changeMembers, use: setRole)
    // A member may leave whatever their role is; the verb checks who removes whom.
    routes.get("members/{id}/remove", .useSession, query: nil, use: askRemove)
    routes.post("members/{id}/remove", .useSession, use: remove)
    routes.post("invitations", .changeMembers, use: invite)
    routes.post("invitations/{id}/revoke", .changeMembers, use: revoke)
  }

  private static let emptyForm = FormState(["role": MemberRole.developer.rawValue])

  private func page(
    _ request: Request, _ context: MemberContext, _ form: FormState, status: HTTPResponse.Status = .ok,
    note: HTML? = nil
  ) async throws -> Response {
    let found = try await members.list(of: context.accountID, page: PageQuery(request).page)
    let open = try await invitations.list(
      of: context.accountID, page: PageRequest(limit: PageRequest.limitMax))
    let next = found.next.map { Link("/members", query: ["cursor": Cursor.text(of: $0)]) }
    return Response(
      MembersPage(
        found.items, open.items, reader: context.session.user, mayChange: context.may(.changeMembers), form,
        next: next, note: note, at: clock.now.date),
      in: context.frame, status: status)
  }

  @Sendable private func setRole(_ request: Request, _ context: MemberContext) async throws -> Response {
    var form = try await FormFields(request)
    let role: MemberRole? = form.choice("role", "Choose a role.")
    guard let role else {
      return try await page(
        request, context, Self.emptyForm, status: .unprocessableContent, note: MembersPage.noRole)
    }
    let member = try await members.setRole(
      role, of: try context.pathID, in: context.accountID, by: context.session, ip: context.caller.ip)
    // Whoever gives up a right of their own sees the page as their new role does.
    return member.user.id == context.session.user.id
      ? .seeOther("/members") : try await page(request, context, Self.emptyForm, note: MembersPage.changed(member))
  }

  @Sendable private func askRemove(_ request: Request, _ context: MemberContext) async throws -> Response {
    let id = try context.pathID
    let isReader = id == context.session.user.id
    if !isReader { try context.session.require(.changeMembers) }
    return Response(RemoveMemberPage(id, isReader: isReader), in: context.frame)
  }

  @Sendable private func remove(_ request: Request, _ context: MemberContext) async throws -> Response {
    let id = try context.pathID
    try await members.remove(id, from: context.accountID, by: context.session, ip: context.caller.ip)
    // The session was one of this account.
    return id == context.session.user.id
      ? .seeOther("/login", headers: [.setCookie: cookie.clearingHeader]) : .seeOther("/members")
  }

  @Sendable private func invite(_ request: Request, _ context: MemberContext) async throws -> Response {
    var form = try await FormFields(request)
    let email = form.email("email")
    let role: MemberRole? = form.choice("role", "Choose a role.")
    guard let email, let role else {
      return try await page(request, context, form.state, status: .unprocessableContent)
    }
    do {
      let (invitation, token) = try await invitations.invite(
        email, as: role, into: context.accountID, by: context.session, ip: context.caller.ip)
      if let token {
        return Response(InvitationPage(invitation, token), in: context.frame, status: .created)
      }
      return try await page(request, context, Self.emptyForm, note: MembersPage.invited(invitation))
    } catch let error as PortalError {
      switch error {
      case .alreadyMember: form.refuse("email", "This person is a member already.")
      case .limitNotAllowed(let problems), .invalid(let problems): form.refuse(problems)
      case .forbidden(let reason): form.refuse("role", reason)
      default: throw error
      }
      return try await page(request, context, form.state, status: .unprocessableContent)
    }
  }

  @Sendable private func revoke(_ request: Request, _ context: MemberContext) async throws -> Response {
    do {
      try await invitations.revoke(
        try context.pathID, of: context.accountID, by: context.session, ip: context.caller.ip)
    } catch PortalError.notFound {
      // It was withdrawn, accepted or has expired meanwhile. The page shows which are left.
    }
    return .seeOther("/members")
  }

  @Sendable private func accept(_ request: Request, _ context: AppRequestContext) async throws -> Response {
    var form = try await FormFields(request)
    let token = form.token("token")
    let password = form.presentedPassword("password")
    if let token, let password {
      do {
        _ = try await invitations.accept(token, password: password, from: context.clientAddress)
        return Response(MessagePage.invitationAccepted)
      } catch let error as PortalError {
        switch error {
        case .invalidToken: form.refuse("token", MailedCodePage.invalidCode)
        case .invalidCredentials: form.refuse("password", "This is not the password of your account here.")
        case .alreadyMember: form.refuse(nil, "You are a member of this account already. Sign in to see it.")
        case .invalid(let problems): form.refuse(problems)
        default: throw error
        }
      }
    }
    return Response(MailedCodePage.acceptInvitation(form.state), status: .unprocessableContent)
  }
}
