import JSON
import Portal
import PortalHTTP

extension JSONWriter {
  mutating func fields(of verdict: Verdict) {
    if verdict.isValid {
      piece(#""valid":true,"code":"VALID""#)
    } else {
      piece(#""valid":false,"code":"#, verdict.code.rawValue)
    }
    guard let (key, limits) = verdict.found else { return }
    piece(#","keyId":""#, key.id)
    piece(#"","accountId":""#, key.accountID)
    piece(#"","name":"#, key.name)
    piece(#","environment":"#, key.environment.rawValue)
    field("scopes", key.scopes)
    field("expiresAt", key.expiresAt)
    if let first = limits.first, let binding = limits.binding {
      piece(#","rateLimit":{"limit":"#, binding)
      piece(#","limits":[{"name":"#, first)
      for standing in limits.others { piece(#",{"name":"#, standing) }
      piece("]")
    } else {
      piece(#","rateLimit":null,"limits":[]"#)
    }
    if let grants = key.grants { fields(of: grants) }
    if let credits = verdict.credits {
      piece(#","credits":{"remaining":"#, credits.remaining)
      piece("}")
    }
    // Null if waiting would not help.
    if verdict.code == .rateLimited { field("retryAfterSeconds", limits.binding?.retryAfterSeconds) }
    if verdict.code == .usageExceeded { field("retryAfterSeconds", verdict.credits?.retryAfterSeconds) }
  }

  private mutating func fields(of grants: KeyGrants) {
    if !grants.roles.isEmpty { field("roles", grants.roles) }
    if !grants.permissions.isEmpty { field("permissions", grants.permissions) }
  }

  /// The result of an invalid question of a batch.
  mutating func fields(ofInvalid problems: [RequestProblem]) {
    piece(#""valid":false,"code":"INVALID_REQUEST""#)
    objects("errors", problems) { $0.fields(of: $1) }
  }

  private mutating func piece(_ text: StaticString, _ standing: RateLimitDecision.Standing) {
    piece(text, standing.shortName)
    switch standing.owner {
    case .key: break
    case .account: if !RateLimit.isReserved(name: standing.limit.name) { piece(#","shared":true"#) }
    case .api: piece(#","endpoint":"#, standing.limit.name)
    }
    piece(#","windowSeconds":"#, standing.limit.windowSeconds)
    if standing.limit.bucket == nil, standing.limit.windowMilliseconds % 1_000 != 0 {
      piece(#","windowMilliseconds":"#, standing.limit.windowMilliseconds)
    }
    piece(#","limit":"#, standing.window)
  }

  private mutating func piece(_ text: StaticString, _ window: SlidingWindow.Decision) {
    piece(text, window.limit)
    piece(#","remaining":"#, window.remaining)
    piece(#","resetSeconds":"#, window.resetSeconds)
    piece("}")
  }
}
