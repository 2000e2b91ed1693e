import Foundation
import Hummingbird
import JSON
import Portal
import PortalHTTP

/// `POST /v1/apis/{api}/keys`: keys for an api, for the customer with an external id or for nobody.
struct APIKeysController {
  /// How often a request is tried if somebody else makes or deletes the account meanwhile.
  private static let tryCountMax = 3

  let apis: CatalogAPIs
  let accounts: ManagedAccounts
  let keys: Keys
  let idempotency: Idempotency

  func addRoutes(to routes: ServiceTokenRoutes) {
    routes.post("v1/apis/{api}/keys", .writeKeys, use: create)
  }

  @Sendable private func create(_ request: Request, _ context: ServiceTokenContext) async throws -> Response {
    var fields = try await RequestFields(request, sizeMax: KeysController.bodySizeMax)
    let whole = fields
    let api = try await apis.find(try context.catalogReference("api"))
    let externalID = fields.accountExternalID()
    let takesUsualLimit = !fields.has("rateLimitPerMinute")
    let (settings, credits): (KeySettings, CreditSettings?)
    do {
      if fields.has("apiId") { fields.refuse("apiId", "must not be given: the path names the api") }
      let body = try fields.keySettings(at: keys.clock.now.expiryDate, byBackend: true)
      (settings, credits) = (body.settings, body.credits)
    } catch let error as InvalidRequest {
      // A repeat may have an `expiresAt` that was in the future at the first request and is in the past now.
      guard let id = try await account(of: externalID, api),
        let once = try request.idempotent(whole, of: context.token.id, context.secret, in: id),
        let answer = try await idempotency.firstAnswer(to: once)
      else { throw error }
      return try response(answer, in: id)
    }
    let now = try await keys.now()
    for _ in 0..<Self.tryCountMax {
      let found = try await account(of: externalID, api)
      let id = found ?? UUID.version7()
      let once = try request.idempotent(whole, of: context.token.id, context.secret, in: id)
      do {
        let answer = try await idempotency.once(once, of: id) { transaction in
          if found == nil {
            try await accounts.create(
              id, for: externalID, orHouseOf: api.id, named: api.settings.slug, by: context.caller, on: transaction)
          }
          let issued = try await keys.create(
            settings, api: .id(api.id), takesUsualLimit: takesUsualLimit, credits: credits, for: id,
            by: context.caller, at: now, on: transaction)
          return FirstAnswer(issued, at: keys.clock.now.expiryDate)
        }
        return try response(answer, in: id)
      } catch PortalError.externalIDTaken, PortalError.nameTaken {
        continue
      } catch PortalError.notFound where found != nil {
        continue
      }
    }
    throw PortalError.unavailable(reason: "the account of a new key was made or deleted again and again")
  }

  /// The customer's account, or the api's house account; nil if it does not exist yet.
  private func account(of externalID: String?, _ api: CatalogAPI) async throws -> UUID? {
    guard let externalID else { return try await accounts.findHouse(of: api.id) }
    return try await accounts.find(externalID: externalID)
  }

  private func response(_ answer: FirstAnswer, in accountID: UUID) throws -> Response {
    let new = try NewKey(answer)
    return Response(
      status: .created,
      json: .object { json in
        json.fields(of: new)
        json.field("accountId", accountID)
        json.keyWarning()
      },
      headers: [
        .location: "/v1/accounts/\(accountID.text)/keys/\(new.id.text)",
        .eTag: EntityTag.text(of: Key.firstRevision),
      ])
  }
}
