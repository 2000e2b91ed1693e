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

  /// The question and the presented key, which is looked up by `hash` of it. Nil after a problem with the key. There may
  /// be other problems.
  mutating func verification(_ hash: (Secret) -> SecretHash?) -> (question: VerificationRequest, key: Secret)? {
    let key = presentedKey("key")
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
    let (api, permissions) = (apiReference("api"), permissionQuery())
    return key.map {
      let question = VerificationRequest(
        hash: hash($0), scopes: scopes, clientIP: clientIP,
        endpoint: endpoint ?? VerificationRequest.endpointDefault, cost: cost, api: api, permissions: permissions)
      return (question, $0)
    }
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
