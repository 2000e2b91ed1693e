package import Foundation
package import Portal

/// Stopping a key, for a while or for ever.
package struct RevokePage: PortalPage {
  package let title: String
  package let section: Frame.Section? = .keys
  /// The days of usage that the page shows.
  package static let dayCount = 7

  private let key: Key
  private let report: UsageReport
  private let now: Date

  package init(_ key: Key, _ report: UsageReport, at now: Date) {
    title = "Stop \(key.name)"
    (self.key, self.report, self.now) = (key, report, now)
  }

  package var content: HTML {
    let used: HTML = key.lastUsedAt.map { HTML.time($0, at: now) } ?? "never"
    let disable: HTML = """
      <h2>For a while</h2><p>A disabled key is refused until you enable it again.</p>
      <form method="post" action="/keys/\(key.id)/disable"><button class="plain">Disable the key</button></form>
      """
    return """
      <p>What uses this key will be refused, within moments, on all servers.</p>
      <dl class="facts">\(HTML.fact("Key", "\(key.name), \(HTML.start(key))"))\(HTML.fact("Last used", used))
      \(HTML.fact("Requests in \(Self.dayCount) days", "\(Counted.text(report.summary.totalRequests))"))</dl>
      \(EndpointTable(endpoints: report.endpoints).html)
      \(when: key.disabledAt == nil, disable)
      <h2>For ever</h2><p>A revoked key never works again. This cannot be undone.</p>
      <form method="post" action="/keys/\(key.id)/revoke"><button class="danger">Revoke the key</button></form>
      <p><a href="/keys/\(key.id)">Leave it as it is</a></p>
      """
  }
}
