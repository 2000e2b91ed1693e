import JSON
import Postgres

/// Named limits as they are stored: `[{"name", "limit", "windowMilliseconds", "autoApply"}, …]`.
extension [RateLimit] {
  var json: String {
    var json = JSONWriter()
    json.array(self) { json, limit in
      json.object { json in
        json.field("name", limit.name)
        json.field("limit", limit.limit)
        json.field("windowMilliseconds", limit.windowMilliseconds)
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
      let limit = value["limit"]?.integer, (0...RateLimit.limitMax).contains(limit),
      let milliseconds = value["windowMilliseconds"]?.integer,
      RateLimit.windowMillisecondsRange.contains(milliseconds),
      case .bool(let isAutomatic) = value["autoApply"] ?? .bool(true)
    else { return nil }
    self.init(name: name, limit: limit, windowMilliseconds: milliseconds, isAutomatic: isAutomatic)
  }
}

extension JSONValue {
  /// A member of an object.
  subscript(name: String) -> JSONValue? {
    guard case .object(let members) = self else { return nil }
    return members.first { $0.name.hasSameBytes(as: name) }?.value
  }
}
