import JSON
package import Portal
import PortalHTTP

extension JSONWriter {
  package mutating func fields(of explanation: Explanation) {
    field("keyId", explanation.key?.key.id)
    field("accountId", explanation.key?.key.accountID)
    field("at", explanation.at)
    field("valid", explanation.code == .valid)
    field("code", explanation.code.rawValue)
    objects("checks", explanation.outcomes) { json, outcome in
      json.field("check", outcome.check.rawValue)
      json.field("code", outcome.code.rawValue)
      json.field("passed", json: outcome.isPassed.map { $0 ? "true" : "false" })
      json.object("saw") { json in
        if let key = explanation.key { json.fields(ofSeenBy: outcome.check, key, explanation) }
      }
    }
  }

  /// What a check compares: of the request, and of the key.
  private mutating func fields(ofSeenBy check: Explanation.Check, _ judged: JudgedKey, _ explanation: Explanation) {
    let (key, request) = (judged.key, explanation.request)
    switch check {
    case .exists: field("createdAt", judged.createdAt)
    case .environment:
      field("asked", request.environment?.rawValue)
      field("environment", key.environment.rawValue)
    case .api:
      field("asked", request.api?.text)
      field("apiIds", key.grants?.apiIDs?.map(\.text))
      field("slugs", key.grants?.apiSlugs)
    case .revoked: field("revokedAt", judged.revokedAt)
    case .suspended: field("suspendedAt", judged.suspendedAt)
    case .disabled: field("disabledAt", judged.disabledAt)
    case .expired: field("expiresAt", key.expiresAt)
    case .address:
      field("clientIP", request.clientIP?.description)
      field("allowedIPs", key.allowedIPs?.map(\.description))
    case .scopes:
      field("required", request.scopes)
      field("match", request.match.rawValue)
      field("resource", request.resource?.text)
      field("scopes", key.scopes)
      field("resourceScopes", request.resource.map { key.grants?.scopes(for: $0) ?? [] })
    case .permissions:
      field("required", request.permissions?.description)
      field("roles", key.grants?.roles ?? [])
      field("permissions", key.grants?.permissions ?? [])
    case .limits:
      field("cost", request.cost)
      if let limits = explanation.limits { fields(of: limits) } else { field("kept", false) }
    case .credits:
      field("cost", request.creditCost)
      switch explanation.credits {
      case .unlimited: field("remaining", nil as Int?)
      case .remaining(let remaining): field("remaining", remaining)
      case nil: field("kept", false)
      }
    }
  }
}
