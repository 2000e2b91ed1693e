import Portal

/// Parts of pages about keys.
extension HTML {
  static func status(_ status: Key.Status) -> HTML {
    "<span class=\"tag \(status.rawValue)\">\(status.rawValue)</span>"
  }

  static func environment(_ environment: Key.Environment) -> HTML {
    "<span class=\"tag \(environment.rawValue)\">\(environment.rawValue)</span>"
  }

  static func codes(_ texts: [String]) -> HTML {
    func code(_ text: String) -> HTML { "<code>\(text)</code> " }
    return "\(each: texts, code)"
  }

  /// The beginning of an imported key is known once it is used.
  static func start(_ key: Key) -> HTML {
    guard let start = key.start else { return "<span class=\"quiet\">beginning not known yet</span>" }
    return "<code>\(start)…</code>"
  }

  /// How far a change has reached the servers that may answer from memory. `deed` leads to their
  /// number, such as "Refused by".
  static func receipt(_ propagation: Propagation, _ deed: String) -> HTML {
    let (acknowledged, all) = (propagation.acknowledged, propagation.instances)
    let servers = Counted.text(all, "server", "servers")
    guard acknowledged < all else {
      return """
        <div class="note good" role="status"><p><strong>\(deed) \(all) of \(servers) after \
        \(propagation.milliseconds) ms.</strong></p></div>
        """
    }
    return """
      <div class="note warn" role="status"><p><strong>\(deed) \(acknowledged) of \(servers) after \
      \(propagation.milliseconds) ms.</strong> The others follow by themselves, at the latest when they must ask the
      database again. That is a matter of seconds.</p></div>
      """
  }
}
