package import Foundation
import JSON

/// A set of permissions that keys get together. A change of it takes effect for all keys that have it.
package struct CatalogRole: Sendable, Equatable {
  package static let permissionCountMax = 1_000

  package var id: UUID
  package var createdAt: Date
  package var settings: Settings
  /// The slugs of its permissions, sorted by their bytes.
  package var permissions: [String]

  package struct Settings: Sendable, Equatable {
    /// Accepted in place of the id.
    package var name: String
    package var description: String?

    package init(name: String, description: String? = nil) {
      self.name = name
      self.description = description
    }

    /// Whether nothing differs, not even the spelling of a letter of the description.
    func isIdentical(to other: Settings) -> Bool {
      name == other.name && description.map(ByteText.init) == other.description.map(ByteText.init)
    }
  }
}

/// Changes to a role; nil and `.keep` leave a setting unchanged.
package struct CatalogRoleChanges: Sendable, Equatable {
  package var name: String?
  package var description: OptionalChange<String>
  /// All permissions that the role has afterwards.
  package var permissions: [CatalogReference]?

  package init(
    name: String? = nil, description: OptionalChange<String> = .keep, permissions: [CatalogReference]? = nil
  ) {
    self.name = name
    self.description = description
    self.permissions = permissions
  }

  func applied(to old: CatalogRole.Settings) -> CatalogRole.Settings {
    var settings = old
    settings.name = name ?? old.name
    description.apply(to: &settings.description)
    return settings
  }
}
