package import Foundation
package import Hummingbird
package import JSON
import Portal

/// The members of a JSON body, taken one by one. Problems are collected, so that a client gets all of them together;
/// ``finish(_:build:)`` throws them, and also refuses members that were not taken.
///
/// A required member is nil after a problem, and only then.
package struct RequestFields {
  /// The most problems reported: a client that sends 10,000 wrong events need not read about each.
  private static let problemCountMax = 100

  private var members: [ByteText: JSONValue]
  private let location: String
  private(set) var problems: [RequestProblem] = []

  /// The largest body, in bytes, unless a route sets its own.
  package static let sizeMax = 16 << 10

  /// Reads the body, up to `sizeMax` bytes. An empty one counts as `{}` if `isOptional`.
  package init(_ request: Request, sizeMax: Int = Self.sizeMax, isOptional: Bool = false) async throws {
    if let length = request.headers[.contentLength].flatMap({ Int($0) }), length > sizeMax {
      throw Problem.bodyTooLarge
    }
    let buffer = try await request.body.collect(upTo: sizeMax)
    if isOptional, buffer.readableBytes == 0 {
      self.init([], location: "body")
      return
    }
    if request.hasCodedBody { throw Problem.unsupportedContentCoding }
    guard request.hasJSONBody else { throw Problem.unsupportedMediaType }
    let value: JSONValue
    do throws(JSONError) { value = try JSONParser.parse(buffer.readableBytesView) } catch {
      throw InvalidRequest("body", "is not valid JSON: \(error.message) at byte \(error.offset)")
    }
    guard case .object(let members) = value else { throw InvalidRequest("body", "must be an object") }
    self.init(members, location: "body")
  }

  package init(_ members: [(name: String, value: JSONValue)], location: String) {
    self.members = Dictionary(members.map { (ByteText($0.name), $0.value) }) { first, _ in first }
    self.location = location
  }

  /// Equal for equal members, as long as none has been taken; see ``JSONValue/fingerprint``.
  package var fingerprint: [UInt8] { JSONValue.object(members.map { ($0.key.text, $0.value) }).fingerprint }

  /// Throws all problems together, if there are any.
  package func finish() throws(InvalidRequest) {
    let problems = finalProblems
    if !problems.isEmpty { throw InvalidRequest(problems) }
  }

  // The functions with packs are inlinable, because other modules would build the packs' metadata for every request.

  /// Returns the result of `build` with the required members. Throws all problems together, if there are any.
  @inlinable
  package func finish<each Value, Body>(
    _ values: repeat (each Value)?, build: (repeat each Value) -> Body
  ) throws -> Body {
    try finish()
    guard let body = Self.make(repeat each values, build: build) else { throw Problem.internalError }
    return body
  }

  /// Returns the result of `build` with the required members; nil if one of them is nil.
  @inlinable
  package static func make<each Value, Part>(
    _ values: repeat (each Value)?, build: (repeat each Value) -> Part
  ) -> Part? {
    func present<Present>(_ value: Present?) throws(MissingValue) -> Present {
      guard let value else { throw MissingValue() }
      return value
    }
    do throws(MissingValue) { return build(repeat try present(each values)) } catch { return nil }
  }

  /// All problems, including members that were not taken.
  package var finalProblems: [RequestProblem] {
    let unknown = members.keys.sorted().prefix(Self.problemCountMax - problems.count)
    return problems
      + unknown.map { RequestProblem(location: at($0.text.shortened()), message: "is not a known field") }
  }

  package mutating func refuse(_ name: String, _ message: String) {
    merge([RequestProblem(location: at(name), message: message)])
  }

  /// Adds the problems of a part.
  package mutating func merge(_ others: [RequestProblem]) {
    problems += others.prefix(Self.problemCountMax - problems.count)
  }

  // MARK: Members

  /// Whether there is a member that has not been taken, null or not.
  package func has(_ name: String) -> Bool { members[ByteText(name)] != nil }

  /// Takes a member if it is null. Returns whether it was.
  package mutating func takeNull(_ name: String) -> Bool {
    guard members[ByteText(name)] == .null else { return false }
    members.removeValue(forKey: ByteText(name))
    return true
  }

  /// Takes a member; nil if it is missing or null.
  package mutating func value(_ name: String) -> JSONValue? {
    let value = members.removeValue(forKey: ByteText(name))
    return value == .null ? nil : value
  }

  /// Returns the value that `parse` takes from a member, which is required.
  package mutating func required<Value>(_ name: String, _ parse: (inout RequestFields) -> Value?) -> Value? {
    let problemCount = problems.count
    let value = parse(&self)
    if value == nil, problems.count == problemCount { refuse(name, "is required") }
    return value
  }

  /// A required string of `length` characters.
  package mutating func string(_ name: String, _ length: ClosedRange<Int>) -> String? {
    required(name) { $0.optionalString(name, length) }
  }

  package mutating func optionalString(_ name: String, _ length: ClosedRange<Int>) -> String? {
    guard let value = value(name) else { return nil }
    guard case .string(let text) = value, length.contains(text.unicodeScalars.count) else {
      refuse(name, "must be a string of \(length.lowerBound) to \(length.upperBound) characters")
      return nil
    }
    return text
  }

  package mutating func optionalBool(_ name: String) -> Bool? {
    guard let value = value(name) else { return nil }
    guard case .bool(let flag) = value else {
      refuse(name, "must be true or false")
      return nil
    }
    return flag
  }

  package mutating func integer(_ name: String, _ range: ClosedRange<Int>, default: Int) -> Int {
    optionalInteger(name, range) ?? `default`
  }

  package mutating func integer(_ name: String, _ range: ClosedRange<Int>) -> Int? {
    required(name) { $0.optionalInteger(name, range) }
  }

  package mutating func optionalInteger(_ name: String, _ range: ClosedRange<Int>) -> Int? {
    guard let value = value(name) else { return nil }
    guard let number = value.integer, range.contains(number) else {
      refuse(name, "must be a whole number from \(range.lowerBound) to \(range.upperBound)")
      return nil
    }
    return number
  }

  /// A required whole number, which may be null. The outer optional is nil after a problem.
  package mutating func integerOrNull(_ name: String, _ range: ClosedRange<Int>) -> Int?? {
    if takeNull(name) { return .some(nil) }
    return integer(name, range).map { .some($0) }
  }

  /// The JSON text of an object, without spaces; nil if it is missing or null, and after a problem.
  package mutating func optionalObjectText(_ name: String, byteCountMax: Int, depthMax: Int) -> String? {
    guard let value = value(name) else { return nil }
    guard case .object = value, value.depth <= depthMax else {
      refuse(name, "must be an object, at most \(depthMax) levels deep")
      return nil
    }
    let text = JSONWriter.text(of: value)
    guard text.utf8.count <= byteCountMax else {
      refuse(name, "must be at most \(byteCountMax) bytes when written without spaces")
      return nil
    }
    return text
  }

  package mutating func optionalNumber(_ name: String, _ range: ClosedRange<Double>) -> Double? {
    guard let value = value(name) else { return nil }
    guard let number = value.double, range.contains(number) else {
      refuse(name, "must be a number from \(range.lowerBound) to \(range.upperBound)")
      return nil
    }
    return number
  }

  package mutating func optionalDate(_ name: String) -> Date? {
    guard let value = value(name) else { return nil }
    guard case .string(let text) = value, let date = Timestamp.date(from: text) else {
      refuse(name, "must be a time in RFC 3339, such as 2026-12-31T23:59:59Z")
      return nil
    }
    return date
  }

  package mutating func uuid(_ name: String) -> UUID? { required(name) { $0.optionalUUID(name) } }

  private mutating func optionalUUID(_ name: String) -> UUID? {
    guard let value = value(name) else { return nil }
    guard case .string(let text) = value, let id = UUID(uuidString: text) else {
      refuse(name, "must be a UUID")
      return nil
    }
    return id
  }

  /// One of the values of an enum.
  package mutating func choice<Choice: RawRepresentable & CaseIterable>(
    _ name: String, default: Choice
  ) -> Choice where Choice.RawValue == String {
    guard let value = value(name) else { return `default` }
    return choice(name, value) ?? `default`
  }

  /// One of the values of an enum; nil if it is missing or null, and after a problem.
  package mutating func optionalChoice<Choice: RawRepresentable & CaseIterable>(
    _ name: String
  ) -> Choice? where Choice.RawValue == String {
    value(name).flatMap { choice(name, $0) }
  }

  package mutating func choice<Choice: RawRepresentable & CaseIterable>(
    _ name: String
  ) -> Choice? where Choice.RawValue == String {
    required(name) { $0.optionalChoice(name) }
  }

  private mutating func choice<Choice: RawRepresentable & CaseIterable>(
    _ name: String, _ value: JSONValue
  ) -> Choice? where Choice.RawValue == String {
    if case .string(let text) = value, let choice = Choice(named: text) { return choice }
    refuse(name, "must be one of " + Choice.allCases.map(\.rawValue).joined(separator: ", "))
    return nil
  }

  /// Like ``optionalList(_:_:_:_:)``, but required.
  package mutating func list<Element>(
    _ name: String, _ count: ClosedRange<Int>, _ message: String, _ parse: (String) -> Element?
  ) -> [Element]? {
    required(name) { $0.optionalList(name, count, message, parse) }
  }

  /// A list of strings, each of which `parse` must accept; nil if it is missing or null.
  package mutating func optionalList<Element>(
    _ name: String, _ count: ClosedRange<Int>, _ message: String, _ parse: (String) -> Element?
  ) -> [Element]? {
    guard let value = value(name) else { return nil }
    guard case .array(let values) = value, count.contains(values.count) else {
      refuse(name, "must be a list of \(count.lowerBound) to \(count.upperBound) entries")
      return nil
    }
    var elements: [Element] = []
    for (index, value) in values.enumerated() {
      if case .string(let text) = value, let element = parse(text) {
        elements.append(element)
      } else {
        refuse("\(name)[\(index)]", message)
      }
    }
    return elements
  }

  /// A list of objects, each parsed by `parse`. Problems are reported with the object's index. Nil if the list is
  /// missing or null.
  package mutating func optionalObjects<Element>(
    _ name: String, _ count: ClosedRange<Int>, _ parse: (inout RequestFields) -> Element?
  ) -> [Element]? {
    guard members[ByteText(name)] != nil, !takeNull(name) else { return nil }
    return objects(name, count) { $0 }?.compactMap { object in
      switch object {
      case .problem(let problem):
        merge([problem])
        return nil
      case .fields(var fields):
        let element = parse(&fields)
        merge(fields.finalProblems)
        return element
      }
    }
  }

  /// A required object, parsed by `parse`. Nil after a problem.
  package mutating func object<Part>(_ name: String, _ parse: (inout RequestFields) -> Part?) -> Part? {
    guard case .object(let members)? = value(name) else {
      refuse(name, "must be an object")
      return nil
    }
    var fields = RequestFields(members, location: at(name))
    let part = parse(&fields)
    merge(fields.finalProblems)
    return part
  }

  /// The members of an object, which are objects themselves, each parsed by `parse` with its name, which `isName` must
  /// accept. Problems are reported with the name. Nil if the object is missing or null.
  package mutating func optionalNamedObjects<Element>(
    _ name: String, countMax: Int, _ isName: (String) -> Bool, _ message: String,
    _ parse: (String, inout RequestFields) -> Element?
  ) -> [Element]? {
    guard let value = value(name) else { return nil }
    guard case .object(let members) = value, members.count <= countMax else {
      refuse(name, "must be an object of at most \(countMax) members")
      return nil
    }
    return members.compactMap { member in
      let location = "\(name).\(member.name.shortened())"
      guard isName(member.name) else {
        refuse(location, message)
        return nil
      }
      guard case .object(let parts) = member.value else {
        refuse(location, "must be an object")
        return nil
      }
      var fields = RequestFields(parts, location: at(location))
      let element = parse(member.name, &fields)
      merge(fields.finalProblems)
      return element
    }
  }

  /// An element of a list of objects.
  package enum Object {
    case fields(RequestFields)
    case problem(RequestProblem)
  }

  /// A required list of objects, each parsed separately: a problem in one need not refuse the others.
  package mutating func objects<Element>(
    _ name: String, _ count: ClosedRange<Int>, _ element: (Object) -> Element
  ) -> [Element]? {
    guard case .array(let values)? = value(name), count.contains(values.count) else {
      refuse(name, "must be a list of \(count.lowerBound) to \(count.upperBound) objects")
      return nil
    }
    return values.enumerated().map { index, value in
      let location = at("\(name)[\(index)]")
      guard case .object(let members) = value else {
        return element(.problem(RequestProblem(location: location, message: "must be an object")))
      }
      return element(.fields(RequestFields(members, location: location)))
    }
  }

  /// Returns the value that `parse` takes from a member that is an object; nil if it is missing or null, and after a
  /// problem.
  package mutating func optionalObject<Value>(
    _ name: String, _ parse: (inout RequestFields) -> Value?
  ) -> Value? {
    guard let value = value(name) else { return nil }
    guard case .object(let members) = value else {
      refuse(name, "must be an object")
      return nil
    }
    var fields = RequestFields(members, location: at(name))
    let parsed = parse(&fields)
    let problems = fields.finalProblems
    merge(problems)
    return problems.isEmpty ? parsed : nil
  }

  private func at(_ name: String) -> String { location + "." + name }
}

extension JSONValue {
  /// The number of nested objects and lists, including this one; 0 for other values.
  fileprivate var depth: Int {
    switch self {
    case .array(let elements): 1 + (elements.map(\.depth).max() ?? 0)
    case .object(let members): 1 + (members.map(\.value.depth).max() ?? 0)
    default: 0
    }
  }
}

@usableFromInline
struct MissingValue: Error {
  @usableFromInline
  init() {}
}

extension Request {
  /// Whether the body has a content coding other than `identity` (RFC 9110 8.4).
  fileprivate var hasCodedBody: Bool {
    guard let codings = headers[.contentEncoding] else { return false }
    return codings.utf8.split(separator: UInt8(ascii: ",")).contains { coding in
      let name = coding.filter { $0 != UInt8(ascii: " ") && $0 != UInt8(ascii: "\t") }
      return !name.isEmpty && !name.elementsEqual("identity".utf8) { $0 | 0x20 == $1 }
    }
  }

  fileprivate var hasJSONBody: Bool {
    guard let type = headers[.contentType]?.utf8.split(separator: UInt8(ascii: ";")).first else { return false }
    return type.trimmed.isEqual(inAnyCase: "application/json")
  }
}
