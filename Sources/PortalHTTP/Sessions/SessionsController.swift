import Hummingbird
import Portal

/// `/v1/signup`, `/v1/login`, `/v1/logout`, `/v1/me`.
struct SessionsController {
  static let bodySizeMax = 16 << 10
  /// Characters of a code or a recovery code, with what people put between its groups.
  static let codeLengthMax = 40

  let accounts: Accounts
  let members: Members
  let sessions: Sessions
  let credentials: Credentials
  let cookie: SessionCookie
  let isSignupOpen: Bool

  func addRoutes(to routes: PublicRoutes) {
    routes.post("v1/signup", .anybody, use: signUp)
    routes.post("v1/login", .anybody, use: logIn)
  }

  func addRoutes(to routes: MemberRoutes) {
    routes.post("v1/logout", .useSession, use: logOut)
    routes.get("v1/me", .useSession, use: me)
    routes.get("v1/accounts", .useSession, use: listAccounts)
    routes.post("v1/accounts/{id}/switch", .useSession, use: switchAccount)
  }

  @Sendable private func signUp(_ request: Request, _ context: AppRequestContext) async throws -> Response {
    var fields = try await RequestFields(request, sizeMax: Self.bodySizeMax)
    let email = fields.email("email")
    let password = fields.password("password")
    let name = fields.typedLine("accountName", 1...Account.nameLengthMax)
    try fields.finish()
    guard isSignupOpen else { throw PortalError.forbidden(reason: "Sign-up is closed; ask for an account.") }
    guard let email, let password else { throw Problem.internalError }
    try await credentials.admitSignUp(email, from: context.clientAddress)
    if credentials.isMailOpen {
      try await credentials.requestSignUp(name: name, email: email, password: password)
      return .mailAccepted
    }
    let created = try await accounts.create(
      name: name, email: email, password: password, by: .owner(ip: context.clientAddress))
    let login = try await sessions.open(
      for: created.user, in: created.account, from: context.origin(of: request))
    return response(login, status: .created)
  }

  @Sendable private func logIn(_ request: Request, _ context: AppRequestContext) async throws -> Response {
    let credentials = try await Self.credentials(request)
    return response(
      try await sessions.logIn(
        email: credentials.email, password: credentials.password, code: credentials.code,
        from: context.origin(of: request), replacing: cookie.token(in: request)))
  }

  /// Any text is taken for a password here: whether it would be allowed as a new one is nobody's business.
  static func credentials(_ request: Request) async throws -> (email: String, password: Password, code: String?) {
    var fields = try await RequestFields(request, sizeMax: bodySizeMax)
    let email = fields.string("email", 1...EmailAddress.lengthMax)
    // Nobody can have it, and whoever pasted it would look for a mistake that cannot be seen.
    if EmailAddress.hasInvisible(email) { fields.refuse("email", EmailAddress.Refusal.invisible.message) }
    let password = fields.presentedPassword("password")
    let code = fields.optionalString("code", 1...codeLengthMax)
    try fields.finish()
    return (email, password, code)
  }

  @Sendable private func logOut(_ request: Request, _ context: CustomerContext) async throws -> Response {
    try await sessions.logOut(context.session, ip: context.caller.ip)
    return Response(status: .noContent, headers: [.setCookie: cookie.clearingHeader])
  }

  @Sendable private func me(_ request: Request, _ context: CustomerContext) async throws -> Response {
    let session = context.session
    return Response(
      json: .object { json in
        json.object("user") { $0.fields(of: session.user) }
        json.object("account") { json in
          json.field("id", session.account.id)
          json.field("name", session.account.name)
          json.object("plan") { $0.fields(of: session.account.plan) }
        }
        json.field("role", session.role.rawValue)
      })
  }

  /// Those that the person who is logged in belongs to.
  @Sendable private func listAccounts(_ request: Request, _ context: CustomerContext) async throws -> Response {
    let accounts = try await members.accounts(of: context.session.user)
    return Response(
      json: .object { json in
        json.array("accounts", accounts) { json, account in
          json.object {
            $0.field("id", account.id)
            $0.field("name", account.name)
            $0.field("role", account.role.rawValue)
            $0.field("suspendedAt", account.suspendedAt)
            $0.field("isCurrent", account.id == context.accountID)
          }
        }
      })
  }

  /// Another account is another privilege: the token that was good for the one before ends.
  @Sendable private func switchAccount(_ request: Request, _ context: CustomerContext) async throws -> Response {
    response(
      try await sessions.switchAccount(of: context.session, to: try context.pathID, ip: context.caller.ip))
  }

  private func response(_ login: Login<CustomerSession>, status: HTTPResponse.Status = .ok) -> Response {
    let session = login.session
    let json = JSONWriter.object { json in
      json.object("user") { $0.fields(of: session.user) }
      json.object("account") { json in
        json.field("id", session.account.id)
        json.field("name", session.account.name)
      }
      json.field("role", session.role.rawValue)
      json.field("token", login.token.reveal())
      json.field("expiresAt", session.expiresAt)
    }
    return Response(
      status: status, json: json,
      headers: [
        .setCookie: cookie.header(
          login.token, expiresAt: session.expiresAt, at: sessions.clock.now.date)
      ])
  }
}

extension JSONWriter {
  fileprivate mutating func fields(of user: User) {
    field("id", user.id)
    field("email", user.email)
  }
}

extension AppRequestContext {
  /// Where a session that is opened now comes from.
  func origin(of request: Request) -> Origin {
    Origin(ip: clientAddress, userAgent: request.headers[.userAgent])
  }
}

extension RequestFields {
  /// One that is to be compared with the stored one, whatever its length.
  mutating func presentedPassword(_ name: String) -> Password {
    Password(presented: string(name, 1...Password.typedLengthMax))
  }

  /// nil after a problem.
  mutating func email(_ name: String) -> EmailAddress? {
    let text = string(name, 1...EmailAddress.lengthMax)
    if text.isEmpty { return nil }
    do throws(EmailAddress.Refusal) { return try EmailAddress(typed: text) } catch {
      refuse(name, error.message)
      return nil
    }
  }

  /// nil after a problem.
  mutating func password(_ name: String) -> Password? {
    let text = string(name, 1...Password.typedLengthMax)
    if text.isEmpty { return nil }
    do throws(Password.Refusal) { return try Password(new: text) } catch {
      refuse(name, error.message)
      return nil
    }
  }
}
