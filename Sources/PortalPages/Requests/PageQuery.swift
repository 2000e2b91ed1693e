import Foundation
package import Hummingbird
import JSON
package import Portal
import PortalHTTP

/// The query of a page's address, as a form or a link of another page made it. A value that is not understood counts as
/// absent: whoever follows an old or a damaged link still gets a page.
package struct PageQuery {
  private let parameters: [(name: String, value: String)]

  package init(_ request: Request) {
    let text = request.uri.query ?? ""
    let parts = text.utf8.count <= Query.byteCountMax ? text.utf8.split(separator: UInt8(ascii: "&")) : []
    parameters = parts.prefix(FormFields.fieldCountMax).compactMap { part in
      let end = part.firstIndex(of: UInt8(ascii: "=")) ?? part.endIndex
      guard let name = FormFields.decoded(part[..<end]), let value = FormFields.decoded(part[end...].dropFirst()) else {
        return nil
      }
      return (name, value)
    }
  }

  /// The value of a parameter without the white space around it; nil if it is absent, empty, longer than `max`,
  /// or has characters that cannot be seen.
  package func text(_ name: String, max: Int = 1_000) -> String? {
    guard let value = parameters.first(where: { $0.name.hasSameBytes(as: name) })?.value,
      case let text = TypedText.trimmed(value), (1...max).contains(text.unicodeScalars.count),
      TypedText.isReadable(text, .line)
    else { return nil }
    return text
  }

  package func choice<Choice: RawRepresentable & CaseIterable>(
    _ name: String, _: Choice.Type
  ) -> Choice? where Choice.RawValue == String {
    text(name).flatMap { Choice(named: $0) }
  }

  package var page: PageRequest { PageRequest(before: text("cursor").flatMap { Cursor.id(from: $0) }) }
}
