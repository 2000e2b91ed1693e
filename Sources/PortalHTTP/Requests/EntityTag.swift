import Foundation
import HTTPTypes
import Hummingbird
import Portal

/// The revision of a thing as `ETag` and `If-Match` have it (RFC 9110, 8.8.3 and 13.1.1).
enum EntityTag {
  static func text(of revision: Int) -> String { "\"\(revision)\"" }
}

extension Request {
  /// The revisions that the client takes for the present one; nil where it says nothing, or `*`. Tags that are not
  /// ours, and weak ones, are nobody's present revision.
  func ifMatch() throws(PortalError) -> Set<Int>? {
    guard let header = headers[.ifMatch], header.trimmingCharacters(in: .whitespaces) != "*" else { return nil }
    let tag = #/[ \t]*(?:W\/)?"[^"]*"[ \t]*/#
    guard header.wholeMatch(of: #/[ \t]*(?:W\/)?"[^"]*"[ \t]*(?:,[ \t]*(?:W\/)?"[^"]*"[ \t]*)*/#) != nil else {
      throw .invalid("header.If-Match", "must be * or a list of entity tags, as \"7\"")
    }
    return Set(
      header.matches(of: tag).compactMap { match in
        let text = match.output.trimmingCharacters(in: .whitespaces)
        return text.hasPrefix("W/") ? nil : Int(text.dropFirst().dropLast())
      })
  }
}
