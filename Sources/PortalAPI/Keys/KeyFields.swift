import Foundation
import JSON
import Portal
import PortalHTTP

/// Parses a key's settings from a body: all of them for a new key, the changed ones for an existing key. Both functions
/// throw all problems together. Only a backend may name the api that a key is for, and what it looks like. It may leave
/// out what a customer's keys must have: scopes, and a limit per minute.
extension RequestFields {
  mutating func keySettings(
    at now: Date, byBackend: Bool
  ) throws -> (settings: KeySettings, api: CatalogReference?) {
    let name = typedLine("name", 1...Key.nameLengthMax)
    let scopes = required("scopes") { $0.scopes(byBackend) }
    let environment = choice("environment", default: Key.Environment.live)
    let isUnlimited = byBackend && takeNull("rateLimitPerMinute")
    let rateLimit = isUnlimited ? nil : rateLimitPerMinute() ?? Key.rateLimitPerMinuteDefault
    let limits = namedLimits()
    let mode = choice("rateLimitMode", default: RateLimitMode.fast)
    let (allowedIPs, expiresAt) = (addressBlocks(), futureDate("expiresAt", after: now))
    let (description, tags, metadata) = (keyDescription(), tags(), metadata())
    let api = byBackend ? apiReference("apiId") : nil
    let (prefix, byteLength) = byBackend ? (keyPrefix("prefix"), keyByteLength()) : (nil, nil)
    return try finish(name, scopes) { name, scopes in
      let settings = KeySettings(
        name: name, environment: environment, scopes: scopes, rateLimitPerMinute: rateLimit, limits: limits,
        rateLimitMode: mode, allowedIPs: allowedIPs, expiresAt: expiresAt, description: description, tags: tags,
        metadata: metadata, prefix: prefix, byteLength: byteLength)
      return (settings, api)
    }
  }

  mutating func keyChanges(at now: Date, byBackend: Bool) throws -> KeyChanges {
    let changes = KeyChanges(
      name: change("name") { $0.typedLine("name", 1...Key.nameLengthMax) },
      scopes: change("scopes") { $0.scopes(byBackend) },
      rateLimitPerMinute: byBackend
        ? removableChange("rateLimitPerMinute") { $0.rateLimitPerMinute() }
        : change("rateLimitPerMinute") { $0.rateLimitPerMinute() }.map { .set($0) } ?? .keep,
      limits: change("limits") { $0.namedLimits() },
      rateLimitMode: change("rateLimitMode") { $0.choice("rateLimitMode", default: RateLimitMode.fast) },
      allowedIPs: removableChange("allowedIPs") { $0.addressBlocks() },
      expiresAt: removableChange("expiresAt") { $0.futureDate("expiresAt", after: now) },
      description: removableChange("description") { $0.keyDescription() }, tags: change("tags") { $0.tags() },
      metadata: removableChange("metadata") { $0.metadata() },
      isEnabled: change("enabled") { $0.optionalBool("enabled") },
      api: byBackend ? removableChange("apiId") { $0.apiReference("apiId") } : .keep,
      prefix: byBackend ? removableChange("prefix") { $0.keyPrefix("prefix") } : .keep,
      byteLength: byBackend ? removableChange("byteLength") { $0.keyByteLength() } : .keep)
    try finish()
    return changes
  }

  private mutating func scopes(_ mayBeEmpty: Bool) -> [String]? {
    optionalList("scopes", (mayBeEmpty ? 0 : 1)...Scope.countMax, "must match ^[a-z0-9][a-z0-9:._*-]{0,63}$") {
      Scope.isValid($0) ? $0 : nil
    }
  }

  /// The scope patterns of a plan or a policy.
  mutating func optionalScopePatterns(_ name: String) -> [String]? {
    optionalList(name, 1...Scope.countMax, "must be * or match ^[a-z0-9][a-z0-9:._*-]{0,63}$") {
      Scope.isPattern($0) ? $0 : nil
    }
  }

  /// What keys begin with.
  mutating func keyPrefix(_ name: String) -> String? {
    guard let text = optionalString(name, 2...16) else { return nil }
    guard KeyFormat.isValid(prefix: text) else {
      refuse(name, "must match \(KeyFormat.prefixPattern)")
      return nil
    }
    return text
  }

  private mutating func keyByteLength() -> Int? { optionalInteger("byteLength", CatalogAPI.keyBytesRange) }

  private mutating func rateLimitPerMinute() -> Int? {
    optionalInteger("rateLimitPerMinute", 1...Key.rateLimitPerMinuteMax)
  }

  private mutating func addressBlocks() -> [AddressBlock]? {
    optionalList("allowedIPs", 1...AddressBlock.countMax, "must be an IPv4 or IPv6 address or CIDR block") {
      AddressBlock($0)
    }
  }

  mutating func futureDate(_ name: String, after now: Date) -> Date? {
    let date = optionalDate(name)
    if let date, date <= now { refuse(name, "must be in the future") }
    return date
  }

  private mutating func keyDescription() -> String? {
    optionalTypedLines("description", 0...Key.descriptionLengthMax)
  }

  private mutating func tags() -> [String] {
    var seen: Set<String> = []
    return optionalList(
      "tags", 0...KeyTag.countMax, "must match ^[a-z0-9][a-z0-9:._-]{0,31}$ and must not be repeated"
    ) { KeyTag.isValid($0) && seen.insert($0).inserted ? $0 : nil } ?? []
  }

  private mutating func metadata() -> String? {
    optionalObjectText("metadata", byteCountMax: Key.metadataByteCountMax, depthMax: Key.metadataDepthMax)
  }

  private mutating func namedLimits() -> [RateLimit] {
    var names: Set<String> = []
    return optionalObjects("limits", 0...RateLimit.countMax) { fields in
      let name = fields.string("name", 1...64)
      if !RateLimit.isValid(name: name ?? "") {
        fields.refuse("name", "must match ^[a-z][a-z0-9_-]{0,31}$ and be neither default nor account")
      } else if let name, !names.insert(name).inserted {
        fields.refuse("name", "must not be repeated")
      }
      return RequestFields.make(
        name, fields.integer("limit", 1...RateLimit.limitMax),
        fields.integer("windowSeconds", 1...RateLimit.windowSecondsMax)
      ) { RateLimit(name: $0, limit: $1, windowSeconds: $2) }
    } ?? []
  }
}
