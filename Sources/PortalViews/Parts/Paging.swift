extension HTML {
  /// The link to the next page of a list; empty on the last page.
  static func more(_ next: Link?) -> HTML {
    guard let next else { return "" }
    return "<p><a class=\"button plain\" href=\"\(next)\" rel=\"next\">Show more</a></p>"
  }
}
