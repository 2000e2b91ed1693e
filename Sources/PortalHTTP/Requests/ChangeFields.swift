package import Portal

/// The members of a change to a resource, which leaves alone what it does not name.
extension RequestFields {
  /// The value of a member that must not be null. Nil if the member is missing, and after a problem.
  package mutating func change<Value>(_ name: String, _ parse: (inout RequestFields) -> Value?) -> Value? {
    guard has(name) else { return nil }
    if takeNull(name) {
      refuse(name, "must not be null")
      return nil
    }
    return parse(&self)
  }

  /// The change that a member asks for. Null removes the setting.
  package mutating func removableChange<Value>(
    _ name: String, _ parse: (inout RequestFields) -> Value?
  ) -> OptionalChange<Value> {
    guard has(name) else { return .keep }
    if takeNull(name) { return .remove }
    // Nil after a problem, which has been recorded.
    return parse(&self).map { .set($0) } ?? .keep
  }
}
