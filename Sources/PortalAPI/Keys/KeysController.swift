import Foundation
import Hummingbird
import JSON
import Portal
import PortalHTTP

/// `/v1/keys`, a customer's own keys, and `/v1/accounts/{id}/keys`, the keys of an account for service tokens.
struct KeysController {
  static let bodySizeMax = 64 << 10
  private static let query: [QueryParameter] = .page + ["status", "q", .list("tag")]

  let keys: Keys
  let idempotency: Idempotency

  func addRoutes(to routes: MemberRoutes) {
    routes.get("v1/keys", .readKeys, query: Self.query) { try await list($0, of: $1.keyAccess) }
    routes.post("v1/keys", .changeKeys) { try await create($0, for: $1.keyAccess) }
    routes.get("v1/keys/{id}", .readKeys) { try await get($1.pathID, of: $1.keyAccess) }
    routes.patch("v1/keys/{id}", .changeKeys) { try await update($1.pathID, $0, of: $1.keyAccess) }
    routes.delete("v1/keys/{id}", .changeKeys) { try await revoke($1.pathID, of: $1.keyAccess) }
    // Not `DELETE /v1/keys`: a client whose variable for the id is empty would call it by accident.
    routes.post("v1/keys/revoke-all", .changeKeys, use: revokeAll)
    routes.post("v1/keys/{id}/roll", .changeKeys) { try await roll($1.pathID, $0, of: $1.keyAccess) }
  }

  func addRoutes(to routes: ServiceTokenRoutes) {
    routes.get("v1/accounts/{id}/keys", .readKeys, query: Self.query) { try await list($0, of: $1.keyAccess) }
    routes.get("v1/accounts/{id}/keys/{keyId}", .readKeys) { try await get($1.keyID, of: $1.keyAccess) }
    routes.post("v1/accounts/{id}/keys", .writeKeys) { try await create($0, for: $1.keyAccess) }
    routes.patch("v1/accounts/{id}/keys/{keyId}", .writeKeys) {
      try await update($1.keyID, $0, of: $1.keyAccess)
    }
    routes.delete("v1/accounts/{id}/keys/{keyId}", .writeKeys) { try await revoke($1.keyID, of: $1.keyAccess) }
    routes.post("v1/accounts/{id}/keys/{keyId}/roll", .writeKeys) { try await roll($1.keyID, $0, of: $1.keyAccess) }
  }

  private func list(_ request: Request, of access: KeyAccess) async throws -> Response {
    let query = try request.query()
    let page = try query.page()
    var filter = try KeyFilter(query)
    (filter.environment, filter.apiIDs) = (access.caller.environment, access.caller.apiIDs)
    let found = try await keys.list(of: access.accountID, filter, page: page)
    let now = expiryDate
    return Response(
      json: .object { json in json.page("keys", found) { $0.fields(of: $1, at: now) } })
  }

  private func get(_ id: UUID, of access: KeyAccess) async throws -> Response {
    let key = try await keys.find(id, of: access.accountID, by: access.caller)
    return Response(
      json: .object { $0.fields(of: key, at: expiryDate) },
      headers: [.eTag: EntityTag.text(of: key.revision)])
  }

  private func create(_ request: Request, for access: KeyAccess) async throws -> Response {
    var fields = try await RequestFields(request, sizeMax: Self.bodySizeMax)
    let once = try request.idempotent(fields, access)
    // What is usual depends on the account.
    let takesUsualLimit = access.isByBackend && !fields.has("rateLimitPerMinute")
    let body: (settings: KeySettings, api: CatalogReference?, credits: CreditSettings?)
    do {
      body = try fields.keySettings(at: expiryDate, byBackend: access.isByBackend)
    } catch let error as InvalidRequest {
      // A repeat may have an `expiresAt` that was in the future at the first request and is in the past now.
      guard let once, let answer = try await idempotency.firstAnswer(to: once) else { throw error }
      return response(try NewKey(answer), for: access)
    }
    let now = try await keys.now()
    let answer = try await idempotency.once(once, of: access.accountID) { transaction in
      let issued = try await keys.create(
        body.settings, api: body.api, takesUsualLimit: takesUsualLimit, credits: body.credits, for: access.accountID,
        by: access.caller, at: now, on: transaction)
      return FirstAnswer(issued, at: expiryDate)
    }
    return response(try NewKey(answer), for: access)
  }

  private func response(_ new: NewKey, for access: KeyAccess) -> Response {
    Response(
      status: .created,
      json: .object { json in
        json.fields(of: new)
        json.keyWarning()
      },
      headers: [.location: "\(access.path)/\(new.id.text)", .eTag: EntityTag.text(of: Key.firstRevision)])
  }

  private func update(_ id: UUID, _ request: Request, of access: KeyAccess) async throws -> Response {
    var fields = try await RequestFields(request, sizeMax: Self.bodySizeMax)
    let changes = try fields.keyChanges(at: expiryDate, byBackend: access.isByBackend)
    let revisions = try request.ifMatch()
    let updated = try await keys.update(
      id, of: access.accountID, changes, ifRevision: revisions, by: access.caller)
    return Response(
      json: .object { $0.fields(of: updated, at: expiryDate) },
      headers: [.eTag: EntityTag.text(of: updated.key.revision)])
  }

  @Sendable private func revokeAll(_ request: Request, _ context: MemberContext) async throws -> Response {
    _ = try await EmptyBody(request, sizeMax: Self.bodySizeMax)
    let (count, propagation) = try await keys.revokeAll(of: context.accountID, by: context.caller)
    return Response(json: .object { $0.revocation(ofKeys: count, propagation) })
  }

  private func revoke(_ id: UUID, of access: KeyAccess) async throws -> Response {
    let revoked = try await keys.revoke(id, of: access.accountID, by: access.caller)
    return Response(json: .object { $0.fields(of: revoked) })
  }

  private func roll(_ id: UUID, _ request: Request, of access: KeyAccess) async throws -> Response {
    var fields = try await RequestFields(request, sizeMax: Self.bodySizeMax, isOptional: RollBody.isOptional)
    let once = try request.idempotent(fields, access)
    let grace = try RollBody(&fields).graceSeconds
    let start = ContinuousClock.now
    let now = try await keys.now()
    let answer = try await idempotency.once(once, of: access.accountID) { transaction in
      let (successor, predecessor, ended) = try await keys.roll(
        id, of: access.accountID, graceSeconds: grace, by: access.caller, at: now, on: transaction)
      return FirstAnswer(successor, [predecessor] + ended, at: expiryDate)
    }
    return response(try RolledKey(answer, await keys.propagation(since: start)), for: access)
  }

  private func response(_ rolled: RolledKey, for access: KeyAccess) -> Response {
    Response(
      status: .created, json: .object { $0.fields(of: rolled) },
      headers: [.location: "\(access.path)/\(rolled.successor.id.text)"])
  }

  /// The time by which a key counts as expired or not.
  private var expiryDate: Date { keys.clock.now.expiryDate }
}
