import Foundation
import Portal

extension UsageQuestion {
  init(_ query: Query, at now: Date, isExport: Bool) throws(InvalidRequest) {
    let range = try query.dayRange(at: now)
    let grouping = try query.choice("groupBy", UsageGrouping.self) ?? .day
    self.init(
      range: range, grouping: grouping, accountID: try query.uuid("accountId"), keyID: try query.uuid("keyId"),
      limit: try query.rowLimit(isExport: isExport))
  }
}

/// A question about accounts or keys over a range of days.
struct ConsumerQuestion {
  var range: DayRange
  var consumers: Consumers
  var limit: Int
}

extension ConsumerQuestion {
  init(_ query: Query, at now: Date, isExport: Bool) throws(InvalidRequest) {
    range = try query.dayRange(at: now)
    consumers = try query.choice("by", Consumers.self) ?? .account
    limit = try query.rowLimit(isExport: isExport)
  }
}

extension Query {
  /// An export may have more rows.
  func rowLimit(isExport: Bool) throws(InvalidRequest) -> Int {
    try integer(
      "limit", 1...(isExport ? AnalyticsLimits.exportRowCountMax : AnalyticsLimits.rowCountMax),
      default: AnalyticsLimits.rowCountDefault)
  }
}
