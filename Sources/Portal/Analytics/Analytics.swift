package import Foundation
package import Postgres
import Synchronization

/// Answers questions across accounts, for staff and analysts.
package struct Analytics: Sendable {
  let pool: PostgresPool
  package let clock: DatabaseClock
  private let exports = ExportGate()

  package init(pool: PostgresPool, clock: DatabaseClock = DatabaseClock()) {
    self.pool = pool
    self.clock = clock
  }

  /// Sums of usage: days oldest first, other groups with the most requests first.
  package func usage(_ question: UsageQuestion) -> AnalyticsRows<UsageRow> {
    question.limit <= FewGroups.countMax ? usage(question, FewGroups.self) : usage(question, ManyGroups.self)
  }

  private func usage<Size: AnswerSize>(_ question: UsageQuestion, _: Size.Type) -> AnalyticsRows<UsageRow> {
    switch question.grouping {
    case .day: rows(question.limit) { SumUsageOfDays<Size>(question: question, count: $0) }
    case .account: rows(question.limit) { SumUsageOfAccounts<Size>(question: question, count: $0) }
    case .key: rows(question.limit) { SumUsageOfKeys<Size>(question: question, count: $0) }
    case .endpoint: rows(question.limit) { SumUsageOfEndpoints<Size>(question: question, count: $0) }
    case .environment: rows(question.limit) { SumUsageOfEnvironments<Size>(question: question, count: $0) }
    case .api: rows(question.limit) { SumUsageOfAPIs<Size>(question: question, count: $0) }
    }
  }

  /// The consumers with the most requests.
  package func top(_ consumers: Consumers, _ range: DayRange, limit: Int) -> AnalyticsRows<TopRow> {
    switch consumers {
    case .account: rows(limit) { ListTopAccounts(range: range, count: $0) }
    case .key: rows(limit) { ListTopKeys(range: range, count: $0) }
    }
  }

  /// What each account has used in a month, by environment and api, in the order of the accounts' ids. Reading throws
  /// `.monthNotFinal` until no more usage of the month can arrive.
  package func invoice(_ month: Month, _ keys: KeySelection, limit: Int) -> AnalyticsRows<InvoiceRow> {
    AnalyticsRows(pool: pool, exports: exports, limit: limit, finalAt: month.finalAt) {
      ListInvoice(range: month.days, keys: keys, count: $0)
    }
  }

  /// Active keys that have not been used for `days` days, newest first.
  package func unusedKeys(days: Int, limit: Int, before: UUID?) -> AnalyticsRows<UnusedKey> {
    rows(limit) { ListUnusedKeys(days: days, before: before, count: $0) }
  }

  /// Consumers with an unusually high error rate, see ``ListErrorRates``.
  package func errorRates(_ consumers: Consumers, _ range: DayRange, limit: Int) -> AnalyticsRows<ErrorRateRow> {
    switch consumers {
    case .account: rows(limit) { ListErrorRates<ByAccount>(range: range, count: $0) }
    case .key: rows(limit) { ListErrorRates<ByKey>(range: range, count: $0) }
    }
  }

  /// Accounts ordered by how unusual their growth is, see ``ListGrowth``.
  package func growth(_ range: DayRange, limit: Int) -> AnalyticsRows<GrowthRow> {
    rows(limit) { ListGrowth(range: range, count: $0) }
  }

  private func rows<Statement: PostgresStatement>(
    _ limit: Int, _ statement: @escaping @Sendable (Int) -> Statement
  ) -> AnalyticsRows<Statement.Row> {
    AnalyticsRows(pool: pool, exports: exports, limit: limit, statement)
  }
}

