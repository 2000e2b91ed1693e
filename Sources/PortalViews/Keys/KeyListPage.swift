package import Foundation
package import Portal

/// The account's keys, one page of them.
package struct KeyListPage: PortalPage {
  package let title = "Keys"
  package let section: Frame.Section? = .keys
  private let keys: [Key]
  private let form: FormState
  private let next: Link?
  private let mayChange: Bool
  private let now: Date

  /// `form` has the filter: `status`, `q` and `tag`.
  package init(_ keys: [Key], _ form: FormState, next: Link?, mayChange: Bool, at now: Date) {
    (self.keys, self.form, self.next, self.mayChange, self.now) = (keys, form, next, mayChange, now)
  }

  private static let statuses: [FormState.Option] =
    Key.Status.allCases.map { FormState.Option($0.rawValue, $0.rawValue) } + [FormState.Option("any", "any")]

  package var content: HTML {
    let create: HTML = "<a class=\"button\" href=\"/keys/new\">Create a key</a>"
    return """
      \(form.summary)<div class="bar"><form method="get" action="/keys" class="filters" role="search">
      \(form.line("q", "Name or start", .search, isShort: true))\(form.line("tag", "Tag", isShort: true))
      \(form.menu("status", "Status", Self.statuses))<button class="plain">Filter</button></form>
      \(when: mayChange, create)</div>\(keys.isEmpty ? empty : table)\(HTML.more(next))
      """
  }

  private var isFiltered: Bool {
    !form.value("q").isEmpty || !form.value("tag").isEmpty || !["active", "any"].contains(form.value("status"))
  }

  private var empty: HTML {
    if isFiltered {
      return """
        <div class="note"><p>No key matches. <a href="/keys?status=any">Show all keys</a></p></div>
        """
    }
    return """
      <div class="note"><p><strong>No \(when: form.value("status") == "active", "active ")keys yet.</strong> A key lets
      one program use the API in the name of this account. Make one for each program, so that you can replace or revoke
      it without touching the others.</p>
      <p><a href="/keys?status=any">Show revoked and expired keys, too</a></p></div>
      """
  }

  private var table: HTML {
    """
    <table class="cards"><caption>Newest first. Revoked and expired keys are shown with the status “any”.</caption>
    <thead><tr><th scope="col">Name</th><th scope="col">Status</th><th scope="col">Scopes</th>
    <th scope="col" class="number">Requests</th><th scope="col">Last used</th><th scope="col">Expires</th></tr></thead>
    <tbody>\(each: keys, row)</tbody></table>
    """
  }

  private func row(_ key: Key) -> HTML {
    let used: HTML = key.lastUsedAt.map { HTML.briefTime($0, at: now) } ?? "never"
    let expires: HTML = key.effectiveExpiresAt.map { HTML.briefTime($0, at: now) } ?? "never"
    return """
      <tr><th scope="row"><a href="/keys/\(key.id)">\(key.name)</a><br>
      <span class="quiet small">\(HTML.start(key))</span>
      \(each: key.tags, tag)</th>
      <td>\(HTML.status(key.status(at: now))) \(when: key.environment == .test, HTML.environment(.test))</td>
      <td data-label="Scopes">\(HTML.codes(key.scopes))</td>\(HTML.number(key.totalRequests, "Requests"))
      <td data-label="Last used">\(used)</td><td data-label="Expires">\(expires)</td></tr>

      """
  }

  private func tag(_ tag: String) -> HTML {
    "<a class=\"tag\" href=\"\(Link("/keys", query: ["tag": tag, "status": "any"]))\">\(tag)</a> "
  }
}
