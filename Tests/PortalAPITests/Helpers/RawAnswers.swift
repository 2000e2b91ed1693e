import Foundation
import JSON
import PortalAPI
import PortalHTTP
import PortalTesting
import PostgresTesting
import Testing

/// One of the answers on a connection, parsed from its bytes.
struct RawAnswer: Sendable {
  var status: Int
  /// By name in lower case.
  var headers: [String: String]
  var body: JSONValue
}

/// Sends the parts, and reads the answers until the server closes.
func answers(_ portal: TestPortal, _ parts: String...) async throws -> [RawAnswer] {
  try rawAnswers(in: try await exchange(portal, bytes: parts.map { Array($0.utf8) }))
}

/// Parses what a server sent: heads, and bodies by their length.
func rawAnswers(in text: String) throws -> [RawAnswer] {
  var rest = Data(text.utf8)
  var answers: [RawAnswer] = []
  while !rest.isEmpty {
    guard let end = rest.range(of: Data("\r\n\r\n".utf8)) else {
      throw TestSetupError(description: "an answer without an end of its head: \(text)")
    }
    var lines = String(decoding: rest[..<end.lowerBound], as: UTF8.self).components(separatedBy: "\r\n")
    let first = lines.removeFirst()
    guard let match = first.wholeMatch(of: /HTTP\/1\.[01] (\d{3})( .*)?/), let status = Int(match.1) else {
      throw TestSetupError(description: "no status line: \(first)")
    }
    let headers = Dictionary(
      lines.map { line in
        let parts = line.split(separator: ":", maxSplits: 1).map { $0.trimmingCharacters(in: .whitespaces) }
        return (parts[0].lowercased(), parts.count > 1 ? parts[1] : "")
      }
    ) { $0 + ", " + $1 }
    rest = rest[end.upperBound...]
    let length = headers["content-length"].flatMap { Int($0) } ?? 0
    guard length <= rest.count else { throw TestSetupError(description: "an answer was cut off: \(text)") }
    let body = rest.prefix(length)
    answers.append(
      RawAnswer(status: status, headers: headers, body: body.isEmpty ? .null : try JSONParser.parse(body)))
    rest = rest.dropFirst(length)
  }
  return answers
}

/// Expects a problem document, like ``expectProblem(_:_:_:at:_:sourceLocation:)``, for an answer parsed from its bytes.
func expectProblem(
  _ answer: RawAnswer?, _ status: Int, _ code: String, _ comment: Comment? = nil,
  sourceLocation: SourceLocation = #_sourceLocation
) {
  #expect(answer?.status == status, comment, sourceLocation: sourceLocation)
  #expect(answer?.headers["content-type"] == "application/problem+json", comment, sourceLocation: sourceLocation)
  #expect(
    answer?.body.names == ["type", "title", "status", "detail", "code", "requestId"], comment,
    sourceLocation: sourceLocation)
  #expect(answer?.body["code"].string == code, comment, sourceLocation: sourceLocation)
  #expect(answer?.body["status"].integer == status, comment, sourceLocation: sourceLocation)
  #expect(answer?.body["requestId"].string?.isEmpty == false, comment, sourceLocation: sourceLocation)
  #expect(
    answer?.headers["x-request-id"] == answer?.body["requestId"].string, comment, sourceLocation: sourceLocation)
}
