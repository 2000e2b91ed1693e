package import Foundation
package import JSON

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
  case day, account, key, endpoint, environment, api
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
  package var keys: KeySelection
  package var limit: Int

  package init(
    range: DayRange, grouping: UsageGrouping, accountID: UUID? = nil, keyID: UUID? = nil,
    keys: KeySelection = KeySelection(), limit: Int
  ) {
    self.range = range
    self.grouping = grouping
    self.accountID = accountID
    self.keyID = keyID
    self.keys = keys
    self.limit = limit
  }
}

/// Selects the usage of keys by what the keys are now. Keys match if they meet both conditions.
package struct KeySelection: Sendable, Equatable {
  /// Nil means both environments.
  package var environment: Key.Environment?
  /// Only keys that are for this api, not those for all apis; nil means any keys.
  package var api: CatalogReference?

  package init(environment: Key.Environment? = nil, api: CatalogReference? = nil) {
    self.environment = environment
    self.api = api
  }
}

/// A month of the calendar in UTC.
package struct Month: Sendable, Equatable, CustomStringConvertible {
  package let days: DayRange

  /// From a text such as `2026-11`; nil for anything else.
  package init?(_ text: String) {
    guard text.utf8.count == 7, let first = Timestamp.day(from: text + "-01"),
      let last = ["31", "30", "29", "28"].lazy.compactMap({ Timestamp.day(from: text + "-" + $0) }).first,
      let days = DayRange(from: first, to: last)
    else { return nil }
    self.days = days
  }

  package var description: String { String(days.from.description.dropLast(3)) }

  /// When its usage is final: outcomes may be reported ``ReportedOutcome/ageSecondsMax`` after they happened.
  package var finalAt: Date {
    let end = Double(days.to.advanced(by: 1).number) * 86_400
    return Date(timeIntervalSince1970: end + ReportedOutcome.ageSecondsMax)
  }
}
