import Foundation
import HTTPTypes
import Hummingbird
import JSON
import NIOCore
import Portal
import PortalHTTP

/// `/v1/analytics`: questions across accounts, answered as JSON or, to `Accept: text/csv`, as CSV.
struct AnalyticsController {
  let analytics: Analytics

  func addRoutes(to routes: CompanyRoutes) {
    routes.get(
      "v1/analytics/usage", .readUsage,
      query: .days + ["groupBy", "accountId", "keyId", "environment", "apiId", "limit"], use: usage)
    routes.get(
      "v1/analytics/invoice", .readUsage, query: ["month", "environment", "apiId", "limit"], use: invoice)
    routes.get("v1/analytics/top", .readUsage, query: .days + ["by", "limit"], use: top)
    routes.get("v1/analytics/unused-keys", .readUsage, query: .page + ["days"], use: unusedKeys)
    routes.get("v1/analytics/error-rates", .readUsage, query: .days + ["by", "limit"], use: errorRates)
    routes.get("v1/analytics/growth", .readUsage, query: .days + ["limit"], use: growth)
  }

  @Sendable private func usage(_ request: Request, _ context: CompanyContext) async throws -> Response {
    let question = try UsageQuestion(try request.query(), at: analytics.clock.now.date, isExport: request.prefersCSV)
    let rows = analytics.usage(question)
    return try await answer(request, "usage", rows, UsageRow.columns(question.grouping)) { json, _ in
      json.fields(of: question.range)
    }
  }

  @Sendable private func invoice(_ request: Request, _ context: CompanyContext) async throws -> Response {
    let query = try request.query()
    guard let month = query.text("month").flatMap({ Month($0) }) else {
      throw InvalidRequest("query.month", "must be a month, such as 2026-11")
    }
    let rows = analytics.invoice(
      month, try KeySelection(query), limit: try query.rowLimit(isExport: request.prefersCSV, isWhole: true))
    return try await answer(request, "invoice-\(month)", rows, InvoiceRow.columns) { json, _ in
      json.field("month", month.description)
    }
  }

  @Sendable private func top(_ request: Request, _ context: CompanyContext) async throws -> Response {
    let asked = try ConsumerQuestion(try request.query(), at: analytics.clock.now.date, isExport: request.prefersCSV)
    let rows = analytics.top(asked.consumers, asked.range, limit: asked.limit)
    return try await answer(request, "top", rows, TopRow.columns(asked.consumers)) { json, _ in
      json.fields(of: asked.range)
    }
  }

  @Sendable private func unusedKeys(_ request: Request, _ context: CompanyContext) async throws -> Response {
    let query = try request.query()
    let days = try query.integer(
      "days", 1...AnalyticsLimits.unusedDaysMax, default: AnalyticsLimits.unusedDaysDefault)
    let limit = try query.rowLimit(isExport: request.prefersCSV)
    let rows = analytics.unusedKeys(days: days, limit: limit, before: try query.cursor())
    return try await answer(request, "unused-keys", rows, UnusedKey.columns) { json, page in
      json.field("days", days)
      json.field("nextCursor", page.hasMore ? page.rows.last?.consumer.keyID.map { Cursor.text(of: $0) } : nil)
    }
  }

  @Sendable private func errorRates(_ request: Request, _ context: CompanyContext) async throws -> Response {
    let asked = try ConsumerQuestion(try request.query(), at: analytics.clock.now.date, isExport: request.prefersCSV)
    let rows = analytics.errorRates(asked.consumers, asked.range, limit: asked.limit)
    return try await answer(request, "error-rates", rows, ErrorRateRow.columns(asked.consumers)) { json, _ in
      json.fields(of: asked.range)
    }
  }

  @Sendable private func growth(_ request: Request, _ context: CompanyContext) async throws -> Response {
    let query = try request.query()
    let range = try query.dayRange(at: analytics.clock.now.date)
    let rows = analytics.growth(range, limit: try query.rowLimit(isExport: request.prefersCSV))
    return try await answer(request, "growth", rows, GrowthRow.columns) { json, _ in
      json.fields(of: range)
      json.field("previousFrom", range.before.from.description)
      json.field("previousTo", range.before.to.description)
    }
  }

  /// `more` writes the members next to the rows in JSON.
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
  var prefersCSV: Bool { prefers("text/csv") }
}

extension Response {
  /// Streams a table as it is read: at most a thousand rows are in memory at a time.
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

extension HTTPField.Name {
  // Safe: it is a valid name.
  // swift-format-ignore: NeverForceUnwrap
  static let xLatchkeyCompleteThrough = HTTPField.Name("X-Latchkey-Complete-Through")!
}
