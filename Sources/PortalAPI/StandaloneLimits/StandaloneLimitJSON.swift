import JSON
package import Portal

extension JSONWriter {
  mutating func fields(of answer: LimitAnswer) {
    let window = answer.standing.window
    field("allowed", answer.isAllowed)
    field("limit", answer.limit.limit)
    field("windowMilliseconds", answer.limit.windowMilliseconds)
    field("remaining", window.remaining)
    field("resetSeconds", window.resetSeconds)
    // Null if waiting would not help.
    if !answer.isAllowed { field("retryAfterSeconds", window.retryAfterSeconds) }
    field("overrideId", answer.overrideID)
  }

  package mutating func fields(of namespace: LimitNamespace) {
    field("name", namespace.name)
    field("createdAt", namespace.createdAt)
  }

  package mutating func fields(of override: NamespaceOverride) {
    field("id", override.id)
    field("identifier", override.identifier)
    field("limit", override.limit.limit)
    field("windowMilliseconds", override.limit.windowMilliseconds)
    field("createdAt", override.createdAt)
  }
}
