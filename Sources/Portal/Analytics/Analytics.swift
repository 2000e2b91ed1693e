package import Foundation
package import Postgres
import Synchronization

/// Questions across accounts, for staff and analysts.
package struct Analytics: Sendable {
  let pool: PostgresPool
  package let clock: DatabaseClock
  private let exports = ExportGate()

  package init(pool: PostgresPool, clock: DatabaseClock = DatabaseClock()) {
    self.pool = pool
    self.clock = clock
  }

  /// By day the oldest first, else those with most requests first.
  package func usage(_ question: UsageQuestion) -> AnalyticsRows<UsageRow> {
    question.limit <= FewGroups.countMax ? usage(question, FewGroups.self) : usage(question, ManyGroups.self)
  }

  private func usage<Size: AnswerSize>(_ question: UsageQuestion, _: Size.Type) -> AnalyticsRows<UsageRow> {
    switch question.grouping {
    case .day: rows(question.limit) { SumUsageOfDays<Size>(question: question, count: $0) }
    case .account: rows(question.limit) { SumUsageOfAccounts<Size>(question: question, count: $0) }
    case .key: rows(question.limit) { SumUsageOfKeys<Size>(question: question, count: $0) }
    case .endpoint: rows(question.limit) { SumUsageOfEndpoints<Size>(question: question, count: $0) }
    }
  }

  /// Those with most requests.
  package func top(_ consumers: Consumers, _ range: DayRange, limit: Int) -> AnalyticsRows<TopRow> {
    switch consumers {
    case .account: rows(limit) { ListTopAccounts(range: range, count: $0) }
    case .key: rows(limit) { ListTopKeys(range: range, count: $0) }
    }
  }

  /// Active keys not used for `days` days, the newest first.
  package func unusedKeys(days: Int, limit: Int, before: UUID?) -> AnalyticsRows<UnusedKey> {
    rows(limit) { ListUnusedKeys(days: days, before: before, count: $0) }
  }

  /// Those whose error rate stands out; ``ListErrorRates`` says how.
  package func errorRates(_ consumers: Consumers, _ range: DayRange, limit: Int) -> AnalyticsRows<ErrorRateRow> {
    switch consumers {
    case .account: rows(limit) { ListErrorRates<ByAccount>(range: range, count: $0) }
    case .key: rows(limit) { ListErrorRates<ByKey>(range: range, count: $0) }
    }
  }

  /// Accounts by how unusual their growth is; ``ListGrowth`` says how.
  package func growth(_ range: DayRange, limit: Int) -> AnalyticsRows<GrowthRow> {
    rows(limit) { ListGrowth(range: range, count: $0) }
  }

  private func rows<Statement: PostgresStatement>(
    _ limit: Int, _ statement: @escaping @Sendable (Int) -> Statement
  ) -> AnalyticsRows<Statement.Row> {
    AnalyticsRows(pool: pool, exports: exports, limit: limit, statement)
  }
}

/// The rows that answer a question, still to be read: all at once, or a few at a time.
package struct AnalyticsRows<Row: Sendable>: Sendable {
  package struct Page: Sendable {
    package var rows: [Row]
    /// Whether the limit has left some out.
    package var hasMore: Bool
    package var completeThrough: Date
  }

  package typealias Sink = ([Row]) async throws -> Void

  private let collectRows: @Sendable () async throws -> Page
  private let exportRows: @Sendable (Sink) async throws -> Void
  private let pool: PostgresPool
  private let exports: ExportGate

  fileprivate init<Statement: PostgresStatement>(
    pool: PostgresPool, exports: ExportGate, limit: Int, _ statement: @escaping @Sendable (Int) -> Statement
  ) where Statement.Row == Row {
    self.pool = pool
    self.exports = exports
    collectRows = {
      // What is said of completeness is read first: what is written in between makes it truer.
      let (_, completeThrough, found) = try await pool.pipeline(
        ForceCustomPlanWithoutJIT(), ReadCompleteThrough(), statement(limit + 1), as: .analyst)
      return Page(
        rows: Array(found.prefix(limit)), hasMore: found.count > limit, completeThrough: completeThrough[0])
    }
    exportRows = { sink in try await Self.export(statement(limit), pool, sink) }
  }

  /// All of them.
  package func collect() async throws -> Page { try await collectRows() }

  /// Makes ready for reading a few at a time. Throws `.tooManyRequests` while too many others do.
  package func export() async throws -> Export {
    let permit = try exports.enter()
    let completeThrough = try await pool.query(ReadCompleteThrough(), as: .analyst)[0]
    return Export(completeThrough: completeThrough, permit: permit, rows: exportRows)
  }

  package struct Export: Sendable {
    package let completeThrough: Date
    fileprivate let permit: ExportGate.Permit
    fileprivate let rows: @Sendable (Sink) async throws -> Void

    /// Hands on all rows in order, a thousand at most at a time.
    package func read(_ sink: Sink) async throws { try await rows(sink) }
  }

  private static func export<Statement: PostgresStatement>(
    _ statement: Statement, _ pool: PostgresPool, _ sink: Sink
  ) async throws where Statement.Row == Row {
    // The cursor is one snapshot in itself, and the isolation must not make one before.
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
        // Not as what makes the transaction begin again: part of the rows has been handed on.
        throw PortalError.unavailable(reason: "an export broke off: \(error)")
      }
    }
  }
}

/// How many exports run at a time: each keeps a connection.
final class ExportGate: Sendable {
  static let countMax = 4
  /// One that takes longer counts no longer: its reader has most likely gone, and its connection has been taken away.
  static let durationMax: Duration = .seconds(900)
  private static let retryAfterSeconds = 10

  private let begun = Mutex<[ObjectIdentifier: ContinuousClock.Instant]>([:])

  /// Ends with the last reference to it.
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
