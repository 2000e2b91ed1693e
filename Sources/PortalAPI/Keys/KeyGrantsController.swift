import Foundation
import Hummingbird
import JSON
import Portal
import PortalHTTP

/// `/v1/keys/{id}/roles`, `…/permissions` and `…/resources`: what the company grants to a key of any account, for its
/// backend and for staff with the role admin.
struct KeyGrantsController {
  /// For two thousand names.
  private static let bodySizeMax = 512 << 10

  let grants: Grants

  func addRoutes(to routes: CompanyRoutes) {
    routes.post("v1/keys/{id}/roles", .grantKeys) { request, context in
      let (changes, reason) = try await Self.body(request, context)
      return response(
        try await grants.changeRoles(of: try context.pathID, changes, by: context.caller, reason))
    }
    routes.post("v1/keys/{id}/permissions", .grantKeys) { request, context in
      let (changes, reason) = try await Self.body(request, context)
      return response(
        try await grants.changePermissions(of: try context.pathID, changes, by: context.caller, reason))
    }
    routes.put("v1/keys/{id}/resources", .grantKeys) { request, context in
      var fields = try await RequestFields(request, sizeMax: KeysController.bodySizeMax)
      let resources = fields.required("resources") { $0.optionalResources("resources") }
      let reason = fields.reason(of: context)
      return response(
        try await grants.setResources(
          of: try context.pathID, try fields.finish(resources) { $0 }, by: context.caller, reason))
    }
  }

  private static func body(
    _ request: Request, _ context: CompanyContext
  ) async throws -> (GrantChanges, SupportReason?) {
    var fields = try await RequestFields(request, sizeMax: bodySizeMax)
    let changes = GrantChanges(add: fields.grants("add"), remove: fields.grants("remove"))
    let reason = fields.reason(of: context)
    try fields.finish()
    return (changes, reason)
  }

  private func response(_ updated: Keys.Updated) -> Response {
    Response(
      json: .object { json in
        json.fields(ofFound: updated.key, at: grants.clock.now.expiryDate)
        json.propagation(updated.propagation)
      },
      headers: [.eTag: EntityTag.text(of: updated.key.revision)])
  }
}

extension RequestFields {
  fileprivate mutating func grants(_ name: String) -> [CatalogReference] {
    optionalList(name, 0...GrantChanges.countMax, "must be an id, or a slug or name") { CatalogReference($0) } ?? []
  }
}
