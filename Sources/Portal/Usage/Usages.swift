package import Foundation
import JSON
package import Postgres

/// Reads usage, and records the outcomes that gateways report.
package struct Usages: Sendable {
  let pool: PostgresPool
  /// Where reported outcomes are written.
  let gatewayPool: PostgresPool
  /// Where reports are read: `pool`, or the pool of a replica.
  let reportPool: PostgresPool
  let clock: DatabaseClock

  package init(
    pool: PostgresPool, gatewayPool: PostgresPool, reportPool: PostgresPool? = nil,
    clock: DatabaseClock = DatabaseClock()
  ) {
    self.clock = clock
    self.pool = pool
    self.gatewayPool = gatewayPool
    self.reportPool = reportPool ?? pool
  }

  /// The result of a batch of reported outcomes.
  package struct Receipt: Sendable, Equatable {
    package var accepted = 0
    /// Events of a batch that was counted before.
    package var duplicates = 0
    package var rejected: [(index: Int, code: String)] = []

    package static func == (one: Receipt, other: Receipt) -> Bool {
      one.accepted == other.accepted && one.duplicates == other.duplicates
        && one.rejected.elementsEqual(other.rejected, by: ==)
    }
  }

  /// The usage of a key over the last `days` days, including today. Throws `.notFound` for an unknown key, a key of
  /// another account, or one that the caller may not see.
  package func report(
    onKey id: UUID, of accountID: UUID, by caller: Caller? = nil, days: Int
  ) async throws -> UsageReport {
    let range = try await range(accountID, days)
    // Not on `reportPool`: a replica may not have received the key yet.
    guard let key = try await pool.query(FindKey(accountID: accountID, id: id), as: .account(accountID)).first,
      caller?.reaches(key) ?? true
    else { throw PortalError.notFound }
    let (complete, daily, endpoints) = try await reportPool.pipeline(
      ReadCompleteThrough(), SumKeyUsageByDay(range: range, keyID: id),
      SumKeyUsageByEndpoint(range: range, keyID: id),
      as: .account(accountID))
    return UsageReport(
      from: range.from, to: range.to, days: daily, endpoints: endpoints,
      completeThrough: try ReadCompleteThrough.one(of: complete))
  }

  /// As ``report(onKey:of:in:days:)``, for all keys of an account, and with the last hours.
  package func report(onAccount accountID: UUID, days: Int) async throws -> UsageReport {
    let range = try await range(accountID, days)
    let (complete, daily, endpoints, keys, hourly) = try await reportPool.pipeline(
      ReadCompleteThrough(), SumUsageByDay(range: range), SumUsageByEndpoint(range: range),
      SumUsageByKey(range: range), ListUsageHours(accountID: accountID, count: UsageReport.hourCount),
      as: .account(accountID))
    return UsageReport(
      from: range.from, to: range.to, days: daily, endpoints: endpoints, keys: keys, hourly: hourly,
      completeThrough: try ReadCompleteThrough.one(of: complete))
  }

  /// Counts outcomes. If there is a batch ID, it is stored in the same transaction, so that sending the batch again, to
  /// any instance, counts nothing.
  package func take(
    _ outcomes: [ReportedOutcome], batchID: String?, from token: ServiceToken
  ) async throws -> Receipt {
    let accounts = Dictionary(
      try await gatewayPool.query(
        FindKeyAccounts(
          ids: Array(Set(outcomes.map(\.keyID))), environment: token.environment, apiIDs: token.apiIDs))
    ) { one, _ in one }
    let now = try await clock.now(on: gatewayPool).date
    var receipt = Receipt()
    var accepted: [(outcome: ReportedOutcome, accountID: UUID, at: Date)] = []
    for (index, outcome) in outcomes.enumerated() {
      let at = outcome.at ?? now
      if let accountID = accounts[outcome.keyID] {
        let age = now.timeIntervalSince(at)
        if (-ReportedOutcome.aheadSecondsMax...ReportedOutcome.ageSecondsMax).contains(age) {
          accepted.append((outcome, accountID, at))
        } else {
          receipt.rejected.append((index, "out_of_range"))
        }
      } else {
        receipt.rejected.append((index, "not_found"))
      }
    }
    let isNew = try await store(accepted, batchID: batchID, from: token)
    receipt.duplicates = isNew ? 0 : accepted.count
    receipt.accepted = isNew ? accepted.count : 0
    return receipt
  }

  /// False if the batch was counted before.
  private func store(
    _ accepted: [(outcome: ReportedOutcome, accountID: UUID, at: Date)], batchID: String?, from token: ServiceToken
  ) async throws -> Bool {
    var counts: [OutcomeKey: OutcomeCounts] = [:]
    for (outcome, accountID, at) in accepted {
      let key = OutcomeKey(
        accountID: accountID, keyID: outcome.keyID, hour: UsageCounter.hour(ofMilliseconds: at.milliseconds),
        endpoint: ByteText(EndpointName.normalized(outcome.endpoint)))
      counts[key, default: OutcomeCounts()].add(outcome, at: at)
    }
    let counted = CountOutcomes(outcomes: Array(counts))
    return try await gatewayPool.withTransaction { transaction in
      if let batchID, try await transaction.query(InsertUsageBatch(tokenID: token.id, batchID: batchID)).isEmpty {
        return false
      }
      if !counted.outcomes.isEmpty { try await transaction.execute(counted) }
      return true
    }
  }

  private func range(_ accountID: UUID, _ days: Int) async throws -> UsageRange {
    let today = Day(containing: try await clock.now(on: pool).date)
    return UsageRange(accountID: accountID, from: today.advanced(by: 1 - days), to: today)
  }
}
