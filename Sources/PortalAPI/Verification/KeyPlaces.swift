import Foundation
import HTTPTypes
import JSON
import Portal
import PortalHTTP

/// The places where `/v1/authorize` looks for the key of a request to a gateway; the setting `KEY_HEADERS`.
///
/// The first place with a possible key counts. A value is skipped if it is empty, longer than any key, has blanks in
/// the middle (another scheme's credentials, or two values), or is a JWT, which the API may use for its own purposes.
package struct KeyPlaces: Sendable, Equatable {
  package static let standard = KeyPlaces([.apiKey, .authorization])
  private static let countMax = 8
  private static let nameLengthMax = 64
  /// Fields with another meaning. Some of them are logged.
  private static let otherFields: Set<String> = [
    "connection", "content-encoding", "content-length", "content-type", "cookie", "expect", "forwarded", "host",
    "traceparent", "tracestate", "transfer-encoding", "upgrade", "x-client-ip", "x-forwarded-for", "x-original-method",
    "x-original-uri", "x-request-id", "x-required-permission", "x-required-scope", "x-resource", "x-scope-match",
    "x-credit-cost",
  ]

  enum Place: Sendable, Equatable {
    /// `X-API-Key`
    case apiKey
    case authorization
    case field(HTTPField.Name)
    /// A parameter in the query of `X-Original-URI`.
    case parameter(String)
  }

  /// The result of a search.
  enum Outcome: Equatable {
    case key(Range<Int>)
    case none
    /// Only the ordinary route can tell.
    case unclear
  }

  let places: [Place]

  private init(_ places: [Place]) { self.places = places }

  /// Parses the comma-separated names of header fields, in any case, and of parameters, each after `query:`. Nil if a
  /// name is invalid, has another meaning or is repeated, and if there are none or more than eight.
  package init?(_ text: String) {
    let parts = text.split(separator: ",", omittingEmptySubsequences: false).map {
      $0.trimmingCharacters(in: .whitespaces)
    }
    guard (1...Self.countMax).contains(parts.count) else { return nil }
    var places: [Place] = []
    for part in parts {
      guard let place = Self.place(part), !places.contains(place) else { return nil }
      places.append(place)
    }
    self.places = places
  }

  private static func place(_ text: String) -> Place? {
    if let colon = text.firstIndex(of: ":") {
      let name = String(text[colon...].dropFirst())
      guard text[..<colon].lowercased() == "query", isName(name) else { return nil }
      return .parameter(name)
    }
    let name = text.lowercased()
    guard isName(name), !otherFields.contains(name), !name.hasPrefix("x-latchkey-"),
      let field = HTTPField.Name(name)
    else { return nil }
    return field == .xAPIKey ? .apiKey : field == .authorization ? .authorization : .field(field)
  }

  /// Letters, digits, `-` and `_`: the name of a parameter then needs no encoding in a query, and the name of a field
  /// is valid in plain requests.
  private static func isName(_ text: String) -> Bool {
    (1...nameLengthMax).contains(text.utf8.count)
      && text.utf8.allSatisfy {
        (UInt8(ascii: "a")...UInt8(ascii: "z")).contains($0 | 0x20) || (0x30...0x39).contains($0)
          || $0 == UInt8(ascii: "-") || $0 == UInt8(ascii: "_")
      }
  }

  // MARK: Search

  /// The key; nil if there is none.
  func key(in headers: HTTPFields) -> Secret? {
    for place in places {
      let value =
        switch place {
        case .apiKey: headers[.xAPIKey]
        case .authorization: headers[.authorization]
        case .field(let name): headers[name]
        case .parameter(let name): headers[.xOriginalURI].flatMap { Self.parameter(name, of: $0) }
        }
      guard let bytes = value.map({ Array($0.utf8) }), let key = Self.key(in: bytes.indices, bytes.span) else {
        continue
      }
      return Secret(presented: String(decoding: bytes[key], as: UTF8.self))
    }
    return nil
  }

  /// The range of a possible key in the value of a field or a parameter: without surrounding blanks and without the
  /// scheme `Bearer`, in any case. Nil if the value cannot be a key.
  static func key(in value: Range<Int>, _ bytes: Span<UInt8>) -> Range<Int>? {
    let scheme: StaticString = "bearer"
    var key = trimmed(value, bytes)
    if bytes.begins(inAnyCase: scheme, at: key) {
      let rest = key.lowerBound + scheme.utf8CodeUnitCount..<key.upperBound
      if rest.isEmpty || isBlank(bytes[rest.lowerBound]) { key = trimmed(rest, bytes) }
    }
    guard (1...KeyFormat.lengthMax).contains(key.count) else { return nil }
    var dotCount = 0
    for index in key {
      if isBlank(bytes[index]) { return nil }
      if bytes[index] == UInt8(ascii: ".") { dotCount += 1 }
    }
    // A JWT has three parts, and five where it is encrypted (RFC 7515 3.1, RFC 7516 3.1). A key has no dot.
    return dotCount == 2 || dotCount == 4 ? nil : key
  }

  /// The range of a parameter's value in a target, as it was sent. Nil if the parameter is missing or repeated.
  static func parameter(_ name: String, in target: Range<Int>, _ bytes: Span<UInt8>) -> Range<Int>? {
    var position = target.lowerBound
    while position < target.upperBound, bytes[position] != UInt8(ascii: "?") { position += 1 }
    var found: Range<Int>?
    while position < target.upperBound, bytes[position] != UInt8(ascii: "#") {
      let start = position + 1
      var end = start
      while end < target.upperBound, bytes[end] != UInt8(ascii: "&"), bytes[end] != UInt8(ascii: "#") { end += 1 }
      position = end
      let valueStart = start + name.utf8.count + 1
      guard valueStart <= end, bytes[valueStart - 1] == UInt8(ascii: "=") else { continue }
      let isNamed = zip(start..<end, name.utf8).allSatisfy { bytes[$0] == $1 }
      guard isNamed else { continue }
      guard found == nil else { return nil }
      found = valueStart..<end
    }
    return found
  }

  /// The decoded value of a parameter of a target. Nil also if the value is not percent-encoded UTF-8.
  private static func parameter(_ name: String, of target: String) -> String? {
    let bytes = Array(target.utf8)
    guard let place = parameter(name, in: bytes.indices, bytes.span) else { return nil }
    return Query.decoded(bytes[place])
  }

  static func isEncoded(_ place: Range<Int>, _ bytes: Span<UInt8>) -> Bool {
    for index in place where bytes[index] == UInt8(ascii: "%") { return true }
    return false
  }

  private static func trimmed(_ place: Range<Int>, _ bytes: Span<UInt8>) -> Range<Int> {
    var (start, end) = (place.lowerBound, place.upperBound)
    while start < end, isBlank(bytes[start]) { start += 1 }
    while end > start, isBlank(bytes[end - 1]) { end -= 1 }
    return start..<end
  }

  private static func isBlank(_ byte: UInt8) -> Bool { byte == UInt8(ascii: " ") || byte == UInt8(ascii: "\t") }
}
