import Foundation
import JSON
import Portal

/// A report of the outcomes of requests. A problem of one event does not refuse the others.
struct UsageBody {
  var batchID: String?
  var events: [ReportedEvent]
}

extension UsageBody: JSONBody {
  /// Room for 10,000 events.
  static var sizeMax: Int { 4 << 20 }

  init(_ fields: inout RequestFields) throws {
    let batchID = fields.optionalString("batchId", 1...ReportedOutcome.batchIDLengthMax)
    let events = fields.events()
    self = try fields.finish(events) { UsageBody(batchID: batchID, events: $0) }
  }
}

/// One event of a report: its outcome, or its first problem.
struct ReportedEvent {
  private static let problemLengthMax = 200

  var outcome: ReportedOutcome?
  var problem: String?

  init(_ outcome: ReportedOutcome) { self.outcome = outcome }

  init(_ problem: RequestProblem) {
    let text = "\(problem.location) \(problem.message)"
    self.problem = String(String.UnicodeScalarView(text.unicodeScalars.prefix(Self.problemLengthMax)))
  }
}

extension RequestFields {
  private static let statuses = 100...599
  /// The status that nginx logs for a client that closed the connection. It counts as an error.
  private static let clientClosedRequest = 499

  fileprivate mutating func events() -> [ReportedEvent]? {
    objects("events", 0...ReportedOutcome.countPerBatchMax) { object in
      switch object {
      case .problem(let problem): return ReportedEvent(problem)
      case .fields(var fields):
        let outcome = fields.outcome()
        let problem = fields.finalProblems.first
        if let outcome, problem == nil { return ReportedEvent(outcome) }
        return ReportedEvent(problem ?? RequestProblem(location: "body.events", message: "cannot be read"))
      }
    }
  }

  /// Nil after a problem.
  private mutating func outcome() -> ReportedOutcome? {
    let id = uuid("keyId")
    let endpoint = string("endpoint", 1...VerificationRequest.endpointLengthMax)
    let status = status()
    let latency = optionalNumber("latencyMs", 0...ReportedOutcome.latencyMillisecondsMax)
    let at = optionalDate("at")
    return Self.make(id, endpoint, status) {
      ReportedOutcome(keyID: $0, endpoint: $1, status: $2, latencyMilliseconds: latency, at: at)
    }
  }

  /// The status of a request. For a client that went away before there was a status, nginx logs 000 and Envoy 0.
  private mutating func status() -> Int? { required("status") { $0.optionalStatus() } }

  private mutating func optionalStatus() -> Int? {
    guard let value = value("status") else { return nil }
    guard let number = value.statusNumber, number == 0 || Self.statuses.contains(number) else {
      refuse("status", "must be a whole number from \(Self.statuses.lowerBound) to \(Self.statuses.upperBound), or 0")
      return nil
    }
    return number == 0 ? Self.clientClosedRequest : number
  }
}

extension JSONValue {
  /// A whole number, or up to three digits in quotes, as logs have them.
  fileprivate var statusNumber: Int? {
    guard case .string(let digits) = self else { return integer }
    let isNumber = (1...3).contains(digits.utf8.count) && digits.utf8.allSatisfy { (0x30...0x39).contains($0) }
    return isNumber ? Int(digits) : nil
  }
}
