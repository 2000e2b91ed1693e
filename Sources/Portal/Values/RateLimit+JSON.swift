package import JSON
import Postgres

/// Named limits as they are stored: `[{"name", "limit", "windowMilliseconds", "autoApply"}, …]`. In place of `limit`
/// and `windowMilliseconds`, a token bucket has `"bucket": {"size", "refill", "intervalMilliseconds"}`.
extension [RateLimit] {
  var json: String {
    var json = JSONWriter()
    json.array(self) { json, limit in
      json.object { json in
        json.field("name", limit.name)
        if let bucket = limit.bucket {
          json.object("bucket") { $0.fields(of: bucket) }
        } else {
          json.field("limit", limit.limit)
          json.field("windowMilliseconds", limit.windowMilliseconds)
        }
        json.field("autoApply", limit.isAutomatic)
      }
    }
    return json.text
  }

  /// Reads a column. Throws `.decoding` for a text that has no limits, or values out of range.
  init(column text: String?) throws(PostgresError) {
    guard let text else {
      self = []
      return
    }
    guard let value = try? JSONParser.parse(text.utf8), case .array(let elements) = value,
      elements.count <= RateLimit.countMax
    else { throw PostgresError(.decoding, "named_limits is not a list of limits") }
    self = []
    for element in elements {
      guard let limit = RateLimit(element) else { throw PostgresError(.decoding, "a limit is out of range") }
      append(limit)
    }
  }
}

extension RateLimit {
  fileprivate init?(_ value: JSONValue) {
    guard case .string(let name)? = value["name"], RateLimit.isValid(name: name),
      case .bool(let isAutomatic) = value["autoApply"] ?? .bool(true)
    else { return nil }
    if let bucket = value["bucket"] {
      guard let settings = TokenBucket.Settings(bucket) else { return nil }
      self.init(name: name, bucket: settings, isAutomatic: isAutomatic)
      return
    }
    guard let limit = value["limit"]?.integer, (0...RateLimit.limitMax).contains(limit),
      let milliseconds = value["windowMilliseconds"]?.integer,
      RateLimit.windowMillisecondsRange.contains(milliseconds)
    else { return nil }
    self.init(name: name, limit: limit, windowMilliseconds: milliseconds, isAutomatic: isAutomatic)
  }
}

extension TokenBucket.Settings {
  /// Whether it fills within the longest window.
  package var isFilledInTime: Bool { fillMilliseconds <= RateLimit.windowMillisecondsRange.upperBound }

  fileprivate init?(_ value: JSONValue) {
    guard let size = value["size"]?.integer, (1...Self.sizeMax).contains(size),
      let refill = value["refill"]?.integer, (1...Self.sizeMax).contains(refill),
      let milliseconds = value["intervalMilliseconds"]?.integer,
      (1...Self.intervalMillisecondsMax).contains(milliseconds)
    else { return nil }
    self.init(size: size, refill: refill, intervalMilliseconds: milliseconds)
    guard isFilledInTime else { return nil }
  }
}

extension JSONWriter {
  package mutating func fields(of bucket: TokenBucket.Settings) {
    field("size", bucket.size)
    field("refill", bucket.refill)
    field("intervalMilliseconds", bucket.intervalMilliseconds)
  }
}

extension JSONValue {
  /// A member of an object.
  subscript(name: String) -> JSONValue? {
    guard case .object(let members) = self else { return nil }
    return members.first { $0.name.hasSameBytes(as: name) }?.value
  }
}
