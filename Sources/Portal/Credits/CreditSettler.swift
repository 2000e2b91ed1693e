import Dispatch
import Foundation
package import Postgres
import ServiceLifecycle

/// Tells PostgreSQL every second what this instance has spent of its blocks, returns what it does not need, and settles
/// what dead processes have left. At shutdown it returns everything.
package actor CreditSettler: Service {
  /// The channel on which PostgreSQL names a bucket that another instance needs something of, or asks about.
  package static let channel = "latchkey_credits"

  private static let interval: Duration = .seconds(1)
  private static let intervalsPerAdoption = 60
  private static let intervalsPerWholeSettlement = 10
  /// Up to this number of blocks, all are settled every second, so that a lost notification costs no more than that.
  private static let blocksSettledMax = 1_000
  private static let spendingsPerStatement = 1_000
  /// Attempts to return everything, at shutdown.
  private static let finalAttemptCountMax = 5

  private let pool: PostgresPool
  private let ledger: CreditLedger
  private let spool: String?
  private let observer: Observer
  /// For work that blocks on the disk.
  private let queue = DispatchQueue(label: "credits-spool", qos: .utility)
  private var named: Set<UUID> = []
  private var isAnsweringNamed = false
  private var isAdopting = false
  private var adoptedAt: ContinuousClock.Instant?
  /// What could not be adopted, so that it is reported once.
  private var reported: Set<String> = []

  /// `spool` is that of the ledger.
  package init(pool: PostgresPool, ledger: CreditLedger, spool: String?, observer: Observer) {
    self.pool = pool
    self.ledger = ledger
    self.spool = spool
    self.observer = observer
  }

  package func run() async throws {
    try? await cancelWhenGracefulShutdown {
      for number in 0... {
        if number % Self.intervalsPerAdoption == 0 { await self.adopt() }
        try await Task.sleep(for: Self.interval)
        await self.flush(isWhole: number % Self.intervalsPerWholeSettlement == 0)
      }
    }
    await end()
  }

  private func flush(isWhole: Bool) async {
    await blocking { [ledger] in ledger.tick() }
    let isAll = isWhole || ledger.holdings.blockCount <= Self.blocksSettledMax
    let asked = await settle(ledger.unsettled(isAll: isAll))
    for bucket in asked { await answer(bucket) }
  }

  /// Tells PostgreSQL what was spent, and returns blocks that are recalled. The result is the buckets that are to be
  /// settled once more, because somebody asks: this settlement may have been made before the question.
  private func settle(_ told: CreditLedger.Spendings) async -> Set<UUID> {
    // In the order of the buckets, so that statements lock rows in the same order.
    let spendings = told.spendings.sorted { $0.bucket.text < $1.bucket.text }
    var asked: Set<UUID> = []
    // A holder that is no instance is heard of by its settlements alone.
    let count = spendings.isEmpty && told.needsHearing ? 1 : spendings.count
    for start in stride(from: 0, to: count, by: Self.spendingsPerStatement) {
      let slice = spendings[start..<min(start + Self.spendingsPerStatement, spendings.count)]
      let statement = SettleCredits(
        holder: told.holder, buckets: slice.map(\.bucket), generations: slice.map(\.generation),
        spents: slice.map(\.spent))
      do {
        for settled in try await pool.query(statement) {
          ledger.settled(settled.bucket, generation: settled.generation, settled.settled, by: told.holder)
          if settled.isRecalled { ledger.recalled(settled.bucket) }
          if settled.isAsked { asked.insert(settled.bucket) }
        }
      } catch {
        observer.observe(.creditsSettleFailed("\(error)"))
        return []
      }
    }
    return asked
  }

  // MARK: Notifications

  /// Another instance needs something of the bucket, or asks what is left of it.
  package nonisolated func noted(_ payload: String) {
    guard payload.utf8.count == 36, let bucket = UUID(uuidString: payload) else { return }
    Task { await self.answer(bucket) }
  }

  private func answer(_ bucket: UUID) async {
    if ledger.has(bucket) { named.insert(bucket) }
    guard !isAnsweringNamed else { return }
    isAnsweringNamed = true
    while !named.isEmpty {
      let buckets = named
      named = []
      named.formUnion(await settle(ledger.unsettled(of: buckets)))
    }
    // Before an adoption, which may take long: what is named meanwhile is answered.
    isAnsweringNamed = false
    // What is missed may be with a dead process.
    if adoptedAt.map({ $0 + Self.interval < .now }) ?? true { await adopt() }
  }

  // MARK: Adoption

  /// Settles what dead processes have left on the disk.
  package func adopt() async {
    guard let spool, !isAdopting else { return }
    isAdopting = true
    defer { isAdopting = false }
    adoptedAt = .now
    let (orphans, failures) = await blocking { CreditSpool.adopt(in: spool) }
    for failure in failures where reported.insert(failure).inserted { observer.observe(.creditsSpoolFailed(failure)) }
    for orphan in orphans {
      do {
        let count = try await close(orphan.holder, orphan.spendings)
        await blocking { orphan.remove() }
        observer.observe(.creditsAdopted(leases: count))
      } catch {
        observer.observe(.creditsSettleFailed("\(error)"))
      }
    }
  }

  /// Closes a holder and settles all its leases; returns their number. May be repeated.
  private func close(_ holder: UUID, _ spendings: [CreditSlots.Spending]) async throws -> Int {
    let statement = AdoptCredits(
      holder: holder, buckets: spendings.map(\.bucket), generations: spendings.map(\.generation),
      spents: spendings.map(\.spent))
    return try await pool.query(statement).first ?? 0
  }

  // MARK: Shutdown

  /// Ends all spending and returns everything. If PostgreSQL cannot be reached, the files stay for the next process.
  package func end() async {
    guard let told = ledger.end() else { return }
    for attempt in 1...Self.finalAttemptCountMax {
      do {
        _ = try await close(told.holder, told.spendings)
        await blocking { [ledger] in ledger.removeFiles() }
        return
      } catch {
        observer.observe(.creditsSettleFailed("\(error)"))
        try? await Task.sleep(for: .milliseconds(200 * attempt))
      }
    }
  }

  private func blocking<Value: Sendable>(_ body: @escaping @Sendable () -> Value) async -> Value {
    await withCheckedContinuation { continuation in
      queue.async { continuation.resume(returning: body()) }
    }
  }
}
