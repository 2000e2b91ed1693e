import Foundation
import Hummingbird
import JSON
import Portal
import PortalHTTP

/// `/v1/accounts`: a person's own accounts, and all accounts for service tokens.
struct AccountsController {
  private static let listQuery: [QueryParameter] = .page + ["externalId", "kind"]

  let members: Members
  let accounts: ManagedAccounts
  let invitations: Invitations
  let deletion: AccountDeletion
  let idempotency: Idempotency

  func addRoutes(to routes: AccountListRoutes) {
    // The query depends on the caller.
    routes.get("v1/accounts", .listAccounts, query: nil, use: list)
  }

  func addRoutes(to routes: ServiceTokenRoutes) {
    routes.post("v1/accounts", .writeAccounts, use: create)
    routes.get("v1/accounts/{id}", .readAccounts, use: get)
    routes.patch("v1/accounts/{id}", .writeAccounts, use: update)
    routes.delete("v1/accounts/{id}", .writeAccounts, use: delete)
    routes.post("v1/accounts/{id}/invitations", .writeAccounts, use: invite)
  }

  @Sendable private func list(_ request: Request, _ context: AccountListContext) async throws -> Response {
    let query = try request.query()
    switch context.lister {
    case .member(let session):
      try query.check([])
      let found = try await members.accounts(of: session.user)
      return Response(
        json: .object { json in
          json.objects("accounts", found) { $0.fields(of: $1, isCurrent: $1.id == session.account.id) }
        })
    case .token:
      try query.check(Self.listQuery)
      let found = try await accounts.list(try ManagedAccountFilter(query), page: try query.page())
      return Response(json: .object { json in json.page("accounts", found) { $0.fields(of: $1) } })
    }
  }

  @Sendable private func create(_ request: Request, _ context: ServiceTokenContext) async throws -> Response {
    var fields = try await RequestFields(request, sizeMax: ManagedAccountSettings.sizeMax)
    let id = UUID.version7()
    let once = try request.idempotent(fields, of: context.token.id, context.secret, in: id)
    let credits = fields.newCredits()
    let settings = try ManagedAccountSettings(&fields)
    let answer = try await idempotency.once(once, creating: id) { transaction in
      let account = try await accounts.create(
        settings, credits: credits, id: id, by: context.caller, on: transaction)
      return FirstAnswer(objects: [JSONWriter.object { $0.fields(of: account) }.text], newID: id, secret: nil)
    }
    let object = try answer.objects(atLeast: 1)[0]
    return Response(
      status: .created, json: .object { $0.fields(ofObject: object) },
      headers: [.location: "/v1/accounts/" + answer.newID.text])
  }

  @Sendable private func get(_ request: Request, _ context: ServiceTokenContext) async throws -> Response {
    let account = try await accounts.find(try context.pathID)
    return Response(json: .object { $0.fields(of: account) })
  }

  @Sendable private func update(_ request: Request, _ context: ServiceTokenContext) async throws -> Response {
    let id = try context.pathID
    let changes = try await ManagedAccountChanges(request)
    let (account, propagation) = try await accounts.update(id, changes, by: context.caller)
    return Response(
      json: .object { json in
        json.fields(of: account)
        json.propagation(propagation)
      })
  }

  @Sendable private func delete(_ request: Request, _ context: ServiceTokenContext) async throws -> Response {
    let deleted = try await deletion.delete(try context.pathID, by: context.caller)
    return Response(json: .object { $0.fields(of: deleted) })
  }

  /// The response has the token only if it is not sent by mail.
  @Sendable private func invite(_ request: Request, _ context: ServiceTokenContext) async throws -> Response {
    let id = try context.pathID
    let body = try await BackendInvitationBody(request)
    let (invitation, token) = try await invitations.invite(
      body.email, as: body.role, plan: body.plan, into: id, by: context.caller)
    return Response(status: .created, json: .object { $0.fields(of: invitation, token) })
  }
}
