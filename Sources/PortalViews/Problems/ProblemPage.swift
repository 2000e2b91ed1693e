/// What went wrong, what it means, and what to do next.
package struct ProblemPage: PortalPage {
  package let title: String
  private let meaning: String
  private let next: HTML
  /// The id by which the operator finds the request in the log; nil if there is nothing to find.
  private let requestID: String?

  package init(_ title: String, _ meaning: String, next: HTML, requestID: String? = nil) {
    (self.title, self.meaning, self.next, self.requestID) = (title, meaning, next, requestID)
  }

  package var content: HTML {
    let request: HTML? = requestID.map { "<p class=\"quiet small\">Request <code>\($0)</code></p>" }
    return "<p>\(meaning)</p><p>\(next)</p>\(request)"
  }
}
