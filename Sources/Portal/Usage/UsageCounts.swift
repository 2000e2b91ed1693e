package import Foundation

/// What is counted together: one key, one day, one endpoint.
package struct UsageKey: Hashable, Sendable {
  package var accountID: UUID
  package var keyID: UUID
  package var day: Day
  package var endpoint: String

  /// The key's random bits and the endpoint tell nearly all apart, and this is done for every verification.
  package func hash(into hasher: inout Hasher) {
    hasher.combine(keyID.lowBits)
    hasher.combine(endpoint)
  }

  /// The order in which every instance writes, so that no two wait for each other.
  static func precedes(_ one: UsageKey, _ other: UsageKey) -> Bool {
    if one.accountID != other.accountID { return one.accountID.precedes(other.accountID) }
    if one.keyID != other.keyID { return one.keyID.precedes(other.keyID) }
    return one.day != other.day ? one.day < other.day : one.endpoint < other.endpoint
  }
}

extension UUID {
  private var number: UInt128 {
    withUnsafeBytes(of: uuid) { UInt128(bigEndian: $0.loadUnaligned(as: UInt128.self)) }
  }

  /// By their bytes, as PostgreSQL orders them.
  func precedes(_ other: UUID) -> Bool {
    number < other.number
  }
}

/// The counters of one ``UsageKey``.
package struct UsageCounts: Sendable, Equatable {
  /// Verifications answered VALID, and those answered otherwise.
  package var verified = 0
  package var denied = 0
  /// Outcomes reported, and those among them with a status from 400 on.
  package var reported = 0
  package var errors = 0
  package var latencySumMilliseconds = 0.0
  package var latencyCount = 0
  package var latencies = LatencyHistogram()
  package var lastUsedAt = Date.distantPast

  package init() {}

  package mutating func merge(_ other: UsageCounts) {
    verified += other.verified
    denied += other.denied
    reported += other.reported
    errors += other.errors
    latencySumMilliseconds += other.latencySumMilliseconds
    latencyCount += other.latencyCount
    latencies.merge(other.latencies)
    lastUsedAt = max(lastUsedAt, other.lastUsedAt)
  }

  mutating func addOutcome(_ outcome: ReportedOutcome, at: Date) {
    reported += 1
    if outcome.isError { errors += 1 }
    if let latency = outcome.latencyMilliseconds {
      latencySumMilliseconds += latency
      latencyCount += 1
      latencies.add(milliseconds: latency)
    }
    lastUsedAt = max(lastUsedAt, at)
  }
}

/// What a gateway tells of one request that went through.
package struct ReportedOutcome: Sendable, Equatable {
  package static let countPerBatchMax = 10_000
  package static let batchIDLengthMax = 255
  /// How far from now an event may lie.
  package static let ageSecondsMax = 48.0 * 3_600
  package static let aheadSecondsMax = 300.0
  package static let latencyMillisecondsMax = 86_400_000.0

  package var keyID: UUID
  package var endpoint: String
  package var status: Int
  package var latencyMilliseconds: Double?
  /// nil: now.
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

/// Counters taken out of memory together, to be written together.
package struct UsageSegment: Sendable {
  package var counters: [UsageKey: UsageCounts]

  package var isEmpty: Bool { counters.isEmpty }

  /// In the order in which they are written.
  var sorted: [(key: UsageKey, value: UsageCounts)] {
    counters.sorted { UsageKey.precedes($0.key, $1.key) }
  }
}
