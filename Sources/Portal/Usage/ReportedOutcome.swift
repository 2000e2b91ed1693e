package import Foundation
import JSON

/// A gateway's report of one request that was let through.
package struct ReportedOutcome: Sendable, Equatable {
  package static let countPerBatchMax = 10_000
  package static let batchIDLengthMax = 255
  /// How far in the past an event may be.
  static let ageSecondsMax = 48.0 * 3_600
  /// How far in the future an event may be.
  static let aheadSecondsMax = 300.0
  package static let latencyMillisecondsMax = 86_400_000.0

  package var keyID: UUID
  package var endpoint: String
  package var status: Int
  package var latencyMilliseconds: Double?
  /// Nil means now.
  package var at: Date?

  package init(keyID: UUID, endpoint: String, status: Int, latencyMilliseconds: Double?, at: Date? = nil) {
    self.keyID = keyID
    self.endpoint = endpoint
    self.status = status
    self.latencyMilliseconds = latencyMilliseconds
    self.at = at
  }

  var isError: Bool { status >= 400 }
}

/// Outcomes with the same values are counted together. A batch may have 10,000 different endpoints, so they are hashed
/// by their bytes.
struct OutcomeKey: Hashable, Sendable {
  var accountID: UUID
  var keyID: UUID
  /// Hours since 1970, in UTC.
  var hour: Int
  var endpoint: ByteText
}

struct OutcomeCounts: Sendable, Equatable {
  var reported = 0
  /// Requests with a status of 400 or above.
  var errors = 0
  var latencySumMilliseconds = 0.0
  var latencyCount = 0
  var latencies = LatencyHistogram()
  var lastAt = Date.distantPast

  mutating func add(_ outcome: ReportedOutcome, at: Date) {
    reported += 1
    if outcome.isError { errors += 1 }
    if let latency = outcome.latencyMilliseconds {
      latencySumMilliseconds += latency
      latencyCount += 1
      latencies.add(milliseconds: latency)
    }
    lastAt = max(lastAt, at)
  }
}
