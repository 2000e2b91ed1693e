import Hummingbird
import Portal
import PortalHTTP
import PortalViews

/// `/password/forgot`, `/password/reset` and `/email/verify`. Links in mails lead to the last two. Asking for a page
/// never uses a code up: programs that check mail follow links, too.
struct MailedCodePages {
  let credentials: Credentials

  func addRoutes(to routes: PublicRoutes) {
    routes.get("password/forgot", .anybody, query: nil) { _, _ in Response(ForgottenPasswordPage(FormState())) }
    routes.post("password/forgot", .anybody, use: forgotPassword)
    routes.get("password/reset", .anybody, query: nil) { _, _ in Response(MailedCodePage.resetPassword(FormState())) }
    routes.post("password/reset", .anybody, use: resetPassword)
    routes.get("email/verify", .anybody, query: nil) { _, _ in Response(MailedCodePage.verifyEmail(FormState())) }
    routes.post("email/verify", .anybody, use: verifyEmail)
  }

  @Sendable private func forgotPassword(_ request: Request, _ context: AppRequestContext) async throws -> Response {
    var form = try await FormFields(request)
    guard let email = form.email("email") else {
      return Response(ForgottenPasswordPage(form.state), status: .unprocessableContent)
    }
    do {
      try await credentials.requestReset(email, from: context.clientAddress)
    } catch PortalError.mailNotConfigured {
      form.refuse(nil, "This portal sends no mail. Ask its operator for a new password.")
      return Response(ForgottenPasswordPage(form.state), status: .unprocessableContent)
    }
    return Response(MessagePage.mailIsOnItsWay, status: .accepted)
  }

  @Sendable private func resetPassword(_ request: Request, _ context: AppRequestContext) async throws -> Response {
    var form = try await FormFields(request)
    let token = form.token("token")
    let password = form.newPassword("password")
    if let token, let password {
      do {
        try await credentials.resetPassword(token, to: password, from: context.clientAddress)
        return Response(MessagePage.passwordReset)
      } catch PortalError.invalidToken {
        form.refuse("token", MailedCodePage.invalidCode)
      }
    }
    return Response(MailedCodePage.resetPassword(form.state), status: .unprocessableContent)
  }

  @Sendable private func verifyEmail(_ request: Request, _ context: AppRequestContext) async throws -> Response {
    var form = try await FormFields(request)
    if let token = form.token("token") {
      do {
        try await credentials.verifyEmail(token, from: context.clientAddress)
        return Response(MessagePage.emailVerified)
      } catch PortalError.invalidToken {
        form.refuse("token", MailedCodePage.invalidCode)
      } catch PortalError.emailTaken {
        form.refuse(nil, "Somebody else uses this address by now.")
      }
    }
    return Response(MailedCodePage.verifyEmail(form.state), status: .unprocessableContent)
  }
}
