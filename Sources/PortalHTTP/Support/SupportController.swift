import Foundation
import Hummingbird
package import Portal

/// `/v1/support`: what staff do.
struct SupportController {
  private static let keyQuery: [QueryParameter] = ["start", "id", "accountId", "email", "emailPart", "accountName"]
  private static let accountQuery: [QueryParameter] = ["id", "email", "emailPart", "name"]

  let desk: SupportDesk
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
    routes.post("v1/support/accounts/{id}/revoke-keys", .revokeKeys, use: revokeKeys)
    routes.get("v1/support/instances", .readCustomers, use: instances)
    routes.post("v1/support/accounts/{id}/suspend", .suspendAccounts) { try await setSuspension(true, $0, $1) }
    routes.post("v1/support/accounts/{id}/resume", .suspendAccounts) { try await setSuspension(false, $0, $1) }
  }

  @Sendable private func logIn(_ request: Request, _ context: AppRequestContext) async throws -> Response {
    let body = try await LogInBody(request)
    let login = try await sessions.logInStaff(
      email: body.email, password: body.password, code: body.code, from: context.origin(of: request))
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

  @Sendable private func me(_ request: Request, _ context: StaffContext) async throws -> Response {
    let member = context.member
    return Response(
      json: .object { json in
        json.object("staff") { json in
          json.field("id", member.id)
          json.field("email", member.email)
          json.field("name", member.name)
        }
        json.field("role", member.role.rawValue)
      })
  }

  @Sendable private func logOut(_ request: Request, _ context: StaffContext) async throws -> Response {
    try await sessions.logOut(context.session, ip: context.caller.ip)
    return Response(status: .noContent)
  }

  @Sendable private func search(_ request: Request, _ context: StaffContext) async throws -> Response {
    let start = try request.query("start")
    if let start, !(1...Key.startLength).contains(start.unicodeScalars.count) || start.utf8.contains(0) {
      throw InvalidRequest("query.start", "must be 1 to \(Key.startLength) characters")
    }
    let search = KeySearch(
      id: try request.queryUUID("id"), accountID: try request.queryUUID("accountId"), start: start,
      email: try request.queryEmail("email"), emailPart: try request.queryPart("emailPart", EmailAddress.lengthMax),
      accountName: try request.queryPart("accountName", Account.nameLengthMax))
    guard search != KeySearch() else {
      throw InvalidRequest("query", "needs one of start, id, accountId, email, emailPart, accountName")
    }
    return response(try await desk.search(search))
  }

  @Sendable private func searchAccounts(_ request: Request, _ context: StaffContext) async throws -> Response {
    let search = AccountSearch(
      id: try request.queryUUID("id"), email: try request.queryEmail("email"),
      emailPart: try request.queryPart("emailPart", EmailAddress.lengthMax),
      name: try request.queryPart("name", Account.nameLengthMax))
    guard search != AccountSearch() else {
      throw InvalidRequest("query", "needs one of id, email, emailPart, name")
    }
    let found = try await desk.search(search)
    return Response(
      json: .object { json in
        json.array("accounts", found) { json, found in json.object { $0.fields(of: found) } }
      })
  }

  /// A pasted key goes no further than its hash.
  @Sendable private func lookUp(_ request: Request, _ context: StaffContext) async throws -> Response {
    let body = try await PastedKeyBody(request)
    return response(try await desk.lookUp(pasted: body.key))
  }

  @Sendable private func revoke(_ request: Request, _ context: StaffContext) async throws -> Response {
    let reason = try await SupportReason(request)
    return Response(try await desk.revokeKey(try context.pathID, by: context.caller, reason))
  }

  @Sendable private func revokeKeys(_ request: Request, _ context: StaffContext) async throws -> Response {
    let reason = try await SupportReason(request)
    switch try await desk.revokeKeys(of: try context.pathID, by: context.caller, reason) {
    case .done(let count, let propagation):
      return Response(revokedKeyCount: count, propagation)
    case .waits(let confirmation):
      return Response(
        status: .accepted, json: .object { json in json.object("confirmation") { $0.fields(of: confirmation) } })
    }
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
    let reason = try await SupportReason(request)
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

  private func response(_ keys: [Key]) -> Response {
    let now = desk.clock.now.expiryDate
    return Response(
      json: .object { json in
        json.array("keys", keys) { json, key in
          json.object(key, at: now) { $0.field("accountId", key.accountID) }
        }
      })
  }
}

extension Request {
  fileprivate func queryEmail(_ name: String) throws(InvalidRequest) -> EmailAddress? {
    guard let text = try query(name) else { return nil }
    do throws(EmailAddress.Refusal) { return try EmailAddress(typed: text) } catch {
      throw InvalidRequest("query.\(name)", error.message)
    }
  }

  /// A part of an account's name, or of an address.
  fileprivate func queryPart(_ name: String, _ lengthMax: Int) throws(InvalidRequest) -> String? {
    guard let text = try query(name) else { return nil }
    let length = AccountSearch.partLengthMin...lengthMax
    guard length.contains(text.unicodeScalars.count), !text.utf8.contains(0) else {
      throw InvalidRequest("query.\(name)", "must be \(length.lowerBound) to \(length.upperBound) characters")
    }
    return text
  }
}

extension JSONWriter {
  package mutating func fields(of found: FoundAccount) {
    field("id", found.account.id)
    field("name", found.account.name)
    object("plan") { $0.fields(of: found.account.plan) }
    field("suspendedAt", found.account.suspendedAt)
    field("suspensionReason", found.suspensionReason)
    field("createdAt", found.createdAt)
    object("keys") { json in
      json.field("total", found.keys.total)
      json.field("unrevoked", found.keys.unrevoked)
      json.field("live", found.keys.live)
    }
    field("memberCount", found.memberCount)
    array("members", found.members) { json, member in
      json.object { json in
        json.field("id", member.user.id)
        json.field("email", member.user.email)
        json.field("role", member.role.rawValue)
      }
    }
  }
}
