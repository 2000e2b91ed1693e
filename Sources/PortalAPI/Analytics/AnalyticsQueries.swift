import Foundation
import Portal
import PortalHTTP

extension UsageQuestion {
  init(_ query: Query, at now: Date, isExport: Bool) throws(InvalidRequest) {
    let range = try query.dayRange(at: now)
    let grouping = try query.choice("groupBy", UsageGrouping.self) ?? .day
    self.init(
      range: range, grouping: grouping, accountID: try query.uuid("accountId"), keyID: try query.uuid("keyId"),
      keys: try KeySelection(query), limit: try query.rowLimit(isExport: isExport))
  }
}

extension KeySelection {
  init(_ query: Query) throws(InvalidRequest) {
    self.init(environment: try query.choice("environment", Key.Environment.self))
    guard let text = query.text("apiId") else { return }
    guard let reference = CatalogReference(text) else {
      throw InvalidRequest("query.apiId", "must be the id or slug of an api")
    }
    api = reference
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
  /// An export may have more rows. If `isWhole`, the answer has as many as it may unless the query says otherwise.
  func rowLimit(isExport: Bool, isWhole: Bool = false) throws(InvalidRequest) -> Int {
    let countMax = isExport ? AnalyticsLimits.exportRowCountMax : AnalyticsLimits.rowCountMax
    return try integer("limit", 1...countMax, default: isWhole ? countMax : AnalyticsLimits.rowCountDefault)
  }
}
