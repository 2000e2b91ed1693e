import Foundation
import Hummingbird
import JSON
import Portal
import PortalHTTP

/// `/v1/support`: log-in and log-out of staff, searches, revocations, suspensions and the list of instances.
struct SupportController {
  private static let keyQuery: [QueryParameter] = ["start", "id", "accountId", "email", "emailPart", "accountName"]
  private static let accountQuery: [QueryParameter] = ["id", "email", "emailPart", "name"]

  let desk: SupportDesk
  let explanations: Explanations
  let sessions: Sessions

  func addRoutes(to routes: PublicRoutes) {
    routes.post("v1/support/login", .anybody, use: logIn)
  }

  func addRoutes(to routes: StaffRoutes) {
    routes.get("v1/support/me", .useSession, use: me)
    routes.post("v1/support/logout", .useSession, use: logOut)
    routes.get("v1/support/keys", .readCustomers, query: Self.keyQuery, use: search)
    routes.get("v1/support/accounts", .readCustomers, query: Self.accountQuery, use: searchAccounts)
    routes.post("v1/support/keys/lookup", .readCustomers, use: lookUp)
    routes.post("v1/support/keys/{id}/revoke", .revokeKeys, use: revoke)
    routes.post("v1/support/keys/revoke", .revokeKeys, use: revokeListed)
    routes.post("v1/support/accounts/{id}/revoke-keys", .revokeKeys, use: revokeKeys)
    routes.get("v1/support/instances", .readCustomers, use: instances)
    routes.post("v1/support/explain", .readCustomers, use: explain)
    routes.post("v1/support/accounts/{id}/suspend", .suspendAccounts) { try await setSuspension(true, $0, $1) }
    routes.post("v1/support/accounts/{id}/resume", .suspendAccounts) { try await setSuspension(false, $0, $1) }
  }

  @Sendable private func logIn(_ request: Request, _ context: AppRequestContext) async throws -> Response {
    let body = try await LogInBody(request)
    let login = try await sessions.logInStaff(
      email: body.email, password: body.password, code: body.code, from: context.origin(of: request))
    return Response(
      json: .object { json in
        json.fields(of: login.session)
        json.fields(of: login)
      })
  }

  @Sendable private func me(_ request: Request, _ context: StaffContext) async throws -> Response {
    Response(json: .object { $0.fields(of: context.session) })
  }

  @Sendable private func logOut(_ request: Request, _ context: StaffContext) async throws -> Response {
    try await sessions.logOut(context.session, ip: context.caller.ip)
    return Response(status: .noContent)
  }

  @Sendable private func search(_ request: Request, _ context: StaffContext) async throws -> Response {
    response(try await desk.search(try KeySearch(try request.query())))
  }

  @Sendable private func searchAccounts(_ request: Request, _ context: StaffContext) async throws -> Response {
    let found = try await desk.search(try AccountSearch(try request.query()))
    return Response(json: .object { json in json.objects("accounts", found) { $0.fields(of: $1) } })
  }

  /// Looks a pasted key up by its hash. The key itself goes no further.
  @Sendable private func lookUp(_ request: Request, _ context: StaffContext) async throws -> Response {
    let body = try await PastedKeyBody(request)
    return response(try await desk.lookUp(pasted: body.key))
  }

  @Sendable private func revoke(_ request: Request, _ context: StaffContext) async throws -> Response {
    let reason = try await SupportReason(request)
    let revoked = try await desk.revokeKey(try context.pathID, by: context.caller, reason)
    return Response(json: .object { $0.fields(of: revoked) })
  }

  /// Revokes keys that were pasted, or named by id. No text of the list goes further than the search.
  @Sendable private func revokeListed(_ request: Request, _ context: StaffContext) async throws -> Response {
    let body = try await KeyListBody(request)
    let (lines, revocation) = try await desk.revokeKeys(listed: body.keys, by: context.caller, body.reason)
    switch revocation {
    case .done(let count, let propagation):
      return Response(
        json: .object { json in
          json.field("revoked", count)
          json.results(lines)
          json.propagation(propagation)
        })
    case .waits(let confirmation):
      return Response(
        status: .accepted,
        json: .object { json in
          json.object("confirmation") { $0.fields(of: confirmation) }
          json.results(lines)
        })
    }
  }

  @Sendable private func revokeKeys(_ request: Request, _ context: StaffContext) async throws -> Response {
    let reason = try await SupportReason(request)
    switch try await desk.revokeKeys(of: try context.pathID, by: context.caller, reason) {
    case .done(let count, let propagation):
      return Response(json: .object { $0.revocation(ofKeys: count, propagation) })
    case .waits(let confirmation):
      return Response(
        status: .accepted, json: .object { json in json.object("confirmation") { $0.fields(of: confirmation) } })
    }
  }

  @Sendable private func instances(_ request: Request, _ context: StaffContext) async throws -> Response {
    let reports = try await desk.instances()
    return Response(json: .object { json in json.objects("instances", reports) { $0.fields(of: $1) } })
  }

  /// A pasted key is hashed. It goes no further.
  @Sendable private func explain(_ request: Request, _ context: StaffContext) async throws -> Response {
    let body = try await ExplanationBody(request)
    let found: Explanation
    do { found = try await explanations.explain(body.subject, body.request, at: body.at) } catch let unknown
      as UnknownLimits
    { throw InvalidRequest(unknown.problems(at: "body")) }
    return Response(json: .object { $0.fields(of: found) })
  }

  private func setSuspension(
    _ isSuspended: Bool, _ request: Request, _ context: StaffContext
  ) async throws -> Response {
    let reason = try await SupportReason(request)
    let (account, propagation) = try await desk.setSuspension(
      of: try context.pathID, to: isSuspended, by: context.caller, reason)
    return Response(json: .object { $0.fields(ofSuspensionOf: account, propagation) })
  }

  private func response(_ keys: [Key]) -> Response {
    let now = desk.clock.now.expiryDate
    return Response(json: .object { json in json.objects("keys", keys) { $0.fields(ofFound: $1, at: now) } })
  }
}
