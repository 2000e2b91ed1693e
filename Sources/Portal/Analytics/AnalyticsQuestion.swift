package import Foundation
import JSON

/// A range of days, both ends included.
package struct DayRange: Sendable, Equatable {
  package static let dayCountDefault = 30
  package static let dayCountMax = 400

  package let from: Day
  package let to: Day

  /// Nil if the days are in the wrong order, or more than ``dayCountMax``.
  package init?(from: Day, to: Day) {
    guard from <= to, to.number - from.number < Self.dayCountMax else { return nil }
    self.from = from
    self.to = to
  }

  package var dayCount: Int { to.number - from.number + 1 }

  /// The period of the same length immediately before.
  package var before: (from: Day, to: Day) { (from.advanced(by: -dayCount), from.advanced(by: -1)) }
}

/// Bounds and defaults of analytics questions.
package enum AnalyticsLimits {
  package static let rowCountDefault = 100
  /// The maximum number of rows of an answer that is read completely.
  package static let rowCountMax = 10_000
  /// The maximum number of rows of an export.
  package static let exportRowCountMax = 1_000_000
  package static let unusedDaysDefault = 90
  package static let unusedDaysMax = 3_650
}

/// The group by which usage is summed up.
package enum UsageGrouping: String, Sendable, CaseIterable {
  case day, account, key, endpoint
}

/// The consumers that a question is about: accounts, or their keys.
package enum Consumers: String, Sendable, CaseIterable {
  case account, key
}

/// A question about usage across accounts.
package struct UsageQuestion: Sendable, Equatable {
  package var range: DayRange
  package var grouping: UsageGrouping
  /// Nil means all accounts.
  package var accountID: UUID?
  /// Nil means all keys.
  package var keyID: UUID?
  package var limit: Int

  package init(range: DayRange, grouping: UsageGrouping, accountID: UUID? = nil, keyID: UUID? = nil, limit: Int) {
    self.range = range
    self.grouping = grouping
    self.accountID = accountID
    self.keyID = keyID
    self.limit = limit
  }
}
