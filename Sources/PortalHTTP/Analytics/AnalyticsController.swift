import Foundation
import HTTPTypes
import Hummingbird
import NIOCore
import Portal

/// `/v1/analytics`: questions across accounts, answered as JSON or, to `Accept: text/csv`, as CSV.
struct AnalyticsController {
  let analytics: Analytics

  func addRoutes(to routes: AnalystRoutes) {
    routes.get("v1/analytics/usage", .readUsage, query: .days + ["groupBy", "accountId", "keyId", "limit"], use: usage)
    routes.get("v1/analytics/top", .readUsage, query: .days + ["by", "limit"], use: top)
    routes.get("v1/analytics/unused-keys", .readUsage, query: .page + ["days"], use: unusedKeys)
    routes.get("v1/analytics/error-rates", .readUsage, query: .days + ["by", "limit"], use: errorRates)
    routes.get("v1/analytics/growth", .readUsage, query: .days + ["limit"], use: growth)
  }

  @Sendable private func usage(_ request: Request, _ context: AnalystContext) async throws -> Response {
    let range = try request.dayRange(at: analytics.clock.now.date)
    let grouping = try request.queryChoice("groupBy", UsageGrouping.self) ?? .day
    let question = UsageQuestion(
      range: range, grouping: grouping, accountID: try request.queryUUID("accountId"),
      keyID: try request.queryUUID("keyId"), limit: try request.rowLimit)
    return try await answer(request, "usage", analytics.usage(question), UsageRow.columns(grouping)) { json, _ in
      json.fields(of: range)
    }
  }

  @Sendable private func top(_ request: Request, _ context: AnalystContext) async throws -> Response {
    let (range, by) = (try request.dayRange(at: analytics.clock.now.date), try request.consumers)
    let rows = analytics.top(by, range, limit: try request.rowLimit)
    return try await answer(request, "top", rows, TopRow.columns(by)) { json, _ in json.fields(of: range) }
  }

  @Sendable private func unusedKeys(_ request: Request, _ context: AnalystContext) async throws -> Response {
    let days = try request.queryInteger(
      "days", 1...AnalyticsLimits.unusedDaysMax, default: AnalyticsLimits.unusedDaysDefault)
    let rows = analytics.unusedKeys(days: days, limit: try request.rowLimit, before: try request.queryCursor())
    return try await answer(request, "unused-keys", rows, UnusedKey.columns) { json, page in
      json.field("days", days)
      json.field("nextCursor", page.hasMore ? page.rows.last?.consumer.keyID.map { Cursor.text(of: $0) } : nil)
    }
  }

  @Sendable private func errorRates(_ request: Request, _ context: AnalystContext) async throws -> Response {
    let (range, by) = (try request.dayRange(at: analytics.clock.now.date), try request.consumers)
    let rows = analytics.errorRates(by, range, limit: try request.rowLimit)
    return try await answer(request, "error-rates", rows, ErrorRateRow.columns(by)) { json, _ in
      json.fields(of: range)
    }
  }

  @Sendable private func growth(_ request: Request, _ context: AnalystContext) async throws -> Response {
    let range = try request.dayRange(at: analytics.clock.now.date)
    let rows = analytics.growth(range, limit: try request.rowLimit)
    return try await answer(request, "growth", rows, GrowthRow.columns) { json, _ in
      json.fields(of: range)
      json.field("previousFrom", range.before.from.description)
      json.field("previousTo", range.before.to.description)
    }
  }

  /// `more` writes what stands beside the rows in JSON.
  private func answer<Row>(
    _ request: Request, _ name: String, _ rows: AnalyticsRows<Row>, _ columns: [Column<Row>],
    _ more: (inout JSONWriter, AnalyticsRows<Row>.Page) -> Void
  ) async throws -> Response {
    if request.prefersCSV { return Response(csv: try await rows.export(), columns, name: name) }
    let page = try await rows.collect()
    return Response(
      json: .object { json in
        json.array("rows", page.rows) { $0.object($1, columns) }
        more(&json, page)
        json.field("hasMore", page.hasMore)
        json.field("completeThrough", page.completeThrough)
      })
  }
}

extension Request {
  fileprivate var rowLimit: Int {
    get throws(InvalidRequest) {
      try queryInteger(
        "limit", 1...(prefersCSV ? AnalyticsLimits.exportRowCountMax : AnalyticsLimits.rowCountMax),
        default: AnalyticsLimits.rowCountDefault)
    }
  }

  fileprivate var consumers: Consumers {
    get throws(InvalidRequest) { try queryChoice("by", Consumers.self) ?? .account }
  }

  var prefersCSV: Bool { prefers("text/csv") }
}

