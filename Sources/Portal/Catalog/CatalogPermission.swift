package import Foundation
import JSON

/// What the company grants to keys, directly or by roles. A scope, on the other hand, is what a customer chooses for a
/// key.
package struct CatalogPermission: Sendable, Equatable {
  package static let descriptionLengthMax = 500

  package var id: UUID
  package var createdAt: Date
  package var settings: Settings

  package struct Settings: Sendable, Equatable {
    /// Accepted in place of the id, and what verifications name.
    package var slug: String
    package var description: String?

    package init(slug: String, description: String? = nil) {
      self.slug = slug
      self.description = description
    }

    /// Whether nothing differs, not even the spelling of a letter of the description.
    func isIdentical(to other: Settings) -> Bool {
      slug == other.slug && description.map(ByteText.init) == other.description.map(ByteText.init)
    }
  }
}

/// Changes to a permission; nil and `.keep` leave a setting unchanged.
package struct CatalogPermissionChanges: Sendable, Equatable {
  package var slug: String?
  package var description: OptionalChange<String>

  package init(slug: String? = nil, description: OptionalChange<String> = .keep) {
    self.slug = slug
    self.description = description
  }

  func applied(to old: CatalogPermission.Settings) -> CatalogPermission.Settings {
    var settings = old
    settings.slug = slug ?? old.slug
    description.apply(to: &settings.description)
    return settings
  }
}
