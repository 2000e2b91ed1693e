import JSON
import Portal
import PortalHTTP

/// One question of a batch. Its problems are reported in its own result and do not refuse the other questions.
enum BatchItem {
  /// The maximum number of problems reported for a question.
  static let problemCountMax = 8

  case question(VerificationRequest, Secret)
  case invalid([RequestProblem])

  var question: VerificationRequest? { if case .question(let question, _) = self { question } else { nil } }
}

extension RequestFields {
  mutating func batchItems(_ hash: (Secret) -> SecretHash?, _ token: ServiceToken) -> [BatchItem]? {
    objects("requests", 1...VerificationController.batchCountMax) { object in
      switch object {
      case .problem(let problem): return .invalid([problem])
      case .fields(var fields):
        let asked = fields.verification(hash)
        let problems = fields.finalProblems
        guard problems.isEmpty, let asked else {
          return .invalid(Array(problems.prefix(BatchItem.problemCountMax)))
        }
        var question = asked.question
        question.restrict(to: token)
        return .question(question, asked.key)
      }
    }
  }

  /// Any text presented as a key. Nil if it is missing or not a string, after recording the problem.
  private mutating func presentedKey(_ name: String) -> Secret? {
    switch value(name) {
    case .string(let text)?: return Secret(presented: text)
    case nil: refuse(name, "is required")
    default: refuse(name, "must be a string")
    }
    return nil
  }

  /// The question and the presented key, which is looked up by `hash` of it. Nil after a problem with the key. There
  /// may be other problems.
  mutating func verification(_ hash: (Secret) -> SecretHash?) -> (question: VerificationRequest, key: Secret)? {
    let key = presentedKey("key")
    let question = question()
    return key.map { key in
      var question = question
      question.hash = hash(key)
      return (question, key)
    }
  }

  /// What is asked about a key, whichever it is.
  mutating func question() -> VerificationRequest {
    var scopes = optionalList("scopes", 0...Scope.countMax, "must be a scope") { Scope.isValid($0) ? $0 : nil } ?? []
    if let scope = optionalString("scope", 1...Scope.lengthMax) {
      if Scope.isValid(scope) { scopes.append(scope) } else { refuse("scope", "must be a scope") }
    }
    var clientIP: AddressBlock?
    if let text = optionalString("clientIP", 1...64) {
      clientIP = AddressBlock(text)
      if clientIP?.isSingleAddress != true { refuse("clientIP", "must be an IPv4 or IPv6 address") }
    }
    let endpoint = optionalString("endpoint", 1...VerificationRequest.endpointLengthMax)
    let cost = integer("cost", 1...VerificationRequest.costMax, default: 1)
    let (api, permissions, limits) = (apiReference("api"), permissionQuery(), limitAsks())
    let (resource, match) = (resource(of: scopes), choice("match", default: ScopeMatch.all))
    let creditCost = optionalObject("credits") { fields in
      fields.integer("cost", 0...VerificationRequest.creditCostMax, default: 1)
    }
    return VerificationRequest(
      hash: nil, scopes: scopes, clientIP: clientIP, endpoint: endpoint ?? VerificationRequest.endpointDefault,
      cost: cost, api: api, permissions: permissions, limits: limits, resource: resource,
      match: match, creditCost: creditCost ?? 1)
  }

  /// Only scopes are judged by it, so it would mean nothing without any.
  private mutating func resource(of scopes: [String]) -> String? {
    guard let resource = optionalString("resource", 1...ResourceScopes.nameLengthMax) else { return nil }
    if !ResourceScopes.isValid(name: resource) {
      refuse("resource", "must match \(ResourceScopes.namePattern)")
    } else if scopes.isEmpty {
      refuse("resource", "requires scopes")
    }
    return resource
  }

  private mutating func limitAsks() -> [LimitAsk] {
    var names: Set<String> = []
    return optionalObjects("limits", 0...RateLimit.countMax) { fields in
      let isOwn = ["limit", "windowMilliseconds"].map { fields.has($0) && !fields.takeNull($0) }.contains(true)
      let name = fields.required("name") { $0.limitName(mayBeReserved: !isOwn) }
      if let name, !names.insert(name).inserted { fields.refuse("name", "must not be repeated") }
      let cost = fields.optionalInteger("cost", 0...LimitAsk.costMax)
      guard isOwn else { return name.map { LimitAsk(name: $0, cost: cost) } }
      return RequestFields.make(
        name, fields.integer("limit", 1...RateLimit.limitMax),
        fields.integer("windowMilliseconds", RateLimit.windowMillisecondsRange)
      ) { LimitAsk(name: $0, cost: cost, own: WindowLimit(limit: $1, windowMilliseconds: $2)) }
    } ?? []
  }

  /// The name of a limit. The reserved names are those of the limits per minute.
  private mutating func limitName(mayBeReserved: Bool) -> String? {
    guard let name = optionalString("name", 1...RateLimit.nameLengthMax) else { return nil }
    if RateLimit.isValid(name: name) || mayBeReserved && RateLimit.isReserved(name: name) { return name }
    refuse("name", "must match ^[a-z][a-z0-9_-]{0,31}$" + (mayBeReserved ? "" : " and be neither default nor account"))
    return nil
  }

  private mutating func permissionQuery() -> PermissionQuery? {
    guard let text = optionalString("permissions", 1...PermissionQuery.lengthMax) else { return nil }
    do throws(PermissionQuery.Problem) { return try PermissionQuery(text) } catch {
      refuse("permissions", error.message)
      return nil
    }
  }
}

extension VerificationRequest {
  /// Restricts the keys that can be found to those that the service token may see.
  mutating func restrict(to token: ServiceToken) {
    environment = token.environment
    if let bound = token.apiIDs { apiIDs = bound }
  }
}
