package import Foundation
import JSON

/// The settings that a customer, or a backend for one, chooses when creating a key, and the prefix, the length and the
/// resources, which only a backend chooses.
package struct KeySettings: Sendable, Equatable {
  package var name: String
  package var environment: Key.Environment
  /// Only a backend may leave them empty.
  package var scopes: [String]
  /// Nil for none of its own, which only a backend may choose.
  package var rateLimitPerMinute: Int?
  /// In addition to the limit per minute.
  package var limits: [RateLimit]
  package var rateLimitMode: RateLimitMode
  package var allowedIPs: [AddressBlock]?
  package var expiresAt: Date?
  package var description: String?
  package var tags: [String]
  /// The text of a JSON object.
  package var metadata: String?
  /// The api that the key is for; nil: all.
  package var apiID: UUID?
  /// What the key begins with, and any successor; nil: as the api or the deployment says.
  package var prefix: String?
  /// The number of random bytes of the key, and of any successor; nil: as the api or the default says.
  package var byteLength: Int?
  /// Only a backend chooses them.
  package var resources: ResourceScopes

  package init(
    name: String, environment: Key.Environment = .live, scopes: [String],
    rateLimitPerMinute: Int? = Key.rateLimitPerMinuteDefault, limits: [RateLimit] = [],
    rateLimitMode: RateLimitMode = .fast, allowedIPs: [AddressBlock]? = nil, expiresAt: Date? = nil,
    description: String? = nil, tags: [String] = [], metadata: String? = nil, apiID: UUID? = nil,
    prefix: String? = nil, byteLength: Int? = nil, resources: ResourceScopes = .none
  ) {
    self.name = name
    self.environment = environment
    self.scopes = scopes
    self.rateLimitPerMinute = rateLimitPerMinute
    self.limits = limits
    self.rateLimitMode = rateLimitMode
    self.allowedIPs = allowedIPs
    self.expiresAt = expiresAt
    self.description = description
    self.tags = tags
    self.metadata = metadata
    self.apiID = apiID
    self.prefix = prefix
    self.byteLength = byteLength
    self.resources = resources
  }

  /// The settings of a key, which its successor inherits.
  package init(of key: Key) {
    self.init(
      name: key.name, environment: key.environment, scopes: key.scopes, rateLimitPerMinute: key.rateLimitPerMinute,
      limits: key.limits, rateLimitMode: key.rateLimitMode, allowedIPs: key.allowedIPs, expiresAt: key.expiresAt,
      description: key.description, tags: key.tags, metadata: key.metadata, apiID: key.apiID,
      prefix: key.prefix, byteLength: key.byteLength, resources: key.resources)
  }

  /// Whether nothing differs, not even the spelling of a letter. `==` treats two spellings as equal; see ``ByteText``.
  func isIdentical(to other: KeySettings) -> Bool {
    let (texts, otherTexts) = ([name, description, metadata], [other.name, other.description, other.metadata])
    return texts.map { $0.map(ByteText.init) } == otherTexts.map { $0.map(ByteText.init) } && self == other
  }
}

/// Changes to a key; nil and `.keep` leave a setting unchanged.
package struct KeyChanges: Sendable, Equatable {
  package var name: String?
  package var scopes: [String]?
  package var rateLimitPerMinute: OptionalChange<Int>
  package var limits: [RateLimit]?
  package var rateLimitMode: RateLimitMode?
  package var allowedIPs: OptionalChange<[AddressBlock]>
  package var expiresAt: OptionalChange<Date>
  package var description: OptionalChange<String>
  package var tags: [String]?
  package var metadata: OptionalChange<String>
  package var isEnabled: Bool?
  package var api: OptionalChange<CatalogReference>
  /// Only a backend may change what the successors of the key look like.
  package var prefix: OptionalChange<String>
  package var byteLength: OptionalChange<Int>
  /// All that the key has afterwards. Only a backend may change them.
  package var resources: ResourceScopes?
  /// Only a backend may change them.
  package var credits: CreditChange?

  package init(
    name: String? = nil, scopes: [String]? = nil, rateLimitPerMinute: OptionalChange<Int> = .keep,
    limits: [RateLimit]? = nil, rateLimitMode: RateLimitMode? = nil,
    allowedIPs: OptionalChange<[AddressBlock]> = .keep, expiresAt: OptionalChange<Date> = .keep,
    description: OptionalChange<String> = .keep, tags: [String]? = nil, metadata: OptionalChange<String> = .keep,
    isEnabled: Bool? = nil, api: OptionalChange<CatalogReference> = .keep, prefix: OptionalChange<String> = .keep,
    byteLength: OptionalChange<Int> = .keep, resources: ResourceScopes? = nil, credits: CreditChange? = nil
  ) {
    self.name = name
    self.scopes = scopes
    self.rateLimitPerMinute = rateLimitPerMinute
    self.limits = limits
    self.rateLimitMode = rateLimitMode
    self.allowedIPs = allowedIPs
    self.expiresAt = expiresAt
    self.description = description
    self.tags = tags
    self.metadata = metadata
    self.isEnabled = isEnabled
    self.api = api
    self.prefix = prefix
    self.byteLength = byteLength
    self.resources = resources
    self.credits = credits
  }

  /// The settings after all changes but those of the api and of credits.
  func applied(to old: KeySettings) -> KeySettings {
    var settings = old
    settings.name = name ?? old.name
    settings.scopes = scopes ?? old.scopes
    settings.limits = limits ?? old.limits
    settings.rateLimitMode = rateLimitMode ?? old.rateLimitMode
    settings.tags = tags ?? old.tags
    settings.resources = resources ?? old.resources
    rateLimitPerMinute.apply(to: &settings.rateLimitPerMinute)
    allowedIPs.apply(to: &settings.allowedIPs)
    expiresAt.apply(to: &settings.expiresAt)
    description.apply(to: &settings.description)
    metadata.apply(to: &settings.metadata)
    prefix.apply(to: &settings.prefix)
    byteLength.apply(to: &settings.byteLength)
    return settings
  }
}