/// The rows of an answer, which are still to be read: all together, or a few at a time.
package struct AnalyticsRows<Row: Sendable>: Sendable {
  package struct Page: Sendable {
    package var rows: [Row]
    /// Whether the limit has cut off further rows.
    package var hasMore: Bool
    package var completeThrough: Date
  }

  package typealias Sink = ([Row]) async throws -> Void

  private let collectRows: @Sendable () async throws -> Page
  private let exportRows: @Sendable (Sink) async throws -> Void
  private let pool: PostgresPool
  private let exports: ExportGate
  private let finalAt: Date?

  /// `finalAt` is the time through which usage must be complete; nil: none.
  fileprivate init<Statement: PostgresStatement>(
    pool: PostgresPool, exports: ExportGate, limit: Int, finalAt: Date? = nil,
    _ statement: @escaping @Sendable (Int) -> Statement
  ) where Statement.Row == Row {
    self.pool = pool
    self.exports = exports
    self.finalAt = finalAt
    collectRows = {
      if let finalAt { _ = try await Self.completeThrough(on: pool, atLeast: finalAt) }
      // Read completeness first: usage that is written in between only makes the answer more complete.
      let (_, completeThrough, found) = try await pool.pipeline(
        ForceCustomPlanWithoutJIT(), ReadCompleteThrough(), statement(limit + 1), as: .analyst)
      return Page(
        rows: Array(found.prefix(limit)), hasMore: found.count > limit,
        completeThrough: try ReadCompleteThrough.one(of: completeThrough))
    }
    exportRows = { sink in try await Self.export(statement(limit), pool, sink) }
  }

  /// Reads all rows.
  package func collect() async throws -> Page { try await collectRows() }

  /// Prepares for reading the rows a few at a time. Throws `.tooManyRequests` if too many exports are running.
  package func export() async throws -> Export {
    let permit = try exports.enter()
    let completeThrough = try await Self.completeThrough(on: pool, atLeast: finalAt)
    return Export(completeThrough: completeThrough, permit: permit, rows: exportRows)
  }

  /// Throws `.monthNotFinal` if usage is not complete through `finalAt`.
  private static func completeThrough(on pool: PostgresPool, atLeast finalAt: Date?) async throws -> Date {
    let date = try ReadCompleteThrough.one(of: await pool.query(ReadCompleteThrough(), as: .analyst))
    if let finalAt, date < finalAt { throw PortalError.monthNotFinal(finalAt: finalAt, completeThrough: date) }
    return date
  }

  package struct Export: Sendable {
    package let completeThrough: Date
    fileprivate let permit: ExportGate.Permit
    fileprivate let rows: @Sendable (Sink) async throws -> Void

    /// Passes all rows to `sink` in order, at most a thousand at a time. Throws `.unavailable` if the database fails
    /// once rows may have been passed on.
    package func read(_ sink: Sink) async throws { try await rows(sink) }
  }

  private static func export<Statement: PostgresStatement>(
    _ statement: Statement, _ pool: PostgresPool, _ sink: Sink
  ) async throws where Statement.Row == Row {
    // A cursor reads from a single snapshot. The isolation level must not take one earlier.
    try await pool.withTransaction(as: .analyst) { connection in
      _ = try await connection.pipeline(
        ForceCustomPlanWithoutJIT(), LimitExportPause(), LockUsage(), DeclareExport(query: statement))
      do {
        while true {
          let found = try await connection.query(FetchExport<Statement>())
          if found.isEmpty { return }
          try await sink(found)
        }
      } catch let error as PostgresError {
        // Wrapped, so that the transaction is not retried: some rows have been passed on already.
        throw PortalError.unavailable(reason: "an export was interrupted: \(error)")
      }
    }
  }
}

/// Limits how many exports run at a time, because each holds a connection.
final class ExportGate: Sendable {
  static let countMax = 4
  /// A longer export no longer counts: its reader has most likely gone, and its connection has been closed.
  static let durationMax: Duration = .seconds(900)
  private static let retryAfterSeconds = 10

  private let begun = Mutex<[ObjectIdentifier: ContinuousClock.Instant]>([:])

  /// Released with the last reference to it.
  final class Permit: Sendable {
    private let gate: ExportGate
    fileprivate init(_ gate: ExportGate) { self.gate = gate }
    deinit { gate.leave(ObjectIdentifier(self)) }
  }

  func enter(at now: ContinuousClock.Instant = .now) throws(PortalError) -> Permit {
    let permit = Permit(self)
    let isFree = begun.withLock { begun in
      guard begun.values.count(where: { $0 + Self.durationMax > now }) < Self.countMax else { return false }
      begun[ObjectIdentifier(permit)] = now
      return true
    }
    guard isFree else { throw .tooManyRequests(retryAfterSeconds: Self.retryAfterSeconds) }
    return permit
  }

  private func leave(_ permit: ObjectIdentifier) {
    begun.withLock { _ = $0.removeValue(forKey: permit) }
  }
}
