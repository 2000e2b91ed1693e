import Foundation
package import Portal

/// The settings of a new key, or of one that is changed.
package struct KeyFormPage: PortalPage {
  package let title: String
  package let section: Frame.Section? = .keys
  private let form: FormState
  private let plan: Plan
  private let key: Key?
  private let note: HTML?

  /// `form` also has `once`, by which a repeat of the form is recognized.
  package static func create(_ form: FormState, _ plan: Plan, note: HTML? = nil) -> KeyFormPage {
    KeyFormPage(title: "Create a key", form: form, plan: plan, key: nil, note: note)
  }

  /// `form` also has `revision`, the key's revision that the reader has seen.
  package static func edit(_ form: FormState, _ key: Key, note: HTML? = nil) -> KeyFormPage {
    KeyFormPage(title: "Edit \(key.name)", form: form, plan: key.rules.plan, key: key, note: note)
  }

  /// The key was changed by somebody else while the form was open. `differences` are the fields in which the form
  /// differs from the key as it is now.
  package static func conflict(_ differences: [FormState.Difference]) -> HTML {
    func item(_ difference: FormState.Difference) -> HTML {
      """
      <li>\(labels[difference.name] ?? difference.name): now \(difference.theirs.isEmpty ? "empty" : difference.theirs),
      in your form \(difference.mine.isEmpty ? "empty" : difference.mine)</li>
      """
    }
    if differences.isEmpty {
      return """
        <div class="note good" role="status"><p><strong>The key has these settings already.</strong></p></div>
        """
    }
    return """
      <div class="note warn" role="alert"><h2>Somebody has changed this key meanwhile</h2>
      <p>Your changes have not been saved. These fields differ:</p><ul>\(each: differences, item)</ul>
      <p>Save again to replace the values of now by yours.</p></div>
      """
  }

  private static let labels = [
    "name": "Name", "scopes": "Scopes", "rateLimitPerMinute": "Requests per minute",
    "allowedIPs": "Allowed addresses", "tags": "Tags", "description": "Description",
  ]

  package var content: HTML {
    let action: Link = key.map { "/keys/\($0.id)/edit" } ?? "/keys"
    let back: Link = key.map { "/keys/\($0.id)" } ?? "/keys"
    return """
      \(note)\(form.summary)<form method="post" action="\(action)">
      \(form.line("name", "Name", hint: "What will use the key, such as “billing worker”.", isRequired: true))
      \(when: key == nil, form.choice("environment", "Environment", Self.environments))
      \(form.lines("scopes", "Scopes", hint: scopesHint))
      \(expiry)
      \(form.line("rateLimitPerMinute", "Requests per minute", .number, hint: rateHint, isShort: true))
      \(form.lines("allowedIPs", "Allowed addresses", hint: Self.addressesHint))
      \(form.line("tags", "Tags", hint: "Words to group keys by, separated by spaces. May be empty."))
      \(form.lines("description", "Description", hint: "For your colleagues. May be empty."))
      \(form.hidden(key == nil ? "once" : "revision"))
      <p class="actions"><button>\(key == nil ? "Create the key" : "Save the changes")</button>
      <a href="\(back)">Cancel</a></p></form>
      """
  }

  private static let environments = [
    FormState.Option("live", "Live", hint: "For your product."),
    FormState.Option("test", "Test", hint: "For trying things out."),
  ]

  private static let addressesHint =
    "Addresses or blocks that may use the key, one on a line, such as 203.0.113.7 or 2001:db8::/32. Empty: all."

  private var scopesHint: String {
    let patterns = plan.scopes.contains("*") ? "" : " Your plan covers " + plan.scopes.joined(separator: ", ") + "."
    return "What the key may do, one on a line, such as orders:read. orders:* is everything that begins with orders:."
      + patterns
  }

  private var rateHint: String {
    let most = min(plan.rateLimitPerMinuteMax ?? Key.rateLimitPerMinuteMax, Key.rateLimitPerMinuteMax)
    return "From 1 to \(Counted.text(most))."
  }

  private var expiry: HTML {
    var options = [
      FormState.Option("30", "In 30 days"), FormState.Option("90", "In 90 days"),
      FormState.Option("365", "In a year"),
    ]
    .filter { option in Int(option.value).map { $0 <= plan.maxKeyLifetimeDays ?? $0 } ?? false }
    options.append(FormState.Option("on", "At the end of this day (UTC)"))
    if plan.maxKeyLifetimeDays == nil { options.append(FormState.Option("never", "Never")) }
    if let key {
      let now = key.expiresAt.map { HTML.timeText($0) } ?? "never"
      options.insert(FormState.Option("keep", "As it is: \(now)"), at: 0)
    }
    let hint = plan.maxKeyLifetimeDays.map {
      "Your plan allows at most \(Counted.text($0, "day", "days")) after the key is made."
    }
    return """
      \(form.choice("expires", "Expires", options, hint: hint))
      \(form.line("expiresOn", "Day", .date, hint: "Only with “at the end of this day”.", isShort: true))
      """
  }
}
