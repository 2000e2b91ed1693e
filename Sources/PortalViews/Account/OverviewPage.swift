package import Foundation
package import Portal

/// What needs attention, what has happened, and what to do first.
package struct OverviewPage: PortalPage {
  package let title = "Overview"
  package let section: Frame.Section? = .overview
  private let keys: [Key]
  private let hasMoreKeys: Bool
  private let report: UsageReport
  private let events: [AuditEvent]
  private let mayChange: Bool
  private let now: Date

  private static let expiryDays = 14
  private static let idleDays = 90

  /// `keys` are the newest active keys, and not all of them if `hasMoreKeys`. `events` are the latest of the trail.
  package init(
    keys: [Key], hasMoreKeys: Bool, report: UsageReport, events: [AuditEvent], mayChange: Bool, at now: Date
  ) {
    (self.keys, self.hasMoreKeys, self.report, self.events) = (keys, hasMoreKeys, report, events)
    (self.mayChange, self.now) = (mayChange, now)
  }

  package var content: HTML {
    """
    \(keys.isEmpty ? first : attention)
    <h2>Requests in the last 30 days</h2>\(UsageFigures(totals: report.summary).html)\(UsageChart(report: report).html)
    <p><a href="/usage">Usage in detail</a></p>
    <h2>Latest events</h2>\(AuditTable(events: events, now: now).html)<p><a href="/audit">The audit trail</a></p>
    """
  }

  private var first: HTML {
    let create: HTML = "<p class=\"actions\"><a class=\"button\" href=\"/keys/new\">Create the first key</a></p>"
    return """
      <div class="note"><p><strong>There is no active key.</strong> A key lets one program use the API in the name of
      this account.</p>\(when: mayChange, create)</div>
      """
  }

  private var attention: HTML {
    let expiring = keys.filter { key in
      key.effectiveExpiresAt.map { $0 <= now.adding(days: Self.expiryDays) } ?? false
    }
    let idle = keys.filter { ($0.lastUsedAt ?? $0.createdAt) < now.adding(days: -Self.idleDays) }
    let wrong = keys.filter { !$0.policyViolations.isEmpty }
    if expiring.isEmpty, idle.isEmpty, wrong.isEmpty {
      return """
        <div class="note good"><p><strong>Nothing needs you.</strong> No active key expires within \(Self.expiryDays)
        days, is unused for \(Self.idleDays), or breaks the account's rules.\(when: hasMoreKeys, checked)</p></div>
        """
    }
    return """
      <div class="note warn"><h2>What needs you</h2>\(list("Expires soon", expiring))\
      \(list("Unused for \(Self.idleDays) days", idle))\(list("Breaks the account's rules", wrong))
      \(when: hasMoreKeys, "<p>\(checked)</p>")</div>
      """
  }

  private var checked: HTML { " Only the \(Counted.text(keys.count)) newest active keys were looked at." }

  private func list(_ title: String, _ keys: [Key]) -> HTML {
    if keys.isEmpty { return "" }
    func item(_ key: Key) -> HTML {
      let expiry: HTML? = key.effectiveExpiresAt.map { ", expires \(HTML.briefTime($0, at: now))" }
      return "<li><a href=\"/keys/\(key.id)\">\(key.name)</a>\(expiry)</li>"
    }
    return "<p><strong>\(title)</strong></p><ul>\(each: keys, item)</ul>"
  }
}
