/// The environment of an API key.
package enum KeyEnvironment: String, Sendable, CaseIterable {
  case live, test

  /// Whether it is within a caller's restriction to one environment; nil means no restriction.
  func isWithin(_ restriction: KeyEnvironment?) -> Bool { restriction == nil || restriction == self }
}
