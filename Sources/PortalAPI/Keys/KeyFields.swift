import Foundation
import JSON
import Portal
import PortalHTTP

/// Parses a key's settings from a body: all of them for a new key, the changed ones for an existing key. Both functions
/// throw all problems together. Only a backend may set the resources and the credits of a key, and what it looks like.
/// It may leave out what a customer's keys must have: scopes, and a limit per minute.
extension RequestFields {
  mutating func keySettings(
    at now: Date, byBackend: Bool
  ) throws -> (settings: KeySettings, api: CatalogReference?, credits: CreditSettings?) {
    let name = typedLine("name", 1...Key.nameLengthMax)
    let scopes = required("scopes") { $0.scopes(byBackend) }
    let environment = choice("environment", default: Key.Environment.live)
    let isUnlimited = byBackend && takeNull("rateLimitPerMinute")
    let rateLimit = isUnlimited ? nil : rateLimitPerMinute() ?? Key.rateLimitPerMinuteDefault
    let limits = namedLimits()
    let mode = choice("rateLimitMode", default: RateLimitMode.fast)
    let (allowedIPs, expiresAt) = (addressBlocks(), futureDate("expiresAt", after: now))
    let (description, tags, metadata) = (keyDescription(), tags(), metadata())
    let api = apiReference("apiId")
    let (prefix, byteLength) = byBackend ? (keyPrefix("prefix"), keyByteLength()) : (nil, nil)
    let resources = byBackend ? optionalResources("resources") : nil
    let credits = byBackend ? newCredits() : nil
    return try finish(name, scopes) { name, scopes in
      let settings = KeySettings(
        name: name, environment: environment, scopes: scopes, rateLimitPerMinute: rateLimit, limits: limits,
        rateLimitMode: mode, allowedIPs: allowedIPs, expiresAt: expiresAt, description: description, tags: tags,
        metadata: metadata, prefix: prefix, byteLength: byteLength, resources: resources ?? .none)
      return (settings, api, credits)
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
      api: removableChange("apiId") { $0.apiReference("apiId") },
      prefix: byBackend ? removableChange("prefix") { $0.keyPrefix("prefix") } : .keep,
      byteLength: byBackend ? removableChange("byteLength") { $0.keyByteLength() } : .keep,
      resources: byBackend ? change("resources") { $0.optionalResources("resources") } : nil,
      credits: byBackend ? creditsChange() : nil)
    try finish()
    return changes
  }

  private mutating func scopes(_ mayBeEmpty: Bool) -> [String]? {
    optionalList("scopes", (mayBeEmpty ? 0 : 1)...Scope.countMax, "must match ^[a-z0-9][a-z0-9:._*-]{0,63}$") {
      Scope.isValid($0) ? $0 : nil
    }
  }

  /// An object whose members are lists of scopes. Nil if it is missing or null, and after a problem.
  mutating func optionalResources(_ name: String) -> ResourceScopes? {
    guard let value = value(name) else { return nil }
    guard case .object(let members) = value, members.count <= ResourceScopes.countMax else {
      refuse(name, "must be an object of at most \(ResourceScopes.countMax) members")
      return nil
    }
    var entries: [ResourceScopes.Entry] = []
    for (resource, value) in members {
      guard ResourceScopes.isValid(name: resource) else {
        refuse("\(name).\(resource.shortened())", "is not a resource: must match \(ResourceScopes.namePattern)")
        continue
      }
      guard case .array(let values) = value, (1...Scope.countMax).contains(values.count) else {
        refuse("\(name).\(resource)", "must be a list of 1 to \(Scope.countMax) entries")
        continue
      }
      var scopes: [String] = []
      for (index, value) in values.enumerated() {
        if case .string(let scope) = value, Scope.isValid(scope) {
          scopes.append(scope)
        } else {
          refuse("\(name).\(resource)[\(index)]", "must match ^[a-z0-9][a-z0-9:._*-]{0,63}$")
        }
      }
      entries.append(ResourceScopes.Entry(name: resource, scopes: scopes))
    }
    let resources = ResourceScopes(entries)
    guard resources.text.utf8.count <= ResourceScopes.byteCountMax else {
      refuse(name, "must be at most \(ResourceScopes.byteCountMax) bytes when written without spaces")
      return nil
    }
    return resources
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

  /// The named limits of a key or an account.
  mutating func namedLimits() -> [RateLimit] {
    var names: Set<String> = []
    return optionalObjects("limits", 0...RateLimit.countMax) { fields in
      let name = fields.string("name", 1...64)
      let isAutomatic = fields.optionalBool("autoApply") ?? true
      if !RateLimit.isValid(name: name ?? "") {
        fields.refuse("name", "must match ^[a-z][a-z0-9_-]{0,31}$ and be neither default nor account")
      } else if let name, !names.insert(name).inserted {
        fields.refuse("name", "must not be repeated")
      }
      if fields.has("bucket"), !fields.takeNull("bucket") {
        return RequestFields.make(name, fields.bucket()) {
          RateLimit(name: $0, bucket: $1, isAutomatic: isAutomatic)
        }
      }
      return RequestFields.make(
        name, fields.integer("limit", 1...RateLimit.limitMax),
        fields.required("windowMilliseconds") { $0.windowMilliseconds() }
      ) { RateLimit(name: $0, limit: $1, windowMilliseconds: $2, isAutomatic: isAutomatic) }
    } ?? []
  }

  private mutating func bucket() -> TokenBucket.Settings? {
    let bucket = object("bucket") { fields in
      RequestFields.make(
        fields.integer("size", 1...TokenBucket.Settings.sizeMax),
        fields.integer("refill", 1...TokenBucket.Settings.sizeMax),
        fields.integer("intervalMilliseconds", 1...TokenBucket.Settings.intervalMillisecondsMax)
      ) { TokenBucket.Settings(size: $0, refill: $1, intervalMilliseconds: $2) }
    }
    guard let bucket else { return nil }
    if !bucket.isFilledInTime { refuse("bucket", "must fill within ten years") }
    return bucket
  }

  /// The length of a window, in milliseconds or in seconds, or in both.
  private mutating func windowMilliseconds() -> Int? {
    let range = RateLimit.windowMillisecondsRange
    let milliseconds = optionalInteger("windowMilliseconds", range)
    let seconds = optionalInteger("windowSeconds", range.lowerBound / 1_000...range.upperBound / 1_000)
    guard let milliseconds else { return seconds.map { $0 * 1_000 } }
    if let seconds, seconds != RateLimit.seconds(milliseconds) {
      refuse("windowSeconds", "must be windowMilliseconds in seconds, rounded up")
    }
    return milliseconds
  }
}
