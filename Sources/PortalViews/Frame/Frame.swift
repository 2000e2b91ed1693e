/// What surrounds a page: the reader, and the part of the portal that they are in.
package struct Frame: Sendable {
  /// A person who is signed in.
  package struct Reader: Sendable {
    package var email: String
    package var accountName: String
    package var isSuspended: Bool

    package init(email: String, accountName: String, isSuspended: Bool) {
      (self.email, self.accountName, self.isSuspended) = (email, accountName, isSuspended)
    }
  }

  /// The parts of the portal, as the navigation lists them.
  package enum Section: CaseIterable, Sendable {
    case overview, keys, usage, members, audit, me

    var link: Link {
      switch self {
      case .overview: "/overview"
      case .keys: "/keys"
      case .usage: "/usage"
      case .members: "/members"
      case .audit: "/audit"
      case .me: "/me"
      }
    }

    var label: String {
      switch self {
      case .overview: "Overview"
      case .keys: "Keys"
      case .usage: "Usage"
      case .members: "Members"
      case .audit: "Audit trail"
      case .me: "You"
      }
    }
  }

  /// Nil for somebody who is not signed in.
  package var reader: Reader?

  package init(reader: Reader? = nil) { self.reader = reader }
}

/// The content of a page.
package protocol PortalPage: Sendable {
  /// The heading, which is also the document's title.
  var title: String { get }
  /// Nil for a page outside the navigation.
  var section: Frame.Section? { get }
  var content: HTML { get }
}

extension PortalPage {
  package var section: Frame.Section? { nil }

  /// The whole document.
  package func document(in frame: Frame) -> HTML {
    let suspended: HTML = """
      <div class="note bad"><p><strong>This account is suspended.</strong> Its keys are refused, and nothing new can be
      made. Ask the operator of this portal what has happened.</p></div>
      """
    return """
      <!doctype html>
      <html lang="en"><head><meta charset="utf-8">
      <meta name="viewport" content="width=device-width, initial-scale=1">
      <meta name="color-scheme" content="light dark">
      <title>\(title) – Latchkey</title>
      <link rel="stylesheet" href="\(Asset.stylesheet.link)">
      <link rel="icon" type="\(Asset.icon.type)" href="\(Asset.icon.link)"></head>
      <body\(when: frame.reader == nil, " class=\"narrow\"")><a class="skip" href="#main">Skip to the content</a>
      \(frame.header(section))<main id="main"><h1>\(title)</h1>
      \(when: frame.reader?.isSuspended ?? false, suspended)\(content)</main>
      <footer><p>Latchkey. All times and days are UTC.</p></footer></body></html>

      """
  }
}

extension Frame {
  fileprivate func header(_ current: Section?) -> HTML {
    guard let reader else {
      return """
        <header class="top"><div><strong>Latchkey</strong></div></header>

        """
    }
    func item(_ section: Section) -> HTML {
      "<a href=\"\(section.link)\"\(when: section == current, " aria-current=\"page\"")>\(section.label)</a> "
    }
    return """
      <header class="top"><div><strong>\(reader.accountName)</strong>
      <nav aria-label="Main">\(each: Section.allCases, item)</nav>
      <form method="post" action="/logout"><button class="plain" title="Signed in as \(reader.email)">Sign out</button>\
      </form></div></header>

      """
  }
}
