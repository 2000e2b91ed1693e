import Foundation
import Hummingbird
import JSON
import Portal
import PortalHTTP

/// `POST /v1/keys/{id}/move`: moves a key of any account to another one.
struct KeyMovesController {
  let moves: KeyMoves

  func addRoutes(to routes: ServiceTokenRoutes) {
    routes.post("v1/keys/{id}/move", .writeKeys, use: move)
  }

  @Sendable private func move(_ request: Request, _ context: ServiceTokenContext) async throws -> Response {
    var fields = try await RequestFields(request)
    let target = fields.account()
    let moved = try await moves.move(
      try context.pathID, to: try fields.finish(target) { $0 }, by: context.caller)
    return Response(
      json: .object { json in
        json.fields(ofFound: moved.key, at: moves.clock.now.expiryDate)
        json.propagation(moved.propagation)
      },
      headers: [.eTag: EntityTag.text(of: moved.key.revision)])
  }
}

extension RequestFields {
  /// The account that `accountId` or `externalId` names: exactly one of the two. Nil after a problem.
  mutating func account() -> AccountReference? {
    let isByID = has("accountId")
    guard isByID != has("externalId") else {
      _ = (value("accountId"), value("externalId"))
      refuse("accountId", "must be given, or externalId, and not both")
      return nil
    }
    if isByID { return uuid("accountId").map { .id($0) } }
    return required("externalId") { $0.accountExternalID() }.map { .externalID($0) }
  }
}
