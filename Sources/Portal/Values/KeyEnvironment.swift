/// The environment of an API key.
package enum KeyEnvironment: String, Sendable, CaseIterable {
  case live, test

  /// Whether it is one that somebody knows of who may be restricted to one; nil: to none.
  package func isWithin(_ restriction: KeyEnvironment?) -> Bool { restriction == nil || restriction == self }
}
