import DequeModule

/// Who holds which connection, as a value: no I/O, no clock of its own; every transition returns what is to be done.
///
/// Generic over connection and waiter, so that tests need neither.
struct PoolState<Connection, Waiter> {
  typealias WaiterID = UInt64
  typealias ConnectionID = UInt64

  struct Limits {
    var connectionCountMax: Int
    var waiterCountMax: Int
    var idleTimeout: Duration
    /// After a failed attempt with no other connection open, callers are refused for this long, doubled when the next
    /// attempt fails, too, up to `backoffMax`, instead of each waiting for a database that is away.
    var backoffMin: Duration = .milliseconds(50)
    var backoffMax: Duration = .seconds(1)
  }

  enum LeaseAction {
    case use(Connection)
    /// The waiter was queued; open a connection, too, if `connect`.
    case wait(connect: Bool)
    case fail(PostgresError)
  }

  enum ReturnAction {
    case none
    case hand(Connection, Waiter)
    case close(Connection)
  }

  private struct Idle {
    let id: ConnectionID
    let connection: Connection
    let since: ContinuousClock.Instant
  }

  let limits: Limits
  private var idle: Deque<Idle> = []
  private var leased: [ConnectionID: Connection] = [:]
  private var connectingCount = 0
  private var waiters: Deque<(id: WaiterID, waiter: Waiter)> = []
  private var lastFailure: (error: PostgresError, until: ContinuousClock.Instant)?
  private var backoff: Duration
  private(set) var isShuttingDown = false

  init(limits: Limits) {
    self.limits = limits
    backoff = limits.backoffMin
  }

  var openCount: Int { idle.count + leased.count }
  var idleCount: Int { idle.count }
  var leasedCount: Int { leased.count }
  var waiterCount: Int { waiters.count }
  var isDrained: Bool { leased.isEmpty && connectingCount == 0 }

  /// Takes an idle connection, the one used last (it is the warmest), without queueing.
  mutating func leaseIdle() -> Connection? {
    guard !isShuttingDown, waiters.isEmpty, let entry = idle.popLast() else { return nil }
    leased[entry.id] = entry.connection
    return entry.connection
  }

  /// Asks for a connection on behalf of a waiter, who is queued unless the answer is final.
  mutating func lease(_ id: WaiterID, _ waiter: Waiter, at now: ContinuousClock.Instant) -> LeaseAction {
    if isShuttingDown { return .fail(PostgresError(.shutdown, "the pool is shutting down")) }
    if let connection = leaseIdle() { return .use(connection) }
    if openCount == 0, connectingCount == 0, let lastFailure, lastFailure.until > now {
      return .fail(lastFailure.error)
    }
    guard waiters.count < limits.waiterCountMax else {
      return .fail(PostgresError(.poolQueueFull, "\(waiters.count) callers wait for a connection already"))
    }
    waiters.append((id, waiter))
    return .wait(connect: reserveConnect())
  }

  /// Gives up a waiter (its time is over or its task was cancelled); nil when it has been served already.
  mutating func removeWaiter(_ id: WaiterID) -> Waiter? {
    guard let index = waiters.firstIndex(where: { $0.id == id }) else { return nil }
    return waiters.remove(at: index).waiter
  }

  /// A connection attempt that was asked for has succeeded.
  mutating func connected(_ connection: Connection, _ id: ConnectionID, at now: ContinuousClock.Instant) -> ReturnAction
  {
    connectingCount -= 1
    lastFailure = nil
    backoff = limits.backoffMin
    if isShuttingDown { return .close(connection) }
    leased[id] = connection
    return release(connection, id, isReusable: true, at: now)
  }

  /// A connection attempt that was asked for has failed. With nothing open to wait for, everybody is told at once.
  mutating func connectFailed(_ error: PostgresError, at now: ContinuousClock.Instant) -> [Waiter] {
    connectingCount -= 1
    // Attempts that were under way together fail together, and count as one.
    if let lastFailure, lastFailure.until <= now { backoff = min(backoff * 2, limits.backoffMax) }
    lastFailure = (error, now + backoff)
    guard openCount == 0, connectingCount == 0 else { return [] }
    defer { waiters = [] }
    return waiters.map(\.waiter)
  }

  /// A leased connection comes back. It goes to the longest-waiting caller, or to the idle ones.
  mutating func release(
    _ connection: Connection, _ id: ConnectionID, isReusable: Bool, at now: ContinuousClock.Instant
  ) -> ReturnAction {
    // Not among the leased: it broke meanwhile and was removed.
    guard leased.removeValue(forKey: id) != nil else { return .none }
    guard isReusable, !isShuttingDown else { return .close(connection) }
    if let next = waiters.popFirst() {
      leased[id] = connection
      return .hand(connection, next.waiter)
    }
    idle.append(Idle(id: id, connection: connection, since: now))
    return .none
  }

  /// A connection broke, or was closed. True when another is to be opened for those who wait.
  mutating func removed(_ id: ConnectionID) -> Bool {
    if leased.removeValue(forKey: id) == nil { idle.removeAll { $0.id == id } }
    return !waiters.isEmpty && reserveConnect()
  }

  /// Takes out the connections that have been idle too long.
  mutating func takeExpired(at now: ContinuousClock.Instant) -> [Connection] {
    var expired: [Connection] = []
    while let first = idle.first, first.since + limits.idleTimeout <= now {
      expired.append(first.connection)
      idle.removeFirst()
    }
    return expired
  }

  /// Refuses from now on; the idle connections and the waiters to be dismissed.
  mutating func shutDown() -> (idle: [Connection], waiters: [Waiter]) {
    isShuttingDown = true
    defer {
      idle = []
      waiters = []
    }
    return (idle.map(\.connection), waiters.map(\.waiter))
  }

  /// The connections still in use when the time for giving them back is over.
  mutating func takeLeased() -> [Connection] {
    defer { leased = [:] }
    return Array(leased.values)
  }

  /// Counts an attempt as begun if one more connection is wanted and allowed.
  private mutating func reserveConnect() -> Bool {
    guard !isShuttingDown, connectingCount < waiters.count, openCount + connectingCount < limits.connectionCountMax
    else { return false }
    connectingCount += 1
    return true
  }
}
