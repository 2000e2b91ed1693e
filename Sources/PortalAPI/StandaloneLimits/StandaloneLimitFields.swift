import Hummingbird
import Portal
import PortalHTTP

/// The members of bodies about standalone limits. Each function throws all problems together.
extension RequestFields {
  mutating func limitRequest(in namespace: String) throws -> (request: LimitRequest, mode: RateLimitMode) {
    let request = question(in: namespace)
    let mode = choice("mode", default: RateLimitMode.fast)
    return try finish(request) { ($0, mode) }
  }

  mutating func limitRequests() throws -> [LimitRequest] {
    let requests = required("requests") { fields in
      fields.optionalObjects("requests", 1...StandaloneLimit.requestCountMax) { fields in
        let namespace = fields.required("namespace") { $0.limitText("namespace") }
        return fields.question(in: namespace)
      }
    }
    return try finish(requests) { $0 }
  }

  mutating func limitOverride(
    _ context: CompanyContext
  ) throws -> (identifier: String, limit: WindowLimit, reason: SupportReason?) {
    let identifier = required("identifier") { $0.limitText("identifier") }
    let limit = windowLimit()
    let reason = reason(of: context)
    return try finish(identifier, limit) { ($0, $1, reason) }
  }

  /// The body of a deletion, which may be empty for a service token.
  mutating func limitDeletion(_ context: CompanyContext) throws -> SupportReason? {
    let reason = reason(of: context)
    try finish()
    return reason
  }

  private mutating func question(in namespace: String?) -> LimitRequest? {
    let identifier = required("identifier") { $0.limitText("identifier") }
    let limit = windowLimit()
    let cost = integer("cost", StandaloneLimit.costRange, default: 1)
    return Self.make(namespace, identifier, limit) {
      LimitRequest(namespace: $0, identifier: $1, limit: $2, cost: cost)
    }
  }

  private mutating func limitText(_ name: String) -> String? {
    guard let text = optionalString(name, 1...LimitText.lengthMax) else { return nil }
    guard LimitText.isValid(text) else {
      refuse(name, LimitText.problem)
      return nil
    }
    return text
  }

  private mutating func windowLimit() -> WindowLimit? {
    let limit = integer("limit", StandaloneLimit.limitRange)
    let milliseconds = integer("windowMilliseconds", StandaloneLimit.windowMillisecondsRange)
    if let milliseconds, !StandaloneLimit.isValid(windowMilliseconds: milliseconds) {
      refuse("windowMilliseconds", StandaloneLimit.windowProblem)
      return nil
    }
    return Self.make(limit, milliseconds) { WindowLimit(limit: $0, windowMilliseconds: $1) }
  }
}

extension RequestContext {
  /// The namespace in the path, decoded. A text that cannot be the name of a namespace is `.notFound`.
  var limitNamespace: String {
    get throws(PortalError) {
      guard let name = decodedNamespace else { throw .notFound }
      return name
    }
  }

  /// Like ``limitNamespace``, for a namespace that is made if there is none.
  var usedNamespace: String {
    get throws(InvalidRequest) {
      guard let name = decodedNamespace else {
        throw InvalidRequest(
          "path.namespace",
          "must be percent-encoded UTF-8 of 1 to \(LimitText.lengthMax) characters, without control characters")
      }
      return name
    }
  }

  private var decodedNamespace: String? {
    // A scalar takes up to four bytes, and each of them up to three characters.
    guard let text = parameters.get("namespace")?.utf8, text.count <= 12 * LimitText.lengthMax,
      let name = Query.decoded(text), LimitText.isValid(name)
    else { return nil }
    return name
  }
}
