import Foundation
import Hummingbird
import Portal

/// `/v1/support`: what staff do.
struct SupportController {
  static let bodySizeMax = 16 << 10

  let desk: SupportDesk
  let sessions: Sessions

  func addPublicRoutes(to routes: some RouterMethods<AppRequestContext>) {
    routes.post("v1/support/login", use: logIn)
  }

  /// What staff may do before they have the second factor that they need.
  func addOwnRoutes(to routes: some RouterMethods<StaffContext>) {
    routes.post("v1/support/logout", use: logOut)
  }

  func addRoutes(to routes: some RouterMethods<StaffContext>) {
    routes.get("v1/support/keys", use: search)
    routes.post("v1/support/keys/lookup", use: lookUp)
    routes.post("v1/support/keys/{id}/revoke", use: revoke)
    routes.get("v1/support/instances", use: instances)
    routes.post("v1/support/accounts/{id}/suspend") { try await setSuspension(true, $0, $1) }
    routes.post("v1/support/accounts/{id}/resume") { try await setSuspension(false, $0, $1) }
  }

  @Sendable private func logIn(_ request: Request, _ context: AppRequestContext) async throws -> Response {
    let credentials = try await SessionsController.credentials(request)
    let login = try await sessions.logInStaff(
      email: credentials.email, password: credentials.password, code: credentials.code,
      from: context.origin(of: request))
    let member = login.session.member
    return Response(
      json: .object { json in
        json.object("staff") { json in
          json.field("id", member.id)
          json.field("email", member.email)
          json.field("name", member.name)
        }
        json.field("role", member.role.rawValue)
        json.field("token", login.token.reveal())
        json.field("expiresAt", login.session.expiresAt)
      })
  }

  @Sendable private func logOut(_ request: Request, _ context: StaffContext) async throws -> Response {
    try await sessions.logOut(context.session, ip: context.caller.ip)
    return Response(status: .noContent)
  }

  @Sendable private func search(_ request: Request, _ context: StaffContext) async throws -> Response {
    let start = request.query("start")
    if let start, !(1...Key.startLength).contains(start.unicodeScalars.count) || start.utf8.contains(0) {
      throw PortalError.invalid("query.start", "must be 1 to \(Key.startLength) characters")
    }
    let search = KeySearch(
      id: try request.queryUUID("id"), accountID: try request.queryUUID("accountId"), start: start)
    guard search != KeySearch() else {
      throw PortalError.invalid("query", "needs one of start, id, accountId")
    }
    return response(try await desk.search(search))
  }

  /// A pasted key goes no further than its hash.
  @Sendable private func lookUp(_ request: Request, _ context: StaffContext) async throws -> Response {
    var fields = try await RequestFields(request, sizeMax: Self.bodySizeMax)
    let key = Secret(presented: fields.string("key", 1...Secret.lengthMax))
    try fields.finish()
    return response(try await desk.search(KeySearch(hash: key.hash)))
  }

  @Sendable private func revoke(_ request: Request, _ context: StaffContext) async throws -> Response {
    let reason = try await reason(request)
    return Response(try await desk.revokeKey(try context.pathID, by: context.caller, reason))
  }

  @Sendable private func instances(_ request: Request, _ context: StaffContext) async throws -> Response {
    let reports = try await desk.instances()
    return Response(
      json: .object { json in
        json.array("instances", reports) { json, report in
          json.object { json in
            json.field("id", report.id)
            json.field("name", report.name)
            json.field("startedAt", report.startedAt)
            json.field("heartbeatAt", report.heartbeatAt)
            json.field("leaseMilliseconds", report.leaseMilliseconds)
            json.field("freshMilliseconds", report.freshMilliseconds)
            json.field("appliedSeq", report.appliedSeq)
            json.field("lag", report.lag)
          }
        }
      })
  }

  private func setSuspension(
    _ isSuspended: Bool, _ request: Request, _ context: StaffContext
  ) async throws -> Response {
    let reason = try await reason(request)
    let (account, propagation) = try await desk.setSuspension(
      of: try context.pathID, to: isSuspended, by: context.caller, reason)
    return Response(
      json: .object { json in
        json.field("id", account.id)
        json.field("name", account.name)
        json.field("suspendedAt", account.suspendedAt)
        json.propagation(propagation)
      })
  }

  private func reason(_ request: Request) async throws -> SupportReason {
    var fields = try await RequestFields(request, sizeMax: Self.bodySizeMax)
    let reason = fields.supportReason()
    try fields.finish()
    return reason
  }

  private func response(_ keys: [Key]) -> Response {
    let now = Date()
    return Response(
      json: .object { json in
        json.array("keys", keys) { json, key in
          json.object(key, at: now) { $0.field("accountId", key.accountID) }
        }
      })
  }
}

extension RequestFields {
  /// Why a member of staff acts.
  mutating func supportReason() -> SupportReason {
    let text = string("reason", SupportReason.textLengthMin...SupportReason.textLengthMax)
    return SupportReason(text: text, ticket: optionalString("ticket", 1...100))
  }
}
