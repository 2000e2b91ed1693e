import Foundation
import Hummingbird
import JSON
import Portal

/// Typed values of a query, with the same messages as those of a body. Each of these throws as soon as its value is
/// wrong.
extension Query {
  package func text(_ name: String) -> String? { values(name).first }

  /// A text of `length` characters, without NUL.
  package func text(_ name: String, _ length: ClosedRange<Int>) throws(InvalidRequest) -> String? {
    guard let text = text(name) else { return nil }
    guard length.contains(text.unicodeScalars.count), !text.utf8.contains(0) else {
      throw InvalidRequest("query.\(name)", "must be \(length.lowerBound) to \(length.upperBound) characters")
    }
    return text
  }

  package func integer(_ name: String, _ range: ClosedRange<Int>, default: Int) throws(InvalidRequest) -> Int {
    guard let text = text(name) else { return `default` }
    guard let number = Int(digits: text.utf8), range.contains(number) else {
      throw InvalidRequest("query.\(name)", "must be a whole number from \(range.lowerBound) to \(range.upperBound)")
    }
    return number
  }

  package func uuid(_ name: String) throws(InvalidRequest) -> UUID? {
    guard let text = text(name) else { return nil }
    guard let id = UUID(uuidString: text) else { throw InvalidRequest("query.\(name)", "must be a UUID") }
    return id
  }

  package func choice<Choice: RawRepresentable & CaseIterable>(
    _ name: String, _: Choice.Type
  ) throws(InvalidRequest) -> Choice? where Choice.RawValue == String {
    guard let text = text(name) else { return nil }
    guard let choice = Choice(named: text) else {
      throw InvalidRequest(
        "query.\(name)", "must be one of " + Choice.allCases.map(\.rawValue).joined(separator: ", "))
    }
    return choice
  }

  package func time(_ name: String) throws(InvalidRequest) -> Date? {
    guard let text = text(name) else { return nil }
    guard let time = Timestamp.date(from: text) else {
      throw InvalidRequest("query.\(name)", "must be a time in RFC 3339, such as 2026-12-31T23:59:59Z")
    }
    return time
  }

  package func day(_ name: String) throws(InvalidRequest) -> Day? {
    guard let text = text(name) else { return nil }
    guard let day = Timestamp.day(from: text) else {
      throw InvalidRequest("query.\(name)", "must be a day, such as 2026-01-31")
    }
    return day
  }

  package func email(_ name: String) throws(InvalidRequest) -> EmailAddress? {
    guard let text = text(name) else { return nil }
    do throws(EmailAddress.Refusal) { return try EmailAddress(typed: text) } catch {
      throw InvalidRequest("query.\(name)", error.message)
    }
  }

  /// The days from `from` to `to`; the last thirty up to and including `now` if neither is given.
  package func dayRange(at now: Date) throws(InvalidRequest) -> DayRange {
    let to = try day("to") ?? Day(containing: now)
    let from = try day("from") ?? to.advanced(by: 1 - DayRange.dayCountDefault)
    guard from <= to else { throw InvalidRequest("query.from", "must not be after query.to (\(to))") }
    guard let range = DayRange(from: from, to: to) else {
      throw InvalidRequest(
        "query.from", "must start a range of at most \(DayRange.dayCountMax) days, query.to included")
    }
    return range
  }

  package func page() throws(InvalidRequest) -> PageRequest {
    let limit = try integer("limit", 1...PageRequest.limitMax, default: PageRequest.limitDefault)
    return PageRequest(limit: limit, before: try cursor())
  }

  package func cursor() throws(InvalidRequest) -> UUID? {
    guard let cursor = text("cursor") else { return nil }
    guard let before = Cursor.id(from: cursor) else {
      throw InvalidRequest("query.cursor", "must be the nextCursor of an earlier answer")
    }
    return before
  }
}

/// The id at which a page ended, in base 64 for URLs (RFC 4648, 5). Opaque to clients.
package enum Cursor {
  package static func text(of id: UUID) -> String {
    withUnsafeBytes(of: id.uuid) { Data($0) }.base64EncodedString()
      .replacing("+", with: "-").replacing("/", with: "_").replacing("=", with: "")
  }

  package static func id(from text: String) -> UUID? {
    guard text.utf8.count == 22,
      let data = Data(base64Encoded: text.replacing("-", with: "+").replacing("_", with: "/") + "=="), data.count == 16
    else { return nil }
    return data.withUnsafeBytes { UUID(uuid: $0.loadUnaligned(as: uuid_t.self)) }
  }
}

extension RequestContext {
  /// The `{id}` of the path.
  package var pathID: UUID {
    get throws(PortalError) { try pathUUID("id") }
  }

  /// An id in the path. Text that is not a UUID is `.notFound`.
  package func pathUUID(_ name: String) throws(PortalError) -> UUID {
    guard let text = parameters.get(name), let id = UUID(uuidString: text) else { throw .notFound }
    return id
  }
}