extension Response {
  /// A table as it is read: no more than a thousand rows are in memory at a time.
  fileprivate init<Row>(csv export: AnalyticsRows<Row>.Export, _ columns: [Column<Row>], name: String) {
    let headers: HTTPFields = [
      .contentType: CSVWriter.mediaType, .cacheControl: "no-store",
      .contentDisposition: "attachment; filename=\"\(name).csv\"",
      .xLatchkeyCompleteThrough: Timestamp.text(of: export.completeThrough),
    ]
    self.init(
      status: .ok, headers: headers,
      body: .streamed { write in
        var csv = CSVWriter()
        csv.header(columns)
        try await write(csv.bytes)
        try await export.read { rows in
          csv.clear()
          for row in rows { csv.row(row, columns) }
          try await write(csv.bytes)
        }
      })
  }
}

extension JSONWriter {
  fileprivate mutating func fields(of range: DayRange) {
    field("from", range.from.description)
    field("to", range.to.description)
  }
}

extension HTTPField.Name {
  // Safe: it is a valid name.
  // swift-format-ignore: NeverForceUnwrap
  static let xLatchkeyCompleteThrough = HTTPField.Name("X-Latchkey-Complete-Through")!
}

// MARK: Columns

extension UsageRow {
  fileprivate static func columns(_ grouping: UsageGrouping) -> [Column<UsageRow>] {
    groupColumns(grouping) + [
      Column("successes") { .count($0.totals.successes) }, Column("errors") { .count($0.totals.errors) },
      Column("denied") { .count($0.totals.denied) },
      Column("averageLatencyMs") { .number($0.totals.averageLatencyMilliseconds) },
      Column("p95LatencyMs") { .number($0.totals.latencyPercentile(0.95)) },
    ]
  }

  private static func groupColumns(_ grouping: UsageGrouping) -> [Column<UsageRow>] {
    switch grouping {
    case .day: [Column("date") { .day($0.day) }]
    case .account:
      [
        Column("accountId") { .id($0.consumer?.accountID) }, Column("accountName") { .text($0.consumer?.accountName) },
      ]
    case .key:
      [
        Column("keyId") { .id($0.consumer?.keyID) }, Column("accountId") { .id($0.consumer?.accountID) },
        Column("name") { .text($0.consumer?.keyName) }, Column("start") { .text($0.consumer?.keyStart) },
      ]
    case .endpoint: [Column("endpoint") { .text($0.endpoint) }]
    }
  }
}

/// Columns of an account, or of one of its keys.
private func columns<Row>(
  of consumers: Consumers, _ consumer: @escaping @Sendable (Row) -> Consumer
) -> [Column<Row>] {
  let account: [Column<Row>] = [
    Column("accountId") { .id(consumer($0).accountID) }, Column("accountName") { .text(consumer($0).accountName) },
  ]
  return switch consumers {
  case .account: account
  case .key:
    [Column("keyId") { .id(consumer($0).keyID) }] + account
      + [Column("name") { .text(consumer($0).keyName) }, Column("start") { .text(consumer($0).keyStart) }]
  }
}

extension TopRow {
  fileprivate static func columns(_ consumers: Consumers) -> [Column<TopRow>] {
    PortalHTTP.columns(of: consumers, \.consumer) + [
      Column("totalRequests") { .count($0.totalRequests) }, Column("successes") { .count($0.successes) },
      Column("errors") { .count($0.errors) }, Column("denied") { .count($0.denied) },
      Column("share") { .ratio($0.share) },
    ]
  }
}

extension UnusedKey {
  fileprivate static var columns: [Column<UnusedKey>] {
    PortalHTTP.columns(of: .key, \.consumer) + [
      Column("createdAt") { .time($0.createdAt) }, Column("lastUsedAt") { .time($0.lastUsedAt) },
    ]
  }
}

extension ErrorRateRow {
  fileprivate static func columns(_ consumers: Consumers) -> [Column<ErrorRateRow>] {
    PortalHTTP.columns(of: consumers, \.consumer) + [
      Column("successes") { .count($0.successes) }, Column("errors") { .count($0.errors) },
      Column("errorRate") { .ratio($0.errorRate) }, Column("lowerBound") { .ratio($0.lowerBound) },
      Column("overallErrorRate") { .ratio($0.overallErrorRate) },
    ]
  }
}

extension GrowthRow {
  fileprivate static var columns: [Column<GrowthRow>] {
    PortalHTTP.columns(of: .account, \.consumer) + [
      Column("requests") { .count($0.requests) }, Column("previousRequests") { .count($0.previousRequests) },
      Column("difference") { .count($0.difference) }, Column("ratio") { .number($0.ratio) },
      Column("score") { .number($0.score) }, Column("isOutlier") { .flag($0.isOutlier) },
    ]
  }
}
