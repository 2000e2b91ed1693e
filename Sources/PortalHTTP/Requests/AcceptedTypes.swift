import Foundation
import HTTPTypes
import Hummingbird

extension Request {
  /// Whether `Accept` names a media type with a higher weight than JSON, or before it with the same weight (RFC 9110
  /// 12.5.1).
  package func prefers(_ mediaType: String) -> Bool {
    var (isPreferred, weightMax) = (false, 0.0)
    for range in headers[values: .accept].joined(separator: ",").split(separator: ",") {
      let parts = range.split(separator: ";").map { $0.trimmingCharacters(in: .whitespaces).lowercased() }
      guard let type = parts.first, [mediaType, "application/json"].contains(type) else { continue }
      let weight = parts.dropFirst().first { $0.hasPrefix("q=") }.map { Double($0.dropFirst(2)) ?? 0 } ?? 1
      if weight > weightMax { (isPreferred, weightMax) = (type == mediaType, weight) }
    }
    return isPreferred
  }
}
