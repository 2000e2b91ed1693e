import Foundation
import JSON
import PortalTesting
import PostgresTesting

/// The operations of `openapi.json`.
struct Contract {
  struct Operation: Sendable {
    let method: String
    let path: String
    /// The security schemes, each of which is accepted; empty if no credentials are needed.
    var schemes: [String] = []
    /// The names of the parameters of the query and of the head.
    var queryNames: [String] = []
    var headerNames: [String] = []
    /// A value for each parameter of the path; nil for a random UUID.
    var pathValues: [String: String] = [:]
    /// The places in the body; empty if there is no body.
    var bodyPlaces: [BodyPlace] = []

    var name: String { "\(method) \(path)" }
    var pathNames: [String] { path.matches(of: /{([^}]*)}/).map { String($0.1) } }

    /// The bytes of the path, with `text` as one of its parameters.
    func target(with text: [UInt8] = [], as parameter: String? = nil) -> [UInt8] {
      var target: [UInt8] = []
      for segment in path.split(separator: "/") {
        target.append(UInt8(ascii: "/"))
        let name = segment.hasPrefix("{") ? String(segment.dropFirst().dropLast()) : nil
        if let name, name == parameter {
          target += text
        } else {
          target += (name.map { pathValues[$0] ?? UUID().uuidString.lowercased() } ?? String(segment)).utf8
        }
      }
      return target
    }
  }

  /// A place for text in a JSON body.
  struct BodyPlace: Sendable, CustomStringConvertible {
    /// The path of the member, such as `limits[].name`; a name that the schema does not have is `?`.
    let name: String
    let before: String
    let after: String
    /// Whether it takes the digits of a number.
    var isNumber = false

    var description: String { before + "…" + after }

    /// The member's own name, without those of the objects around it.
    var memberName: String { String(name.split(separator: ".").last ?? "").replacing("[]", with: "") }
  }

  let operations: [Operation]

  init() throws {
    let data = try Data(contentsOf: URL(filePath: repositoryRoot + "/openapi.json"))
    let document = Document(root: try JSONParser.parse(data))
    operations = document.operations
  }
}

private struct Document {
  private static let methods: Set = ["get", "put", "post", "delete", "options", "head", "patch", "trace"]

  let root: JSONValue

  var operations: [Contract.Operation] {
    members(of: root["paths"]).flatMap { path, item in
      members(of: item).filter { Self.methods.contains($0.name) }.map { method, operation in
        self.operation(method, path, operation, item["parameters"].array + operation["parameters"].array)
      }
    }
  }

  private func operation(
    _ method: String, _ path: String, _ operation: JSONValue, _ parameters: [JSONValue]
  ) -> Contract.Operation {
    let parameters = parameters.map(resolved)
    func named(_ place: String) -> [JSONValue] { parameters.filter { $0["in"].string == place } }
    let body = resolved(operation["requestBody"])["content"]["application/json"]["schema"]
    var made = Contract.Operation(method: method.uppercased(), path: path)
    made.schemes = operation["security"].array.flatMap(\.names)
    made.queryNames = named("query").compactMap { $0["name"].string }
    made.headerNames = named("header").compactMap { $0["name"].string }
    for parameter in named("path") where resolved(parameter["schema"])["format"].string != "uuid" {
      made.pathValues[parameter["name"].string ?? ""] = parameter["example"].string
    }
    if body != .null { made.bodyPlaces = places(in: body, "", before: "", after: "") }
    return made
  }

  /// The places in an object or a list of this schema.
  private func places(
    in schema: JSONValue, _ name: String, before: String, after: String
  ) -> [Contract.BodyPlace] {
    let schema = resolved(schema)
    var places = parts(of: schema).flatMap { self.places(in: $0, name, before: before, after: after) }
    let properties = members(of: schema["properties"])
    let prefix = name.isEmpty ? "" : name + "."
    if types(of: schema).contains("object") {
      places.append(.init(name: prefix + "?", before: before + "{\"", after: "\":1}" + after))
      if properties.isEmpty {
        places.append(.init(name: prefix + "a", before: before + "{\"a\":\"", after: "\"}" + after))
      }
    }
    for (member, part) in properties {
      places += values(of: part, prefix + member, before: before + "{\"\(member)\":", after: "}" + after)
    }
    if schema["items"] != .null {
      places += values(of: schema["items"], name + "[]", before: before + "[", after: "]" + after)
    }
    return places
  }

  /// The places in a value of this schema, and the value itself.
  private func values(
    of schema: JSONValue, _ name: String, before: String, after: String
  ) -> [Contract.BodyPlace] {
    var values = [Contract.BodyPlace(name: name, before: before + "\"", after: "\"" + after)]
    if !Set(types(of: schema)).isDisjoint(with: ["integer", "number"]) {
      values.append(.init(name: name, before: before, after: after, isNumber: true))
    }
    return values + places(in: schema, name, before: before, after: after)
  }

  private func types(of schema: JSONValue) -> [String] {
    let schema = resolved(schema)
    let own = schema["type"].string.map { [$0] } ?? schema["type"].array.compactMap(\.string)
    return own + parts(of: schema).flatMap(types)
  }

  private func parts(of schema: JSONValue) -> [JSONValue] {
    ["allOf", "oneOf", "anyOf"].flatMap { schema[$0].array }
  }

  /// What a `$ref` refers to, or the value itself.
  private func resolved(_ value: JSONValue) -> JSONValue {
    guard let reference = value["$ref"].string else { return value }
    return resolved(reference.split(separator: "/").dropFirst().reduce(root) { $0[String($1)] })
  }

  private func members(of value: JSONValue) -> [(name: String, value: JSONValue)] {
    if case .object(let members) = value { members } else { [] }
  }
}
