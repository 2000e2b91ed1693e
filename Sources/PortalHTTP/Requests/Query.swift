import Hummingbird
import JSON
import Portal

/// A query parameter that a route accepts.
package struct QueryParameter: Sendable, ExpressibleByStringLiteral {
  package let name: String
  /// Whether it may be given more than once.
  var isList = false

  package init(stringLiteral name: String) { self.name = name }

  package static func list(_ name: String) -> QueryParameter {
    var parameter = QueryParameter(stringLiteral: name)
    parameter.isList = true
    return parameter
  }
}

extension [QueryParameter] {
  /// The parameters of a paginated list.
  package static let page: [QueryParameter] = ["limit", "cursor"]
  /// The parameters of a range of days.
  package static let days: [QueryParameter] = ["from", "to"]
}

/// The parameters of a query: `name=value` separated by `&`, percent-encoded (RFC 3986 2.1 and 3.4). A `+` is a plus.
package struct Query {
  package static let byteCountMax = 8 << 10
  static let parameterCountMax = 100

  private let parameters: [(name: String, value: String)]

  /// Throws if the text is too long or is not percent-encoded UTF-8.
  package init(_ text: String) throws(InvalidRequest) {
    guard text.utf8.count <= Self.byteCountMax else {
      throw InvalidRequest("query", "must be at most \(Self.byteCountMax) bytes")
    }
    let parts = text.utf8.split(separator: UInt8(ascii: "&"))
    guard parts.count <= Self.parameterCountMax else {
      throw InvalidRequest("query", "must have at most \(Self.parameterCountMax) parameters")
    }
    var parameters: [(name: String, value: String)] = []
    for part in parts {
      let end = part.firstIndex(of: UInt8(ascii: "=")) ?? part.endIndex
      guard let name = Self.decoded(part[..<end]) else {
        throw InvalidRequest("query", "must be percent-encoded UTF-8")
      }
      guard let value = Self.decoded(part[end...].dropFirst()) else {
        throw InvalidRequest("query." + name.shortened(), "must be percent-encoded UTF-8")
      }
      parameters.append((name, value))
    }
    self.parameters = parameters
  }

  /// Throws for parameters that the route does not accept, and for repeated ones that it accepts once.
  package func check(_ known: [QueryParameter]) throws(InvalidRequest) {
    var problems: [RequestProblem] = []
    var seen: Set<ByteText> = []
    for (name, _) in parameters {
      let isFirst = seen.insert(ByteText(name)).inserted
      func refuse(_ message: String) {
        problems.append(RequestProblem(location: "query." + name.shortened(), message: message))
      }
      guard let parameter = known.first(where: { $0.name.hasSameBytes(as: name) }) else {
        if isFirst { refuse("is not a known parameter") }
        continue
      }
      if !isFirst, !parameter.isList { refuse("must be given only once") }
    }
    if !problems.isEmpty { throw InvalidRequest(problems) }
  }

  /// The values of a parameter, in order.
  package func values(_ name: String) -> [String] {
    parameters.lazy.filter { $0.name.hasSameBytes(as: name) }.map(\.value)
  }

  /// Decodes percent-encoding; nil for what is not percent-encoded UTF-8.
  package static func decoded(_ text: some Collection<UInt8>) -> String? {
    var bytes: [UInt8] = []
    bytes.reserveCapacity(text.count)
    var rest = text[...]
    while let byte = rest.popFirst() {
      guard byte == UInt8(ascii: "%") else {
        bytes.append(byte)
        continue
      }
      guard let high = rest.popFirst()?.hexDigitValue, let low = rest.popFirst()?.hexDigitValue else {
        return nil
      }
      bytes.append(high << 4 | low)
    }
    return String(validating: bytes, as: UTF8.self)
  }
}

extension Request {
  /// Throws if the query is not one that the route accepts. Runs before anything else is done.
  func checkQuery(_ known: [QueryParameter]) throws(InvalidRequest) {
    guard let text = uri.query else { return }
    try Query(text).check(known)
  }

  /// The query, after ``checkQuery(_:)``.
  package func query() throws(InvalidRequest) -> Query { try Query(uri.query ?? "") }
}
