import Foundation
import Portal

/// Events of an audit trail, newest first.
struct AuditTable {
  let events: [AuditEvent]
  let now: Date

  var html: HTML {
    if events.isEmpty { return "<p>Nothing has been recorded.</p>" }
    return """
      <table class="cards"><thead><tr><th scope="col">When</th><th scope="col">What</th><th scope="col">Who</th>
      </tr></thead><tbody>\(each: events, row)</tbody></table>
      """
  }

  private func row(_ event: AuditEvent) -> HTML {
    let detail: HTML? = event.detail.map { "<br><span class=\"quiet small\">\($0)</span>" }
    let reason: HTML? = event.reason.map { "<br><span class=\"small\">“\($0)”</span>" }
    let ticket: HTML? = event.ticket.map { " <span class=\"quiet small\">\($0)</span>" }
    let place: HTML? = event.ip.map { "<br><span class=\"quiet small\">from \($0)</span>" }
    let kind: HTML = "<br><span class=\"quiet small\">\(Self.kinds[event.actorKind] ?? event.actorKind)</span>"
    return """
      <tr><td>\(HTML.time(event.at, at: now))</td>
      <td>\(AuditWords.sentence(event.action)) \(target(event))\(detail)\(reason)\(ticket)</td>
      <td>\(event.actorName)\(when: event.actorKind != "user", kind)\(place)</td></tr>

      """
  }

  private func target(_ event: AuditEvent) -> HTML {
    guard event.targetKind == "key", let id = event.targetID else { return "" }
    return "<a href=\"/keys/\(id)\">to the key</a>"
  }

  private static let kinds = [
    "staff": "support", "command": "operator", "job": "automatic", "token": "your backend", "key": "the key itself",
  ]
}

/// The actions of the audit trail in plain words.
package enum AuditWords {
  package static func sentence(_ action: String) -> String {
    let words = action.split(separator: ".", maxSplits: 1).map { $0.replacing("_", with: " ") }
    guard words.count == 2 else { return action }
    return words[0].prefix(1).uppercased() + words[0].dropFirst() + " " + words[1]
  }
}
