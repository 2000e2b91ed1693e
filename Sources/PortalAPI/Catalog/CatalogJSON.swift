import JSON
package import Portal

extension JSONWriter {
  package mutating func fields(of api: CatalogAPI) {
    field("id", api.id)
    field("slug", api.settings.slug)
    field("name", api.settings.name)
    field("keyPrefix", api.settings.keyPrefix)
    field("keyBytes", api.settings.keyBytes)
    field("isProtected", api.settings.isProtected)
    field("endpointLimits", json: api.settings.endpointLimits.json)
    field("createdAt", api.createdAt)
  }

  package mutating func fields(of permission: CatalogPermission) {
    field("id", permission.id)
    field("slug", permission.settings.slug)
    field("description", permission.settings.description)
    field("createdAt", permission.createdAt)
  }

  package mutating func fields(of role: CatalogRole) {
    field("id", role.id)
    field("name", role.settings.name)
    field("description", role.settings.description)
    field("permissions", role.permissions)
    field("createdAt", role.createdAt)
  }
}
