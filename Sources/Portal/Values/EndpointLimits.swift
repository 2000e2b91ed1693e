import JSON

/// The limits that an api sets for its endpoints: for an endpoint's name, or a pattern of names with `*`, one for each
/// of some roles and one for all other keys.
package struct EndpointLimits: Sendable, Equatable {
  /// Patterns of an api.
  package static let countMax = 100
  /// In Unicode scalars.
  package static let patternLengthMax = 200
  package static let starCountMax = 10
  package static let roleCountMax = 50
  /// Of all limits of an api as ``json``.
  package static let byteCountMax = 64 << 10

  /// The limit of one pattern.
  package struct Entry: Sendable, Equatable {
    package let pattern: StarPattern
    /// For keys that have none of the roles.
    package let otherwise: WindowLimit
    /// By the name of the role.
    package let roles: [String: WindowLimit]

    package init(_ pattern: StarPattern, otherwise: WindowLimit, roles: [String: WindowLimit] = [:]) {
      self.pattern = pattern
      self.otherwise = otherwise
      self.roles = roles
    }

    /// The limit of a key: the highest of its roles, even if it is lower than that of keys without a role; the order
    /// of the roles does not matter.
    package func limit(roles held: [String]) -> WindowLimit {
      var highest: WindowLimit?
      for role in held {
        guard let limit = roles[role] else { continue }
        if highest.map({ limit.isHigher(than: $0) }) ?? true { highest = limit }
      }
      return highest ?? otherwise
    }
  }

  /// The most specific first: more literal bytes, then fewer stars, then the text that comes first by its bytes.
  package let entries: [Entry]

  /// The patterns are different from each other.
  package init(_ entries: [Entry]) {
    self.entries = entries.sorted { $0.pattern.isMoreSpecific(than: $1.pattern) }
  }

  /// A pattern of endpoints' names; nil if it is empty, too long or has too many stars.
  package static func pattern(_ text: String) -> StarPattern? {
    StarPattern(text, lengthMax: patternLengthMax, starCountMax: starCountMax)
  }

  /// The most specific entry for an endpoint's name. Allocates nothing.
  package func entry(for endpoint: String) -> Entry? {
    var endpoint = endpoint
    return endpoint.withUTF8 { endpoint in entries.first { $0.pattern.matches(endpoint) } }
  }
}

extension StarPattern {
  fileprivate func isMoreSpecific(than other: StarPattern) -> Bool {
    if literalCount != other.literalCount { return literalCount > other.literalCount }
    if starCount != other.starCount { return starCount < other.starCount }
    return ByteText(text) < ByteText(other.text)
  }
}
