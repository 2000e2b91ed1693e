package import Foundation
package import Portal

/// A key: what it may do, and what it has done.
package struct KeyPage: PortalPage {
  package let title: String
  package let section: Frame.Section? = .keys
  private let key: Key
  private let report: UsageReport
  private let history: [AuditEvent]
  private let mayChange: Bool
  private let note: HTML?
  private let now: Date

  /// `history` are the latest events about the key.
  package init(
    _ key: Key, _ report: UsageReport, history: [AuditEvent], mayChange: Bool, note: HTML? = nil, at now: Date
  ) {
    title = key.name
    (self.key, self.report, self.history) = (key, report, history)
    (self.mayChange, self.note, self.now) = (mayChange, note, now)
  }

  /// What has just been done to the key.
  package static func done(_ deed: String, _ propagation: Propagation) -> HTML { HTML.receipt(propagation, deed) }

  /// Why a disabled key cannot be enabled.
  package static func refused(_ problems: [FieldProblem]) -> HTML {
    func item(_ problem: FieldProblem) -> HTML { "<li>\(FieldWords.label(problem.field)) \(problem.message)</li>" }
    return """
      <div class="note bad" role="alert"><h2>The key cannot be enabled as it is</h2><ul>\(each: problems, item)</ul>
      <p>Edit it first.</p></div>
      """
  }

  private var status: Key.Status { key.status(at: now) }

  package var content: HTML {
    """
    \(note)<p>\(HTML.status(status)) \(HTML.environment(key.environment)) \(HTML.start(key))</p>
    \(when: !key.policyViolations.isEmpty, violations)\(when: mayChange, actions)
    <dl class="facts">\(facts)</dl>
    <h2>Usage in the last 30 days</h2>\(UsageFigures(totals: report.summary).html)\(UsageChart(report: report).html)
    \(EndpointTable(endpoints: report.endpoints).html)
    <h2>What was done with the key</h2>\(AuditTable(events: history, now: now).html)
    <p><a href="/audit?target=\(key.id)">All events about this key</a></p>
    """
  }

  private var violations: HTML {
    func item(_ problem: FieldProblem) -> HTML { "<li>\(FieldWords.label(problem.field)) \(problem.message)</li>" }
    return """
      <div class="note warn"><h2>The key does not follow the account's rules</h2>
      <p>It was made before the rules were, and keeps working.</p><ul>\(each: key.policyViolations, item)</ul></div>
      """
  }

  private var actions: HTML {
    if key.revokedAt != nil { return "" }
    let roll: HTML = "<a class=\"button plain\" href=\"/keys/\(key.id)/roll\">Roll</a>"
    let mayRoll = status == .active && key.rolledAt == nil
    let enable: HTML = """
      <form method="post" action="/keys/\(key.id)/enable"><button class="plain">Enable</button></form>
      """
    return """
      <div class="actions"><a class="button" href="/keys/\(key.id)/edit">Edit</a> \(when: mayRoll, roll)
      \(when: key.disabledAt != nil, enable)
      <a class="button plain" href="/keys/\(key.id)/revoke">Disable or revoke</a></div>
      """
  }

  private var facts: HTML {
    let expiry: HTML = key.effectiveExpiresAt.map { HTML.time($0, at: now) } ?? "never"
    let isCapped = key.effectiveExpiresAt != key.expiresAt
    let used: HTML = key.lastUsedAt.map { HTML.time($0, at: now) } ?? "never"
    let creator: HTML? = key.createdBy.map { "<br><span class=\"quiet\">by \($0.name)</span>" }
    let revoked: HTML? = key.revokedAt.map { HTML.fact("Revoked", HTML.time($0, at: now)) }
    let rolled: HTML? = key.rolledAt.map { HTML.fact("Rolled", HTML.time($0, at: now)) }
    let description: HTML? = key.description.map { HTML.fact("Description", "\($0)") }
    let metadata: HTML? = key.metadata.map { HTML.fact("Metadata", "<code>\($0)</code>") }
    let api: HTML? = key.apiID.map { HTML.fact("Only for the API", "<code>\($0)</code>") }
    let addresses: HTML = key.allowedIPs.map { HTML.codes($0.map(\.description)) } ?? "all"
    return """
      \(revoked)\(rolled)\(HTML.fact("Last used", used))
      \(HTML.fact("Expires", "\(expiry)\(when: isCapped, " <span class=\"quiet small\">by your plan</span>")"))
      \(HTML.fact("Scopes", scopes))\(HTML.fact("Limits", limits))\(HTML.fact("Allowed addresses", addresses))\(api)
      \(when: !key.roles.isEmpty, HTML.fact("Roles", HTML.codes(key.roles)))
      \(when: !key.effectivePermissions.isEmpty, HTML.fact("Permissions", permissions))
      \(when: !key.tags.isEmpty, HTML.fact("Tags", HTML.codes(key.tags)))\(description)\(metadata)
      \(HTML.fact("Created", "\(HTML.time(key.createdAt, at: now))\(creator)"))
      """
  }

  private var scopes: HTML {
    if key.scopes.isEmpty { return "none" }
    let effective = key.effectiveScopes
    let rest: HTML = effective.isEmpty ? "none of them" : HTML.codes(effective)
    let narrowed: HTML = "<br><span class=\"quiet small\">Your plan leaves \(rest)</span>"
    return "\(HTML.codes(key.scopes))\(when: effective != key.scopes, narrowed)"
  }

  private var limits: HTML {
    func line(_ limit: RateLimit) -> HTML {
      """
      <br>\(Counted.text(limit.limit)) in \(Counted.seconds(limit.windowSeconds)) \
      <span class="quiet">(\(limit.name))</span>
      """
    }
    let minute: HTML =
      key.effectiveRateLimitPerMinute.map { "\(Counted.text($0, "request", "requests")) per minute" }
      ?? "no limit per minute"
    let isCapped = key.effectiveRateLimitPerMinute != key.rateLimitPerMinute
    return """
      \(minute)\(when: isCapped, " <span class=\"quiet small\">by your plan</span>")\(each: key.limits, line)\
      \(when: key.rateLimitMode == .consistent, "<br>never exceeded, whichever server is asked")
      """
  }

  private var permissions: HTML {
    """
    \(HTML.codes(key.effectivePermissions))<br><span class="quiet small">The company that runs this API grants roles and
    permissions.</span>
    """
  }
}

extension HTML {
  /// A term and what is known about it.
  static func fact(_ term: String, _ value: HTML) -> HTML { "<dt>\(term)</dt><dd>\(value)</dd>\n" }
}
