import JSON

/// Scopes for single resources of the company's API, such as `project:123`. A key has them besides the scopes that it
/// has for everything.
package struct ResourceScopes: Sendable, Equatable {
  /// The most resources of one key.
  package static let countMax = 100
  /// The largest JSON object of them, in bytes, when written without spaces.
  package static let byteCountMax = 8 << 10
  package static let nameLengthMax = 128
  package static let namePattern = "^[A-Za-z0-9_.:@/+=~-]{1,128}$"

  package struct Entry: Sendable, Hashable {
    /// Matches ``namePattern``. Names are compared exactly.
    package var name: String
    package var scopes: [String]

    package init(name: String, scopes: [String]) {
      self.name = name
      self.scopes = scopes
    }
  }

  package static let none = ResourceScopes([])

  /// Sorted by the bytes of their names, which differ.
  package let entries: [Entry]

  package init(_ entries: [Entry]) {
    self.entries = entries.sorted { ByteText($0.name) < ByteText($1.name) }
  }

  package static func isValid(name: String) -> Bool {
    let bytes = name.utf8
    return (1...nameLengthMax).contains(bytes.count)
      && bytes.allSatisfy { byte in
        (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(byte | 0x20)
          || (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) || "_.:@/+=~-".utf8.contains(byte)
      }
  }

  package var isEmpty: Bool { entries.isEmpty }

  // MARK: JSON

  /// Such as `{"project:123":["read","write"]}`.
  package var text: String {
    JSONWriter.text(
      of: .object(entries.map { (name: $0.name, value: .array($0.scopes.map { .string($0) })) }))
  }

  /// Reads what ``text`` wrote. Nil for anything that is not an object of lists of strings.
  init?(text: String) {
    guard case .object(let members)? = try? JSONParser.parse(Array(text.utf8)) else { return nil }
    var entries: [Entry] = []
    for (name, value) in members {
      guard case .array(let values) = value else { return nil }
      var scopes: [String] = []
      for value in values {
        guard case .string(let scope) = value else { return nil }
        scopes.append(scope)
      }
      entries.append(Entry(name: name, scopes: scopes))
    }
    self.init(entries)
  }

  // MARK: Rules

  /// What of it these patterns allow. A resource without any allowed scope is left out.
  func intersection(_ patterns: [String]) -> ResourceScopes {
    ResourceScopes(
      entries.compactMap { entry in
        let scopes = Scope.intersection(entry.scopes, patterns)
        return scopes.isEmpty ? nil : Entry(name: entry.name, scopes: scopes)
      })
  }
}

/// How many of the scopes that a verification names a key must have.
package enum ScopeMatch: String, Sendable, CaseIterable {
  case all, any
}
