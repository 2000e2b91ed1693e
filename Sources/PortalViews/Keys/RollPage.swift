package import Foundation
package import Portal

/// Replacing a key by a new one with the same settings.
package struct RollPage: PortalPage {
  package let title: String
  package let section: Frame.Section? = .keys
  private let key: Key
  private let form: FormState
  private let now: Date

  package static let graces = [0, 3_600, 86_400, 604_800]

  /// `form` has `grace`, in seconds, and `once`, by which a repeat of the form is recognized.
  package init(_ key: Key, _ form: FormState, at now: Date) {
    title = "Roll \(key.name)"
    (self.key, self.form, self.now) = (key, form, now)
  }

  /// What has become of the old key.
  package static func done(_ old: Key, _ propagation: Propagation) -> HTML {
    if old.revokedAt != nil { return HTML.receipt(propagation, "The old key is refused by") }
    let end: HTML? = old.effectiveExpiresAt.map { " until \(HTML.time($0))" }
    return """
      <div class="note" role="status"><p><strong>The old key keeps working\(end).</strong> Put the new one where the old
      one is, watch <a href="/keys/\(old.id)">the old key's last use</a>, and <a href="/keys/\(old.id)/revoke">revoke
      it</a> as soon as it is quiet.</p></div>
      """
  }

  package var content: HTML {
    let used: HTML =
      key.lastUsedAt.map { "It was last used \(HTML.time($0, at: now))." } ?? "It has never been used."
    return """
      <p>You get a new key with the same name and settings. Put it where the old one is, and the old one ends when you
      say. \(used)</p>
      \(form.summary)<form method="post" action="/keys/\(key.id)/roll">
      \(form.choice("grace", "How long the old key keeps working", Self.options))\(form.hidden("once"))
      <p class="actions"><button>Roll the key</button> <a href="/keys/\(key.id)">Cancel</a></p></form>
      """
  }

  private static let options = graces.map { seconds in
    seconds == 0
      ? FormState.Option("0", "Not at all", hint: "For a key that is in wrong hands. What uses it stops at once.")
      : FormState.Option("\(seconds)", Counted.seconds(seconds))
  }
}
