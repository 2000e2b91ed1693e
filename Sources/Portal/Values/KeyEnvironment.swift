import Foundation

/// The environment of an API key.
package enum KeyEnvironment: String, Sendable, CaseIterable {
  case live, test

  /// Whether it is within a caller's restriction to one environment; nil means no restriction.
  func isWithin(_ restriction: KeyEnvironment?) -> Bool { restriction == nil || restriction == self }
}

/// The api that a key is for; nil: all.
extension UUID? {
  /// Whether it is within a caller's restriction to some apis; nil means no restriction. A key for all apis is within
  /// every restriction.
  func isWithin(apis restriction: [UUID]?) -> Bool {
    guard let self, let restriction else { return true }
    return restriction.contains(self)
  }
}
