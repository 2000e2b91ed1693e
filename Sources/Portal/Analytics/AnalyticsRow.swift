package import Foundation
package import JSON

/// The usage of one group. Only the fields that identify the group are set.
package struct UsageRow: Sendable {
  package var day: Day?
  package var consumer: Consumer?
  package var endpoint: String?
  package var environment: Key.Environment?
  package var api: API?
  package var totals: UsageTotals

  /// The api that keys are for. Both are nil for keys that are for all apis.
  package struct API: Sendable, Equatable {
    package var id: UUID?
    package var slug: String?
  }
}

/// What an account has used in a month, with keys of one environment and for one api.
package struct InvoiceRow: Sendable, Equatable {
  package var externalID: String?
  package var consumer: Consumer
  /// Nil if the keys no longer exist.
  package var environment: Key.Environment?
  package var api: UsageRow.API
  package var successes: Int
  package var errors: Int
  package var denied: Int
}

/// An account or, with a `keyID`, one of its keys. Names are nil if the account or key has been deleted.
package struct Consumer: Sendable, Equatable {
  package var accountID: UUID
  package var accountName: String?
  package var keyID: UUID?
  package var keyName: String?
  package var keyStart: String?
}

/// A consumer with many requests.
package struct TopRow: Sendable, Equatable {
  package var consumer: Consumer
  package var successes: Int
  package var errors: Int
  package var denied: Int
  /// The share of all requests, 0…1.
  package var share: Double

  package var totalRequests: Int { successes.addingBounded(errors).addingBounded(denied) }
}

/// An active key that is not being used.
package struct UnusedKey: Sendable, Equatable {
  package var consumer: Consumer
  package var createdAt: Date
  /// Nil if never used.
  package var lastUsedAt: Date?
}

/// A consumer whose requests fail more often than chance explains.
package struct ErrorRateRow: Sendable, Equatable {
  package var consumer: Consumer
  package var successes: Int
  package var errors: Int
  /// The lower end of Wilson's interval: the true rate is hardly below it.
  package var lowerBound: Double
  /// The error rate of all requests.
  package var overallErrorRate: Double

  package var errorRate: Double { Double(errors) / (Double(successes) + Double(errors)) }
}

/// An account's traffic compared with the period of the same length immediately before.
package struct GrowthRow: Sendable, Equatable {
  package var consumer: Consumer
  package var requests: Int
  package var previousRequests: Int
  /// The deviation from the usual growth in this period, in standard deviations; nil if there are too few accounts to
  /// tell what is usual.
  package var score: Double?
  package var isOutlier: Bool

  package var difference: Int { requests.subtractingBounded(previousRequests) }
  /// Nil if there was no traffic before.
  package var ratio: Double? { previousRequests == 0 ? nil : Double(requests) / Double(previousRequests) }
}
