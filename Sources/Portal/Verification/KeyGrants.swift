package import Foundation
import JSON

/// What a key was granted, and the api that it is for. Most keys have nothing of this, and a key in the cache has at
/// most a reference to it; equal ones are shared.
package final class KeyGrants: Sendable, Hashable {
  /// The id of the api that the key is for; nil: all.
  package let apiID: UUID?
  package let apiSlug: String?
  /// The names of its roles, sorted by their bytes.
  package let roles: [String]
  /// The slugs of all its permissions, including those of its roles, sorted by their bytes.
  package let permissions: [String]
  private let permissionSet: Set<ByteText>
  /// Of the api's endpoint limits; nil if it has none.
  let endpointLimitsDigest: String?
  /// Nil if the api has none, and until they are looked up.
  let endpointLimits: CompiledEndpointLimits?

  /// Nil if there is nothing of all this.
  init?(
    apiID: UUID? = nil, apiSlug: String? = nil, roles: [String] = [], permissions: [String] = [],
    endpointLimitsDigest: String? = nil
  ) {
    if apiID == nil, roles.isEmpty, permissions.isEmpty { return nil }
    self.apiID = apiID
    self.apiSlug = apiSlug
    self.roles = roles
    self.permissions = permissions
    permissionSet = Set(permissions.map(ByteText.init))
    self.endpointLimitsDigest = endpointLimitsDigest
    endpointLimits = nil
  }

  /// The same, with the endpoint limits of the api.
  init(_ other: KeyGrants, _ endpointLimits: CompiledEndpointLimits?) {
    apiID = other.apiID
    apiSlug = other.apiSlug
    roles = other.roles
    permissions = other.permissions
    permissionSet = other.permissionSet
    endpointLimitsDigest = endpointLimits?.digest
    self.endpointLimits = endpointLimits
  }

  func has(_ permission: String) -> Bool { permissionSet.contains(ByteText(permission)) }

  /// Whether the key is for this api, or for all.
  func isFor(_ api: CatalogReference) -> Bool {
    guard let apiID else { return true }
    return switch api {
    case .id(let id): id == apiID
    case .name(let slug): apiSlug?.hasSameBytes(as: slug) ?? false
    }
  }

  package static func == (one: KeyGrants, other: KeyGrants) -> Bool {
    one === other
      || one.apiID == other.apiID && one.apiSlug == other.apiSlug && one.roles == other.roles
        && one.permissions == other.permissions && one.endpointLimitsDigest == other.endpointLimitsDigest
        && one.endpointLimits === other.endpointLimits
  }

  package func hash(into hasher: inout Hasher) {
    hasher.combine(apiID)
    hasher.combine(roles)
    hasher.combine(permissions)
  }
}

/// What a request demands of the api and the permissions of a key, and the limits that it names. Most requests have
/// nothing of these, and no more than an empty reference.
final class GrantDemands: Sendable, Equatable {
  let api: CatalogReference?
  let apiIDs: [UUID]?
  let permissions: PermissionQuery?
  let limits: [LimitAsk]

  /// Nil if nothing is demanded.
  init?(api: CatalogReference?, apiIDs: [UUID]?, permissions: PermissionQuery?, limits: [LimitAsk]) {
    if api == nil, apiIDs == nil, permissions == nil, limits.isEmpty { return nil }
    self.api = api
    self.apiIDs = apiIDs
    self.permissions = permissions
    self.limits = limits
  }

  static func == (one: GrantDemands, other: GrantDemands) -> Bool {
    one.api == other.api && one.apiIDs == other.apiIDs && one.permissions == other.permissions
      && one.limits == other.limits
  }
}
