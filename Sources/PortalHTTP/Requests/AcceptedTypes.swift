import HTTPTypes
import Hummingbird

extension Request {
  /// Whether `Accept` names a media type with a higher weight than JSON, or before it with the same weight (RFC 9110
  /// 12.5.1).
  package func prefers(_ mediaType: String) -> Bool {
    var (isPreferred, weightMax) = (false, 0.0)
    for range in headers[values: .accept].flatMap({ $0.utf8.split(separator: UInt8(ascii: ",")) }) {
      let type = range.prefix { $0 != UInt8(ascii: ";") }.trimmed
      let isWanted = type.isEqual(inAnyCase: mediaType)
      guard isWanted || type.isEqual(inAnyCase: "application/json") else { continue }
      let weight = Self.weight(of: range)
      if weight > weightMax { (isPreferred, weightMax) = (isWanted, weight) }
    }
    return isPreferred
  }

  /// The `q` of a media range; 1 without one, 0 for one that is not a number.
  private static func weight(of range: Substring.UTF8View) -> Double {
    for parameter in range.split(separator: UInt8(ascii: ";")).dropFirst() {
      let parameter = parameter.trimmed
      if parameter.prefix(2).isEqual(inAnyCase: "q=") { return Double(Substring(parameter.dropFirst(2))) ?? 0 }
    }
    return 1
  }
}
