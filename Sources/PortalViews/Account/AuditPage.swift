package import Foundation
package import Portal

/// The account's audit trail.
package struct AuditPage: PortalPage {
  package let title = "Audit trail"
  package let section: Frame.Section? = .audit
  private let events: [AuditEvent]
  private let form: FormState
  private let next: Link?
  private let now: Date

  /// `form` has the filter: `action`, `actor` and `target`.
  package init(_ events: [AuditEvent], _ form: FormState, next: Link?, at now: Date) {
    (self.events, self.form, self.next, self.now) = (events, form, next, now)
  }

  private static let actions =
    [FormState.Option("", "anything")]
    + AuditEvent.Action.allCases.map { FormState.Option($0.rawValue, AuditWords.sentence($0.rawValue)) }
  private static let actors = [
    FormState.Option("", "anybody"), FormState.Option("user", "members"), FormState.Option("token", "your backend"),
    FormState.Option("staff", "support"), FormState.Option("command", "the operator"),
    FormState.Option("job", "automatic"), FormState.Option("key", "holders of keys"),
  ]

  package var content: HTML {
    let target: HTML = """
      \(form.hidden("target"))<p class="quiet">Only about one key or person. <a href="/audit">Show all</a></p>
      """
    return """
      <p>Everything that was done in this account, by whom. Nothing in it can be changed or removed unnoticed. Support
      can read the account and stop keys, and is recorded here; it cannot act as you.</p>
      \(form.summary)<form method="get" action="/audit" class="filters">\(form.menu("action", "What", Self.actions))
      \(form.menu("actor", "Who", Self.actors))\(when: !form.value("target").isEmpty, target)
      <button class="plain">Filter</button></form>
      \(AuditTable(events: events, now: now).html)\(HTML.more(next))
      """
  }
}
