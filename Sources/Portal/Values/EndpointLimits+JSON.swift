import JSON
import Postgres

/// Endpoint limits as they are stored:
/// `[{"endpoint", "limit", "windowMilliseconds", "roles": {name: {"limit", "windowMilliseconds"}, …}}, …]`.
extension EndpointLimits {
  package var json: String {
    var json = JSONWriter()
    json.array(entries) { json, entry in
      json.object { json in
        json.field("endpoint", entry.pattern.text)
        json.fields(of: entry.otherwise)
        json.object("roles") { json in
          for (name, limit) in entry.roles.sorted(by: { ByteText($0.key) < ByteText($1.key) }) {
            json.object(named: name) { $0.fields(of: limit) }
          }
        }
      }
    }
    return json.text
  }

  /// Reads a column. Throws `.decoding` for a text that has no limits, or values out of range.
  init(column text: String?) throws(PostgresError) {
    guard let text else {
      self.init([])
      return
    }
    guard let value = try? JSONParser.parse(text.utf8), case .array(let elements) = value,
      elements.count <= Self.countMax
    else { throw PostgresError(.decoding, "endpoint_limits is not a list of limits") }
    var entries: [Entry] = []
    for element in elements {
      guard let entry = Entry(element) else { throw PostgresError(.decoding, "an endpoint's limit is out of range") }
      entries.append(entry)
    }
    self.init(entries)
  }
}

extension EndpointLimits.Entry {
  fileprivate init?(_ value: JSONValue) {
    guard case .string(let text)? = value["endpoint"], let pattern = EndpointLimits.pattern(text),
      let otherwise = WindowLimit(value), case .object(let members) = value["roles"] ?? .object([]),
      members.count <= EndpointLimits.roleCountMax
    else { return nil }
    var roles: [String: WindowLimit] = [:]
    for (name, value) in members {
      guard let limit = WindowLimit(value) else { return nil }
      roles[name] = limit
    }
    self.init(pattern, otherwise: otherwise, roles: roles)
  }
}

extension WindowLimit {
  fileprivate init?(_ value: JSONValue) {
    guard let limit = value["limit"]?.integer, (0...RateLimit.limitMax).contains(limit),
      let milliseconds = value["windowMilliseconds"]?.integer,
      RateLimit.windowMillisecondsRange.contains(milliseconds)
    else { return nil }
    self.init(limit: limit, windowMilliseconds: milliseconds)
  }
}

extension JSONWriter {
  fileprivate mutating func fields(of limit: WindowLimit) {
    field("limit", limit.limit)
    field("windowMilliseconds", limit.windowMilliseconds)
  }
}
