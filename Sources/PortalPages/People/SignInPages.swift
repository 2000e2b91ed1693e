import Foundation
import HTTPTypes
import Hummingbird
import Portal
import PortalHTTP
import PortalViews

/// `/`, `/login`, `/logout` and `/signup`.
struct SignInPages {
  private static let codeLengthMax = 40

  let accounts: Accounts
  let sessions: Sessions
  let credentials: Credentials
  let cookie: SessionCookie
  let isSignupOpen: Bool
  /// The routes of the pages, one of which a reader may return to after signing in.
  let table: RouteTable

  func addRoutes(to routes: PublicRoutes) {
    routes.get("", .anybody, query: nil, use: start)
    routes.get("login", .anybody, query: nil, use: askSignIn)
    routes.post("login", .anybody, use: signIn)
    routes.get("signup", .anybody, query: nil, use: askSignUp)
    routes.post("signup", .anybody, use: signUp)
  }

  func addRoutes(to routes: MemberRoutes) {
    routes.post("logout", .useSession, use: signOut)
  }

  /// Where browsers begin. Programs find nothing here.
  @Sendable private func start(_ request: Request, _ context: AppRequestContext) async throws -> Response {
    guard request.prefers("text/html") else { throw PortalError.notFound }
    return .seeOther(cookie.token(in: request) == nil ? "/login" : "/overview")
  }

  // MARK: Signing in

  @Sendable private func askSignIn(_ request: Request, _ context: AppRequestContext) async throws -> Response {
    let next = returnLink(PageQuery(request).text("next") ?? "")
    return Response(
      SignInPage(
        FormState(["next": next?.text ?? ""]), isSignUpOpen: isSignupOpen, note: next.map { _ in SignInPage.first }))
  }

  @Sendable private func signIn(_ request: Request, _ context: AppRequestContext) async throws -> Response {
    var form = try await FormFields(request)
    let email = form.text("email")
    if !(1...EmailAddress.lengthMax).contains(email.unicodeScalars.count) || EmailAddress.hasInvisible(email) {
      form.refuse("email", "Enter your e-mail address.")
    }
    let password = form.presentedPassword("password")
    let code = TypedText.trimmed(form.secret("code"))
    if code.unicodeScalars.count > Self.codeLengthMax { form.refuse("code", "Enter the code.") }
    let next = returnLink(form.text("next"))
    form.state.set("next", next?.text ?? "")
    var needsCode = false
    if form.isGood, let password {
      do {
        let login = try await sessions.logIn(
          email: email, password: password, code: code.isEmpty ? nil : code, from: context.pageOrigin(of: request),
          replacing: cookie.token(in: request))
        return .seeOther(next ?? "/overview", headers: [.setCookie: header(login)])
      } catch let error as PortalError {
        switch error {
        case .invalidCredentials: form.refuse(nil, "The address or the password is wrong.")
        case .secondFactorRequired: needsCode = true
        case .secondFactorInvalid:
          needsCode = true
          form.refuse("code", "The code is wrong, or it was used before. Wait for the next one.")
        default: throw error
        }
      }
    }
    return Response(
      SignInPage(form.state, needsCode: needsCode, isSignUpOpen: isSignupOpen), status: .unprocessableContent)
  }

  @Sendable private func signOut(_ request: Request, _ context: MemberContext) async throws -> Response {
    try await sessions.logOut(context.session, ip: context.caller.ip)
    return .seeOther("/login", headers: [.setCookie: cookie.clearingHeader])
  }

  /// The page to return to, if the text is the address of one.
  private func returnLink(_ text: String) -> Link? {
    guard let link = Link(returning: text), link.path != "/login", table.route(at: link.path, .get) != nil else {
      return nil
    }
    return link
  }

  private func header(_ login: IssuedSession<MemberSession>) -> String {
    cookie.header(login.token, expiresAt: login.session.expiresAt, at: sessions.clock.now.date)
  }

  // MARK: Signing up

  @Sendable private func askSignUp(_ request: Request, _ context: AppRequestContext) async throws -> Response {
    isSignupOpen
      ? Response(SignUpPage(FormState())) : Response(MessagePage.signUpClosed, status: .forbidden)
  }

  @Sendable private func signUp(_ request: Request, _ context: AppRequestContext) async throws -> Response {
    var form = try await FormFields(request)
    guard isSignupOpen else { return Response(MessagePage.signUpClosed, status: .forbidden) }
    let name = form.line(
      "accountName", 1...Account.nameLengthMax, "Enter a name of 1 to \(Account.nameLengthMax) characters.")
    let email = form.email("email")
    let password = form.newPassword("password")
    if let name, let email, let password {
      do {
        try await credentials.admitSignUp(email, from: context.clientAddress)
        if credentials.isMailOpen {
          try await credentials.requestSignUp(name: name, email: email, password: password)
          return Response(MessagePage.signUpMailIsOnItsWay, status: .accepted)
        }
        let created = try await accounts.create(
          name: name, email: email, password: password, by: .owner(ip: context.clientAddress))
        let login = try await sessions.open(
          for: created.user, in: created.account, from: context.pageOrigin(of: request))
        return .seeOther("/overview", headers: [.setCookie: header(login)])
      } catch PortalError.emailTaken {
        form.refuse("email", "This address has an account already. Sign in with it.")
      }
    }
    return Response(SignUpPage(form.state), status: .unprocessableContent)
  }
}

extension AppRequestContext {
  /// The origin of a session that this request opens.
  fileprivate func pageOrigin(of request: Request) -> Origin {
    Origin(ip: clientAddress, userAgent: request.headers[.userAgent])
  }
}
