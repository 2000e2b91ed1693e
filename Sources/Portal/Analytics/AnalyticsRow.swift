package import Foundation
import JSON

/// Usage summed up by one thing. Only the fields of that thing are set.
package struct UsageRow: Sendable {
  package var day: Day?
  package var consumer: Consumer?
  package var endpoint: String?
  package var totals: UsageTotals
}

/// An account or, if it has a key, one of its keys. Names are nil where the thing itself is gone.
package struct Consumer: Sendable, Equatable {
  package var accountID: UUID
  package var accountName: String?
  package var keyID: UUID?
  package var keyName: String?
  package var keyStart: String?
}

/// One of those with most requests.
package struct TopRow: Sendable, Equatable {
  package var consumer: Consumer
  package var successes: Int
  package var errors: Int
  package var denied: Int
  /// Of the requests of everybody.
  package var share: Double

  package var totalRequests: Int { successes.addingBounded(errors).addingBounded(denied) }
}

/// A key that could be used and is not.
package struct UnusedKey: Sendable, Equatable {
  package var consumer: Consumer
  package var createdAt: Date
  /// nil: never.
  package var lastUsedAt: Date?
}

/// One whose requests fail more often than chance explains.
package struct ErrorRateRow: Sendable, Equatable {
  package var consumer: Consumer
  package var successes: Int
  package var errors: Int
  /// Below which the true rate hardly is: the lower end of Wilson's interval.
  package var lowerBound: Double
  /// Everybody's.
  package var overallErrorRate: Double

  package var errorRate: Double { Double(errors) / (Double(successes) + Double(errors)) }
}

/// Traffic against that of as many days right before.
package struct GrowthRow: Sendable, Equatable {
  package var consumer: Consumer
  package var requests: Int
  package var previousRequests: Int
  /// How far from what is usual in this period, in standard deviations; nil where too few accounts say what is usual.
  package var score: Double?
  package var isOutlier: Bool

  package var difference: Int { requests.subtractingBounded(previousRequests) }
  /// nil where there was nothing before.
  package var ratio: Double? { previousRequests == 0 ? nil : Double(requests) / Double(previousRequests) }
}
