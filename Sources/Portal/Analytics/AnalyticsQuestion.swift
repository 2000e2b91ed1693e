package import Foundation
import JSON

/// The days that a question is about, both included.
package struct DayRange: Sendable, Equatable {
  package static let dayCountDefault = 30
  package static let dayCountMax = 400

  package let from: Day
  package let to: Day

  /// Nil where the days are in the wrong order or too many.
  package init?(from: Day, to: Day) {
    guard from <= to, to.number - from.number < Self.dayCountMax else { return nil }
    self.from = from
    self.to = to
  }

  package var dayCount: Int { to.number - from.number + 1 }

  /// As many days, right before.
  package var before: (from: Day, to: Day) { (from.advanced(by: -dayCount), from.advanced(by: -1)) }
}

/// How many rows an answer may have.
package enum AnalyticsLimits {
  package static let rowCountDefault = 100
  /// Rows that are answered at once.
  package static let rowCountMax = 10_000
  /// Rows that are written one after the other.
  package static let exportRowCountMax = 1_000_000
  package static let unusedDaysDefault = 90
  package static let unusedDaysMax = 3_650
}

/// What usage is summed up by.
package enum UsageGrouping: String, Sendable, CaseIterable {
  case day, account, key, endpoint
}

/// Whom a question is about: accounts, or each of their keys.
package enum Consumers: String, Sendable, CaseIterable {
  case account, key
}

/// Which usage somebody asks for, across accounts.
package struct UsageQuestion: Sendable, Equatable {
  package var range: DayRange
  package var grouping: UsageGrouping
  /// nil: of all.
  package var accountID: UUID?
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
