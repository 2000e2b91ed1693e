package import Foundation
import JSON

/// What a key was granted, the apis that it is for, and its scopes for single resources. Most keys have nothing of
/// this, and a key in the cache has at most a reference to it; equal ones are shared.
package final class KeyGrants: Sendable, Hashable {
  /// The key's own api, whose endpoint limits it has; nil: it is for all that its plan lists.
  package let apiID: UUID?
  /// The apis that the key and its plan have in common; nil: all.
  private let apis: [CatalogNamed]?
  /// The names of its roles, with those that its plan gives it, sorted by their bytes.
  package let roles: [String]
  /// The slugs of all its permissions, including those of its roles, sorted by their bytes.
  package let permissions: [String]
  private let permissionSet: Set<ByteText>
  /// The scopes for each resource.
  private let resources: [ByteText: [String]]
  /// Of the endpoint limits of the key's own api; nil if it has none.
  let endpointLimitsDigest: String?
  /// Nil if the key's own api has none, and until they are looked up.
  let endpointLimits: CompiledEndpointLimits?

  /// Nil if there is nothing of all this.
  init?(
    apiID: UUID? = nil, apis: [CatalogNamed]? = nil, roles: [String] = [], permissions: [String] = [],
    resources: ResourceScopes = .none, endpointLimitsDigest: String? = nil
  ) {
    if apiID == nil, apis == nil, roles.isEmpty, permissions.isEmpty, resources.isEmpty { return nil }
    self.apiID = apiID
    self.apis = apis
    self.roles = roles
    self.permissions = permissions
    permissionSet = Set(permissions.map(ByteText.init))
    self.resources = Dictionary(resources.entries.map { (ByteText($0.name), $0.scopes) }) { first, _ in first }
    self.endpointLimitsDigest = endpointLimitsDigest
    endpointLimits = nil
  }

  /// The same, with the endpoint limits of the key's own api.
  init(_ other: KeyGrants, _ endpointLimits: CompiledEndpointLimits?) {
    apiID = other.apiID
    apis = other.apis
    roles = other.roles
    permissions = other.permissions
    permissionSet = other.permissionSet
    resources = other.resources
    endpointLimitsDigest = endpointLimits?.digest
    self.endpointLimits = endpointLimits
  }

  /// Whether a change of an api, a permission or a role may change it.
  var dependsOnCatalog: Bool { apis != nil || !roles.isEmpty || !permissions.isEmpty }

  /// Whether other keys are likely to have the same.
  var isShareable: Bool { resources.isEmpty }

  func has(_ permission: String) -> Bool { permissionSet.contains(ByteText(permission)) }

  /// Whether one of the scopes for this resource covers the required one.
  func has(_ required: String, for resource: ByteText) -> Bool {
    resources[resource]?.contains { Scope.covers($0, required) } ?? false
  }

  /// Whether one of the key's apis is the one that was asked for, and among `ids`; nil means any. A key for all apis is
  /// for each of them.
  func isFor(_ asked: CatalogReference?, among ids: [UUID]?) -> Bool {
    guard let apis else { return true }
    return apis.contains { api in
      if let ids, !ids.contains(api.id) { return false }
      return switch asked {
      case .id(let id): id == api.id
      case .name(let slug): slug.hasSameBytes(as: api.name)
      case nil: true
      }
    }
  }

  package static func == (one: KeyGrants, other: KeyGrants) -> Bool {
    one === other
      || one.apiID == other.apiID && one.apis == other.apis && one.roles == other.roles
        && one.permissions == other.permissions && one.resources == other.resources
        && one.endpointLimitsDigest == other.endpointLimitsDigest && one.endpointLimits === other.endpointLimits
  }

  package func hash(into hasher: inout Hasher) {
    hasher.combine(apiID)
    hasher.combine(apis?.map(\.id))
    hasher.combine(roles)
    hasher.combine(permissions)
  }
}

/// What a request demands of the api and the permissions of a key, what it says of its scopes, and the limits that it
/// names. Most requests have nothing of this, and no more than an empty reference.
final class GrantDemands: Sendable, Equatable {
  struct Values: Sendable, Equatable {
    var api: CatalogReference?
    var apiIDs: [UUID]?
    var permissions: PermissionQuery?
    var limits: [LimitAsk] = []
    var resource: ByteText?
    var match: ScopeMatch = .all
  }

  let values: Values

  /// Nil if there is nothing of all this.
  init?(_ values: Values) {
    if values.api == nil, values.apiIDs == nil, values.permissions == nil, values.limits.isEmpty,
      values.resource == nil, values.match == .all
    {
      return nil
    }
    self.values = values
  }

  static func == (one: GrantDemands, other: GrantDemands) -> Bool { one.values == other.values }
}
