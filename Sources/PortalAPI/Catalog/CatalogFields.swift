import Hummingbird
import JSON
package import Portal
package import PortalHTTP

/// The members of bodies about the catalog. Each function throws all problems together.
extension RequestFields {
  mutating func newAPI(_ context: CompanyContext) throws -> (settings: CatalogAPI.Settings, reason: SupportReason?) {
    let slug = required("slug") { $0.catalogName("slug") }
    let name = typedLine("name", 1...CatalogAPI.nameLengthMax)
    let keyPrefix = keyPrefix("keyPrefix")
    let keyBytes = integer("keyBytes", CatalogAPI.keyBytesRange, default: CatalogAPI.keyBytesDefault)
    let isProtected = optionalBool("isProtected") ?? false
    let endpointLimits = endpointLimits() ?? EndpointLimits([])
    let reason = reason(of: context)
    return try finish(slug, name) {
      let settings = CatalogAPI.Settings(
        slug: $0, name: $1, keyPrefix: keyPrefix, keyBytes: keyBytes, isProtected: isProtected,
        endpointLimits: endpointLimits)
      return (settings, reason)
    }
  }

  mutating func apiChanges(
    _ context: CompanyContext
  ) throws -> (changes: CatalogAPIChanges, reason: SupportReason?) {
    let changes = CatalogAPIChanges(
      slug: change("slug") { $0.catalogName("slug") },
      name: change("name") { $0.typedLine("name", 1...CatalogAPI.nameLengthMax) },
      keyPrefix: removableChange("keyPrefix") { $0.keyPrefix("keyPrefix") },
      keyBytes: change("keyBytes") { $0.optionalInteger("keyBytes", CatalogAPI.keyBytesRange) },
      isProtected: change("isProtected") { $0.optionalBool("isProtected") },
      endpointLimits: change("endpointLimits") { $0.endpointLimits() })
    let reason = reason(of: context)
    try finish()
    return (changes, reason)
  }

  mutating func newPermission(
    _ context: CompanyContext
  ) throws -> (settings: CatalogPermission.Settings, reason: SupportReason?) {
    let slug = required("slug") { $0.catalogName("slug") }
    let description = catalogDescription()
    let reason = reason(of: context)
    return try finish(slug) { (CatalogPermission.Settings(slug: $0, description: description), reason) }
  }

  mutating func permissionChanges(
    _ context: CompanyContext
  ) throws -> (changes: CatalogPermissionChanges, reason: SupportReason?) {
    let changes = CatalogPermissionChanges(
      slug: change("slug") { $0.catalogName("slug") },
      description: removableChange("description") { $0.catalogDescription() })
    let reason = reason(of: context)
    try finish()
    return (changes, reason)
  }

  mutating func newRole(
    _ context: CompanyContext
  ) throws -> (settings: CatalogRole.Settings, permissions: [CatalogReference], reason: SupportReason?) {
    let name = required("name") { $0.catalogName("name") }
    let description = catalogDescription()
    let permissions = rolePermissions() ?? []
    let reason = reason(of: context)
    return try finish(name) { (CatalogRole.Settings(name: $0, description: description), permissions, reason) }
  }

  mutating func roleChanges(
    _ context: CompanyContext
  ) throws -> (changes: CatalogRoleChanges, reason: SupportReason?) {
    let changes = CatalogRoleChanges(
      name: change("name") { $0.catalogName("name") },
      description: removableChange("description") { $0.catalogDescription() },
      permissions: change("permissions") { $0.rolePermissions() })
    let reason = reason(of: context)
    try finish()
    return (changes, reason)
  }

  /// The body of a deletion, which may be empty for a service token.
  mutating func deletion(_ context: CompanyContext) throws -> SupportReason? {
    let reason = reason(of: context)
    try finish()
    return reason
  }

  private mutating func catalogName(_ name: String) -> String? {
    guard let text = optionalString(name, 1...CatalogName.lengthMax) else { return nil }
    guard CatalogName.isValid(text) else {
      refuse(name, "must match \(CatalogName.pattern), and be neither a UUID nor AND or OR")
      return nil
    }
    return text
  }

  private mutating func catalogDescription() -> String? {
    optionalTypedLines("description", 0...CatalogPermission.descriptionLengthMax)
  }

  private mutating func rolePermissions() -> [CatalogReference]? {
    optionalList("permissions", 0...CatalogRole.permissionCountMax, "must be the id or slug of a permission") {
      CatalogReference($0)
    }
  }

  /// The endpoint limits of an api; nil if there is no such member, and after a problem with all of them.
  package mutating func endpointLimits() -> EndpointLimits? {
    var patterns: Set<ByteText> = []
    let entries = optionalObjects("endpointLimits", 0...EndpointLimits.countMax) { fields in
      let pattern = fields.required("endpoint") { $0.endpointPattern() }
      if let pattern, !patterns.insert(ByteText(pattern.text)).inserted {
        fields.refuse("endpoint", "must not be repeated")
      }
      let roles = fields.optionalNamedObjects(
        "roles", countMax: EndpointLimits.roleCountMax, CatalogName.isValid, "must be for the name of a role"
      ) { name, fields in fields.windowLimit().map { (name, $0) } }
      return RequestFields.make(pattern, fields.windowLimit()) { pattern, limit in
        EndpointLimits.Entry(
          pattern, otherwise: limit, roles: Dictionary(roles ?? []) { first, _ in first })
      }
    }
    guard let entries else { return nil }
    let limits = EndpointLimits(entries)
    if limits.json.utf8.count > EndpointLimits.byteCountMax {
      refuse("endpointLimits", "must be at most \(EndpointLimits.byteCountMax) bytes when written without spaces")
    }
    return limits
  }

  private mutating func windowLimit() -> WindowLimit? {
    RequestFields.make(
      integer("limit", 1...RateLimit.limitMax), integer("windowMilliseconds", RateLimit.windowMillisecondsRange)
    ) { WindowLimit(limit: $0, windowMilliseconds: $1) }
  }

  private mutating func endpointPattern() -> StarPattern? {
    guard let text = optionalString("endpoint", 1...EndpointLimits.patternLengthMax) else { return nil }
    guard let pattern = EndpointLimits.pattern(text), TypedText.isReadable(text, .line) else {
      refuse("endpoint", "must have at most \(EndpointLimits.starCountMax) stars, and no control characters")
      return nil
    }
    return pattern
  }
}
