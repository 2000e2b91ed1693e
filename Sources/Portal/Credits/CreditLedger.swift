package import Foundation
package import Postgres
import Synchronization

/// What a request has set aside of the buckets of its key, in memory alone. It has to be committed or released.
struct CreditReservation: Sendable {
  struct Part: Sendable {
    let bucket: UUID
    let incarnation: Int
  }

  let cost: Int
  let first: Part
  /// The account's bucket, if the key has one as well.
  let second: Part?
}

/// The blocks of this instance: parts of buckets that PostgreSQL has set aside for it alone. A request is decided in
/// memory, under a short lock. What it costs is stored in a mapped file before it is answered, so that a process that
/// is killed at any instruction leaves a file that says exactly what it has spent.
///
/// A bucket is in the shard of its id. Of two shards, that with the lower number is locked first.
package final class CreditLedger: Sendable {
  typealias Ask = @Sendable (_ bucket: UUID, _ holder: UUID, CreditAsk) async throws -> CreditAnswer
  typealias Open = @Sendable (_ holder: UUID) async throws -> Bool
  private typealias Waiter = CheckedContinuation<CreditOutcome, Never>

  /// Whether a request's cost is set aside.
  enum Reserved: Sendable {
    case reserved(CreditReservation)
    case refused(CreditRefusal)
    /// PostgreSQL has to be asked.
    case unsure
  }

  /// As ``Reserved``, after waiting for PostgreSQL.
  enum Decision: Sendable {
    case reserved(CreditReservation)
    case refused(CreditRefusal)
    /// A bucket does not exist any more: the key is to be looked up again.
    case gone
  }

  /// What this instance has, for operators.
  package struct Holdings: Sendable {
    /// The number of buckets that it has a block of.
    package var blockCount = 0
    package var fileByteCount = 0
    /// Why what is spent would be lost with the process; nil if it would not be, or if there is no spool by
    /// configuration.
    package var failure: String?
  }

  /// A slot of a shard.
  private struct Slot: Sendable {
    let extent: CreditExtent
    let shard: Int
    let index: Int

    var place: CreditIntent.Place { CreditIntent.Place(file: extent.number, shard: shard, index: index) }
    func fill(_ spending: CreditSlots.Spending) { extent.slots(shard).fill(index, spending) }
    func store(_ spent: Int) { extent.slots(shard).store(spent, in: index) }
    func free() { extent.slots(shard).free(index) }
  }

  private struct Entry: Sendable {
    var bucket: CreditBucket<Waiter>
    /// The slot of the block's generation; nil without a block.
    var slot: Slot?

    /// Takes what was reserved, and stores what is spent. Returns what is left; nil if it is not known, or the block
    /// was lost since.
    mutating func take(_ cost: Int, _ incarnation: Int, at now: Int) -> Int? {
      guard bucket.commit(cost, incarnation: incarnation, at: now) else { return nil }
      if cost > 0 { slot?.store(bucket.block.spent) }
      return bucket.remaining
    }

    /// What is spent of the block; nil without a block.
    func spending(of id: UUID) -> CreditSlots.Spending? {
      bucket.block.generation.map { .init(bucket: id, generation: $0, spent: bucket.block.spent) }
    }
  }

  private struct Shard: Sendable {
    var holder: UUID
    var entries: [UUID: Entry] = [:]
    var free: [Slot] = []
    /// How many of the extents it has got its slots of.
    var extentCount = 0
    /// Whether the instance spends nothing any more.
    var isEnded = false

    init(holder: UUID) { self.holder = holder }

    mutating func putBack(_ slot: Slot?) {
      guard let slot else { return }
      slot.free()
      free.append(slot)
    }
  }

  private final class LockedShard: Sendable {
    let state: Mutex<Shard>
    init(_ holder: UUID) { state = Mutex(Shard(holder: holder)) }

    func withLock<Value: Sendable>(_ body: (inout Shard) -> Value) -> Value { state.withLock { body(&$0) } }
  }

  private struct Holder: Sendable {
    let id: UUID
    var isOpen = false
    var opening: Task<Void, any Error>?
  }

  private let shards: [LockedShard]
  private let firstHolder: UUID
  private let holder: Mutex<Holder>
  private let extents: CreditExtents
  /// Grows with each statement.
  private let lastNumber = Atomic<Int>(0)
  private let lease: Duration
  private let ask: Ask
  private let openHolder: Open
  private let executor: (any TaskExecutor)?
  private let observer: Observer
  private let start: ContinuousClock.Instant

  /// `holder` is the id of the instance. `spool` is the folder for files; without one, what is spent is only in memory.
  /// `lease` is how long a request may wait.
  package convenience init(
    pool: PostgresPool, holder: UUID = .version7(), spool: String? = nil, lease: Duration, observer: Observer
  ) {
    self.init(
      holder: holder, spool: spool, lease: lease, executor: pool.executor, observer: observer,
      open: { holder in try await pool.query(OpenCreditHolder(holder: holder), by: .now + lease).first ?? false },
      ask: { bucket, holder, ask in
        let answers = try await pool.query(AskCredits(bucket: bucket, holder: holder, ask: ask), by: .now + lease)
        guard let answer = answers.first else {
          throw PostgresError(.protocolViolation, "ask_credits answered nothing")
        }
        return answer
      })
  }

  init(
    holder: UUID = .version7(), spool: String? = nil, lease: Duration, executor: (any TaskExecutor)? = nil,
    observer: Observer = Observer([]), open: @escaping Open = { _ in true }, ask: @escaping Ask
  ) {
    shards = (0..<SpoolHead.shardCount).map { _ in LockedShard(holder) }
    firstHolder = holder
    self.holder = Mutex(Holder(id: holder))
    extents = CreditExtents(spool, of: holder)
    self.lease = lease
    self.executor = executor
    self.observer = observer
    openHolder = open
    self.ask = ask
    start = .now
  }

  // MARK: Requests

  /// Sets `cost` aside in all buckets of the key, if it fits into all of them, and otherwise in none.
  func reserve(_ credits: KeyCredits, cost: Int, at now: ContinuousClock.Instant) -> Reserved {
    let now = milliseconds(at: now)
    guard let first = credits.own ?? credits.account else { return .unsure }
    guard credits.own != nil, let second = credits.account else {
      return reserve(first, cost: cost, at: now).map { CreditReservation(cost: cost, first: $0, second: nil) }
    }
    switch reserve(first, cost: cost, at: now) {
    case .refused(let refusal): return .refused(refusal)
    case .unsure:
      // A refusal by either is one.
      if let refusal = refusal(second, cost: cost, at: now) { return .refused(refusal) }
      return .unsure
    case .reserved(let own):
      let account = reserve(second, cost: cost, at: now)
      if case .reserved = account {} else { release(own, cost) }
      return account.map { CreditReservation(cost: cost, first: own, second: $0) }
    }
  }

  private enum PartReserved {
    case reserved(CreditReservation.Part)
    case refused(CreditRefusal)
    case unsure

    func map(_ transform: (CreditReservation.Part) -> CreditReservation) -> Reserved {
      switch self {
      case .reserved(let part): .reserved(transform(part))
      case .refused(let refusal): .refused(refusal)
      case .unsure: .unsure
      }
    }
  }

  private func reserve(_ id: UUID, cost: Int, at now: Int) -> PartReserved {
    let (reserved, ask, holder) = shard(id).withLock { shard -> (CreditBucket<Waiter>.Reserved, CreditAsk?, UUID) in
      guard !shard.isEnded, let index = shard.entries.index(forKey: id) else { return (.unsure, nil, shard.holder) }
      let (reserved, ask) = shard.entries.values[index].bucket.reserve(cost, at: now) { nextNumber() }
      return (reserved, ask, shard.holder)
    }
    if let ask { send(ask, of: id, by: holder) }
    return switch reserved {
    case .reserved(let incarnation): .reserved(.init(bucket: id, incarnation: incarnation))
    case .refused(let refusal): .refused(refusal)
    case .unsure: .unsure
    }
  }

  private func refusal(_ id: UUID, cost: Int, at now: Int) -> CreditRefusal? {
    shard(id).withLock { $0.entries[id]?.bucket.refusal(of: cost, at: now) }
  }

  /// As ``reserve(_:cost:at:)``, and asks PostgreSQL where necessary, for at most the lease. Throws `.unavailable`.
  func reserveWaiting(_ credits: KeyCredits, cost: Int) async throws(PortalError) -> Decision {
    guard let first = credits.own ?? credits.account else { return .gone }
    let deadline = ContinuousClock.now + lease
    guard credits.own != nil, let second = credits.account else {
      return switch await wait(for: first, cost: cost, until: deadline) {
      case .reserved(let incarnation):
        .reserved(.init(cost: cost, first: .init(bucket: first, incarnation: incarnation), second: nil))
      case .refused(let refusal): .refused(refusal)
      case .gone: .gone
      case .unavailable(let reason): throw .unavailable(reason: reason)
      }
    }
    // Nothing is held of one bucket while the request waits for the other.
    var (awaited, other) = (first, second)
    while true {
      switch await wait(for: awaited, cost: cost, until: deadline) {
      case .refused(let refusal): return .refused(refusal)
      case .gone: return .gone
      case .unavailable(let reason): throw .unavailable(reason: reason)
      case .reserved(let incarnation):
        let part = CreditReservation.Part(bucket: awaited, incarnation: incarnation)
        switch reserve(other, cost: cost, at: milliseconds(at: .now)) {
        case .reserved(let otherPart):
          let (own, account) = awaited == first ? (part, otherPart) : (otherPart, part)
          return .reserved(CreditReservation(cost: cost, first: own, second: account))
        case .refused(let refusal):
          release(part, cost)
          return .refused(refusal)
        case .unsure:
          release(part, cost)
          guard .now < deadline else { throw .unavailable(reason: "credits of a key and its account do not meet") }
          (awaited, other) = (other, awaited)
        }
      }
    }
  }

  private func wait(for id: UUID, cost: Int, until deadline: ContinuousClock.Instant) async -> CreditOutcome {
    let timeout = Task {
      guard (try? await Task.sleep(until: deadline, clock: .continuous)) != nil else { return }
      self.resume(id)
    }
    defer { timeout.cancel() }
    return await withCheckedContinuation { continuation in
      let isEnded = change(id, makesEntry: true) { bucket, now in
        bucket.wait(continuation, cost: cost, until: self.milliseconds(at: deadline), at: now, number: { nextNumber() })
      }
      if isEnded { continuation.resume(returning: .unavailable("the server is shutting down")) }
    }
  }

  /// Takes what was reserved, and returns what is left.
  func commit(_ reservation: CreditReservation, at now: ContinuousClock.Instant) -> CreditStanding {
    let (now, cost) = (milliseconds(at: now), reservation.cost)
    guard let second = reservation.second else {
      let part = reservation.first
      let remaining = shard(part.bucket).withLock { shard -> Int? in
        guard let index = shard.entries.index(forKey: part.bucket) else { return nil }
        return shard.entries.values[index].take(cost, part.incarnation, at: now)
      }
      return CreditStanding(remaining: remaining ?? 0)
    }
    let remaining = withEntries(reservation.first.bucket, second.bucket) { own, account -> Int? in
      guard let ownSlot = own?.slot, let accountSlot = account?.slot, let ownBlock = own?.bucket.block,
        let accountBlock = account?.bucket.block, cost > 0
      else {
        // One of the buckets was lost since: there is nothing to keep together.
        let left = own?.take(cost, reservation.first.incarnation, at: now)
        return [left, account?.take(cost, second.incarnation, at: now)].compactMap { $0 }.min()
      }
      let note = CreditIntent.Note(
        own: ownSlot.place, ownSpent: ownBlock.spent, account: accountSlot.place, accountSpent: accountBlock.spent)
      var left: [Int] = []
      ownSlot.extent.intent(ownSlot.shard).around(note) {
        if let remaining = own?.take(cost, reservation.first.incarnation, at: now) { left.append(remaining) }
        if let remaining = account?.take(cost, second.incarnation, at: now) { left.append(remaining) }
      }
      return left.min()
    }
    return CreditStanding(remaining: remaining ?? 0)
  }

  func release(_ reservation: CreditReservation) {
    release(reservation.first, reservation.cost)
    if let second = reservation.second { release(second, reservation.cost) }
  }

  private func release(_ part: CreditReservation.Part, _ cost: Int) {
    shard(part.bucket).withLock { shard in
      shard.entries[part.bucket]?.bucket.release(cost, incarnation: part.incarnation)
    }
  }

  /// What is left of the key's buckets, as far as this instance knows; nil if it does not know.
  func peek(_ credits: KeyCredits) -> CreditStanding? {
    [credits.own, credits.account].compactMap { $0 }
      .compactMap { id in shard(id).withLock { $0.entries[id]?.bucket.remaining } }
      .min().map { CreditStanding(remaining: $0) }
  }

  // MARK: Changes

  /// The bucket was changed: what this instance has of it is returned and asked for anew.
  func changed(_ bucket: UUID) { change(bucket) { $0.changed(at: $1, number: { nextNumber() }) } }

  func changed(_ credits: KeyCredits) {
    if let own = credits.own { changed(own) }
    if let account = credits.account { changed(account) }
  }

  /// It is not known what has changed.
  func changedAll() { for id in buckets { changed(id) } }

  func recalled(_ bucket: UUID) { change(bucket) { $0.recalled(at: $1, number: { nextNumber() }) } }

  /// A second has passed: gives back what is not used, and forgets buckets of which nothing is left.
  func tick() {
    for id in buckets { change(id) { $0.tick(at: $1, number: { nextNumber() }) } }
    let now = milliseconds(at: .now)
    for locked in shards {
      locked.withLock { shard in
        for (id, entry) in shard.entries where entry.bucket.isOver(at: now) {
          shard.entries[id] = nil
          shard.putBack(entry.slot)
        }
      }
    }
    moveToFiles()
  }

  private func resume(_ bucket: UUID) { change(bucket) { $0.resume(at: $1, number: { nextNumber() }) } }

  private var buckets: [UUID] { shards.flatMap { $0.withLock { Array($0.entries.keys) } } }

  func has(_ bucket: UUID) -> Bool { shard(bucket).withLock { $0.entries[bucket] != nil } }

  // MARK: Statements

  /// What a holder has spent.
  struct Spendings: Sendable {
    let holder: UUID
    /// Whether only settlements say that the holder is alive, because it is not the instance.
    let needsHearing: Bool
    let spendings: [CreditSlots.Spending]
  }

  /// What was spent and is not known to be stored by PostgreSQL; with `isAll`, of all blocks.
  func unsettled(isAll: Bool = false, of wanted: Set<UUID>? = nil) -> Spendings {
    var (holder, spendings): (UUID?, [CreditSlots.Spending]) = (nil, [])
    for locked in shards {
      locked.withLock { shard in
        // The holder has changed meanwhile: the next settlement finds the rest.
        guard holder.map({ $0 == shard.holder }) ?? true else { return }
        holder = shard.holder
        for (id, entry) in shard.entries where wanted?.contains(id) ?? true {
          let block = entry.bucket.block
          guard isAll || wanted != nil || block.spent != block.settled else { continue }
          if let spending = entry.spending(of: id) { spendings.append(spending) }
        }
      }
    }
    let id = holder ?? firstHolder
    return Spendings(holder: id, needsHearing: id != firstHolder, spendings: spendings)
  }

  func settled(_ bucket: UUID, generation: Int, _ spent: Int, by holder: UUID) {
    shard(bucket).withLock { shard in
      guard shard.holder == holder else { return }
      shard.entries[bucket]?.bucket.settled(spent, generation: generation)
    }
  }

  /// Ends all spending; returns what was spent. The holder is to be closed with that. Nil if it has never been opened.
  func end() -> Spendings? {
    var waiters: [(waiter: Waiter, outcome: CreditOutcome)] = []
    var (holder, spendings): (UUID?, [CreditSlots.Spending]) = (nil, [])
    for locked in shards {
      locked.withLock { shard in
        shard.isEnded = true
        holder = shard.holder
        for (id, entry) in shard.entries {
          if let spending = entry.spending(of: id) { spendings.append(spending) }
        }
      }
    }
    for id in buckets { waiters += shard(id).withLock { $0.entries[id]?.bucket.end() ?? [] } }
    for (waiter, outcome) in waiters { waiter.resume(returning: outcome) }
    guard let id = holder, self.holder.withLock({ $0.isOpen || $0.opening != nil }) else { return nil }
    return Spendings(holder: id, needsHearing: id != firstHolder, spendings: spendings)
  }

  /// Removes the files, once PostgreSQL has what was spent. Blocks.
  func removeFiles() { extents.remove() }

  private func send(_ ask: CreditAsk, of bucket: UUID, by holder: UUID) {
    Task(executorPreference: executor) { await self.perform(ask, of: bucket, by: holder) }
  }

  private func perform(_ ask: CreditAsk, of bucket: UUID, by holder: UUID) async {
    do {
      try await ensureOpen(holder)
      let answer = try await self.ask(bucket, holder, ask)
      observer.observe(.creditsAsked(answer.verdict.rawValue))
      if answer.verdict == .closed {
        renewHolder(holder)
      } else {
        change(bucket, of: holder) { $0.answered(answer, number: ask.number, at: $1) { nextNumber() } }
      }
    } catch {
      observer.observe(.creditsAsked("failed"))
      change(bucket, of: holder) { $0.failed("\(error)", number: ask.number, at: $1) { nextNumber() } }
    }
  }

  /// Creates the holder's folder, and then registers the holder in PostgreSQL, before its first lease. An instance that
  /// finds the folder of a dead process closes the holder.
  private func ensureOpen(_ id: UUID) async throws {
    let opening = holder.withLock { holder -> Task<Void, any Error>? in
      guard holder.id == id, !holder.isOpen else { return nil }
      if let opening = holder.opening { return opening }
      let opening = Task(executorPreference: executor) { try await self.open(id) }
      holder.opening = opening
      return opening
    }
    do { try await opening?.value } catch {
      holder.withLock { if $0.id == id { $0.opening = nil } }
      throw error
    }
    guard holder.withLock({ $0.id == id && $0.isOpen }) else {
      throw PortalError.unavailable(reason: "the holder of credits was closed")
    }
  }

  private func open(_ id: UUID) async throws {
    extents.open(for: id)
    let isOpen = try await openHolder(id)
    holder.withLock { if $0.id == id { $0.isOpen = isOpen } }
    if !isOpen { renewHolder(id) }
  }

  /// Somebody has adopted this process's files: whatever it had leased belongs to others. It goes on with a new id and
  /// new files.
  private func renewHolder(_ id: UUID) {
    let new = UUID.version7()
    let isRenewed = holder.withLock { holder in
      guard holder.id == id else { return false }
      holder = Holder(id: new)
      return true
    }
    guard isRenewed else { return }
    observer.observe(.creditsHolderClosed)
    extents.remove(nextHolder: new)
    let now = milliseconds(at: .now)
    for locked in shards {
      let effects = locked.withLock { shard in
        shard.holder = new
        shard.free = []
        shard.extentCount = 0
        var all: [(UUID, CreditBucket<Waiter>.Effects)] = []
        for id in Array(shard.entries.keys) {
          guard var entry = shard.entries.removeValue(forKey: id) else { continue }
          entry.slot = nil
          all.append((id, entry.bucket.lose(at: now, number: { nextNumber() })))
          shard.entries[id] = entry
        }
        return all
      }
      for (id, effects) in effects { perform(effects, on: id, by: new) }
    }
  }

  /// Changes a bucket's state under its lock, gives it the slot it needs, and does what follows. True if the ledger has
  /// ended; then nothing is changed.
  @discardableResult
  private func change(
    _ id: UUID, of holder: UUID? = nil, makesEntry: Bool = false,
    _ body: (inout CreditBucket<Waiter>, _ now: Int) -> CreditBucket<Waiter>.Effects
  ) -> Bool {
    let now = milliseconds(at: .now)
    let (effects, current, isEnded) = shard(id).withLock {
      shard -> (CreditBucket<Waiter>.Effects?, UUID, Bool) in
      if shard.isEnded { return (nil, shard.holder, true) }
      if let holder, holder != shard.holder { return (nil, shard.holder, false) }
      if shard.entries[id] == nil {
        guard makesEntry else { return (nil, shard.holder, false) }
        shard.entries[id] = Entry(bucket: CreditBucket(at: now), slot: nil)
      }
      guard let index = shard.entries.index(forKey: id) else { return (nil, shard.holder, false) }
      let effects = body(&shard.entries.values[index].bucket, now)
      if effects.hasEnded || effects.hasBegun {
        let old = shard.entries.values[index].slot
        var new: Slot?
        if effects.hasBegun, let spending = shard.entries.values[index].spending(of: id) {
          new = takeSlot(self.index(of: id), &shard)
          // The new one is there before the old one goes.
          new?.fill(spending)
        }
        shard.entries.values[index].slot = new
        shard.putBack(old)
      }
      return (effects, shard.holder, false)
    }
    if let effects { perform(effects, on: id, by: current) }
    return isEnded
  }

  private func perform(_ effects: CreditBucket<Waiter>.Effects, on id: UUID, by holder: UUID) {
    if effects.spent > 0 { observer.observe(.creditsSpent(credits: effects.spent)) }
    if effects.isRecalled { observer.observe(.creditsRecalled) }
    for (waiter, outcome) in effects.outcomes { waiter.resume(returning: outcome) }
    if let ask = effects.ask { send(ask, of: id, by: holder) }
    guard let wakeAt = effects.wakeAt else { return }
    let wakeTime = start + .milliseconds(wakeAt)
    Task(executorPreference: executor) {
      try? await Task.sleep(until: wakeTime, clock: .continuous)
      self.resume(id)
    }
  }

  // MARK: Files

  package var holdings: Holdings {
    let (fileByteCount, failure) = extents.holdings
    var holdings = Holdings(fileByteCount: fileByteCount, failure: failure)
    for locked in shards {
      holdings.blockCount += locked.withLock { shard in
        shard.entries.values.count { $0.bucket.block.generation != nil }
      }
    }
    return holdings
  }

  /// A free slot of the shard.
  private func takeSlot(_ number: Int, _ shard: inout Shard) -> Slot? {
    if shard.free.isEmpty {
      let (extent, count) = extents.next(after: shard.extentCount, for: shard.holder)
      shard.extentCount = count
      shard.free = (0..<extent.slotsPerShard).reversed().map { Slot(extent: extent, shard: number, index: $0) }
    }
    return shard.free.popLast()
  }

  /// Moves what is in anonymous memory to a file, once there can be one again. Blocks.
  private func moveToFiles() {
    guard extents.beginMove() else { return }
    for (number, locked) in shards.enumerated() {
      locked.withLock { shard in
        shard.free.removeAll { $0.extent.isAnonymous }
        for bucket in Array(shard.entries.keys) where shard.entries[bucket]?.slot?.extent.isAnonymous == true {
          guard let spending = shard.entries[bucket]?.spending(of: bucket), let slot = takeSlot(number, &shard) else {
            continue
          }
          slot.fill(spending)
          shard.entries[bucket]?.slot = slot
        }
      }
    }
    extents.endMove()
  }

  // MARK: Shards

  private func index(of bucket: UUID) -> Int { Int(bucket.uuid.15) % shards.count }

  private func shard(_ bucket: UUID) -> LockedShard { shards[index(of: bucket)] }

  private func withEntries<Value: Sendable>(
    _ one: UUID, _ other: UUID, _ body: (inout Entry?, inout Entry?) -> Value
  ) -> Value {
    let (oneIndex, otherIndex) = (index(of: one), index(of: other))
    if oneIndex == otherIndex {
      return shards[oneIndex].withLock { shard in
        var (oneEntry, otherEntry) = (shard.entries[one], shard.entries[other])
        defer { (shard.entries[one], shard.entries[other]) = (oneEntry, otherEntry) }
        return body(&oneEntry, &otherEntry)
      }
    }
    return shards[min(oneIndex, otherIndex)].withLock { lower in
      shards[max(oneIndex, otherIndex)].withLock { higher in
        oneIndex < otherIndex
          ? body(&lower.entries[one], &higher.entries[other]) : body(&higher.entries[one], &lower.entries[other])
      }
    }
  }

  private func nextNumber() -> Int { lastNumber.wrappingAdd(1, ordering: .relaxed).newValue }

  private func milliseconds(at instant: ContinuousClock.Instant) -> Int {
    let (seconds, attoseconds) = start.duration(to: instant).components
    return Int(seconds) * 1_000 + Int(attoseconds / 1_000_000_000_000_000)
  }
}
