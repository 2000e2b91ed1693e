package import Foundation
import JSON

/// An API of the company that keys give access to. A key is for one api or for all.
package struct CatalogAPI: Sendable, Equatable {
  package static let nameLengthMax = 100
  package static let keyBytesRange = 16...255
  package static let keyBytesDefault = 32

  package var id: UUID
  package var createdAt: Date
  package var settings: Settings

  package struct Settings: Sendable, Equatable {
    /// Accepted in place of the id.
    package var slug: String
    package var name: String
    /// What new keys for it begin with; nil: the deployment's prefix.
    package var keyPrefix: String?
    /// The number of random bytes of new keys for it.
    package var keyBytes: Int
    /// Whether it cannot be deleted.
    package var isProtected: Bool
    package var endpointLimits: EndpointLimits

    package init(
      slug: String, name: String, keyPrefix: String? = nil, keyBytes: Int = keyBytesDefault, isProtected: Bool = false,
      endpointLimits: EndpointLimits = EndpointLimits([])
    ) {
      self.slug = slug
      self.name = name
      self.keyPrefix = keyPrefix
      self.keyBytes = keyBytes
      self.isProtected = isProtected
      self.endpointLimits = endpointLimits
    }

    /// Whether nothing differs, not even the spelling of a letter of the name.
    func isIdentical(to other: Settings) -> Bool { name.hasSameBytes(as: other.name) && self == other }
  }
}

/// Changes to an api; nil and `.keep` leave a setting unchanged.
package struct CatalogAPIChanges: Sendable, Equatable {
  package var slug: String?
  package var name: String?
  package var keyPrefix: OptionalChange<String>
  package var keyBytes: Int?
  package var isProtected: Bool?
  package var endpointLimits: EndpointLimits?

  package init(
    slug: String? = nil, name: String? = nil, keyPrefix: OptionalChange<String> = .keep, keyBytes: Int? = nil,
    isProtected: Bool? = nil, endpointLimits: EndpointLimits? = nil
  ) {
    self.slug = slug
    self.name = name
    self.keyPrefix = keyPrefix
    self.keyBytes = keyBytes
    self.isProtected = isProtected
    self.endpointLimits = endpointLimits
  }

  func applied(to old: CatalogAPI.Settings) -> CatalogAPI.Settings {
    var settings = old
    settings.slug = slug ?? old.slug
    settings.name = name ?? old.name
    keyPrefix.apply(to: &settings.keyPrefix)
    settings.keyBytes = keyBytes ?? old.keyBytes
    settings.isProtected = isProtected ?? old.isProtected
    settings.endpointLimits = endpointLimits ?? old.endpointLimits
    return settings
  }
}
