import Foundation
import HTTPTypes
import JSON
import Portal

/// Where `/v1/authorize` looks for the key of the request that a gateway asks about; the setting `KEY_HEADERS`.
///
/// The first place that has what may be a key counts. What may be none is passed over: nothing, more bytes than any key
/// has, blanks in the middle (another scheme's credentials, or two values), and a JWT, which the API may have for a
/// purpose of its own.
package struct KeyPlaces: Sendable, Equatable {
  package static let standard = KeyPlaces([.apiKey, .authorization])
  private static let countMax = 8
  private static let nameLengthMax = 64
  /// Fields that say something else, of which some are logged.
  private static let otherFields: Set<String> = [
    "connection", "content-encoding", "content-length", "content-type", "cookie", "expect", "forwarded", "host",
    "traceparent", "tracestate", "transfer-encoding", "upgrade", "x-client-ip", "x-forwarded-for", "x-original-method",
    "x-original-uri", "x-request-id", "x-required-scope",
  ]

  enum Place: Sendable, Equatable {
    /// `X-API-Key`
    case apiKey
    case authorization
    case field(HTTPField.Name)
    /// A parameter in the query of `X-Original-URI`.
    case parameter(String)
  }

  /// What has become of a search.
  enum Outcome: Equatable {
    case key(Range<Int>)
    case none
    /// It takes the ordinary route to tell.
    case unclear
  }

  let places: [Place]

  private init(_ places: [Place]) { self.places = places }

  /// Parses names of header fields with commas between, in whatever case, and `query:` before the name of a parameter.
  /// Nil for one that is no such name, has another meaning, or stands twice, and where there are none or more than
  /// eight.
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

  /// Letters, digits, `-` and `_`: a parameter's stands in a query as it is, and a field's is one that plain requests
  /// have.
  private static func isName(_ text: String) -> Bool {
    (1...nameLengthMax).contains(text.utf8.count)
      && text.utf8.allSatisfy {
        (UInt8(ascii: "a")...UInt8(ascii: "z")).contains($0 | 0x20) || (0x30...0x39).contains($0)
          || $0 == UInt8(ascii: "-") || $0 == UInt8(ascii: "_")
      }
  }

  // MARK: Looking for it

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

  /// Where a key may stand in the value of a field or a parameter: without blanks around it, and without the scheme
  /// `Bearer` before it, in whatever case. Nil for what may be none.
  static func key(in value: Range<Int>, _ bytes: Span<UInt8>) -> Range<Int>? {
    let scheme: StaticString = "bearer"
    var key = trimmed(value, bytes)
    if bytes.begins(inAnyCase: scheme, at: key) {
      let rest = key.lowerBound + scheme.utf8CodeUnitCount..<key.upperBound
      if rest.isEmpty || isBlank(bytes[rest.lowerBound]) { key = trimmed(rest, bytes) }
    }
    guard (1...Secret.lengthMax).contains(key.count) else { return nil }
    var dotCount = 0
    for index in key {
      if isBlank(bytes[index]) { return nil }
      if bytes[index] == UInt8(ascii: ".") { dotCount += 1 }
    }
    // A JWT has three parts, and five where it is encrypted (RFC 7515 3.1, RFC 7516 3.1). A key has no dot.
    return dotCount == 2 || dotCount == 4 ? nil : key
  }

  /// Where the value of a parameter stands in a target, as it was sent; nil if it is not there, or twice.
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

  /// The value of a parameter of a target, decoded; nil also for what is not percent-encoded UTF-8.
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
