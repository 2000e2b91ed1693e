package import Portal

/// A new key, with its secret, which no later page has.
package struct RevealPage: PortalPage {
  package let title: String
  package let section: Frame.Section? = .keys
  private let key: Key
  private let secret: Secret?
  private let more: HTML?

  /// Without the secret, this is a repeat that may no longer show it. `more` says what else has happened.
  package init(_ key: Key, _ secret: Secret?, more: HTML? = nil) {
    title = secret == nil ? "The key has been made" : "Your new key"
    (self.key, self.secret, self.more) = (key, secret, more)
  }

  package var content: HTML {
    """
    \(more)\(secret.map(shown) ?? hidden)
    <p><a href="/keys/\(key.id)">To the settings and usage of \(key.name)</a></p>
    """
  }

  private func shown(_ secret: Secret) -> HTML {
    """
    <div class="note warn"><p><strong>Copy the key now.</strong> It is not kept here, only a fingerprint of it. For ten
    minutes, this page shows it again if you reload it; after that nobody can.</p></div>
    <pre class="secret" id="secret"><code>\(secret.reveal())</code></pre>
    <h2>Check your copy</h2>
    \(KeyCheckPage.form(key))
    """
  }

  private var hidden: HTML {
    """
    <div class="note warn"><p><strong>Its text is no longer shown.</strong> It was shown when the key was made. If
    nobody has it, <a href="/keys/\(key.id)/roll">roll the key</a>: you get a new one with the same settings.</p></div>
    """
  }
}

/// Says whether a copy is the key.
package struct KeyCheckPage: PortalPage {
  package let title = "Check your copy"
  package let section: Frame.Section? = .keys
  private let key: Key
  private let isSame: Bool

  package init(_ key: Key, isSame: Bool) { (self.key, self.isSame) = (key, isSame) }

  package var content: HTML {
    let good: HTML = """
      <div class="note good" role="status"><p><strong>That is the one.</strong> What you pasted is the key
      \(key.name).</p></div>
      """
    let bad: HTML = """
      <div class="note bad" role="alert"><p><strong>That is not the key.</strong> What you pasted is not \(key.name):
      something is missing, or it is another key. If its page is still open, copy it again; otherwise
      <a href="/keys/\(key.id)/roll">roll the key</a>.</p></div>
      """
    return """
      \(isSame ? good : bad)\(when: !isSame, Self.form(key))
      <p><a href="/keys/\(key.id)">To the settings and usage of \(key.name)</a></p>
      """
  }

  static func form(_ key: Key) -> HTML {
    let field = FormState().code(
      "copy", "What you copied",
      hint: "Paste it from where you stored it. It is compared with the fingerprint, and not kept.")
    return """
      <form method="post" action="/keys/\(key.id)/check">\(field)
      <p class="actions"><button class="plain">Compare</button></p></form>
      """
  }
}
