import DequeModule

/// The bookkeeping of a pool, as a value: no I/O and no clock in here; every transition returns what is to be done.
///
/// Generic over connection and waiter, so that tests need neither.
struct PoolState<Connection, Waiter> {
  typealias WaiterID = UInt64
  typealias ConnectionID = UInt64

  struct Limits {
    /// The maximum number of connections, and of those that wait for a commit outside the pool.
    var connectionCountMax: Int
    var waiterCountMax: Int
    var idleTimeout: Duration
    /// After a failed attempt with no other connection open, callers are refused for this long, instead of each waiting
    /// for an unreachable database. The time doubles with each further failure, up to `backoffMax`.
    var backoffMin: Duration = .milliseconds(50)
    var backoffMax: Duration = .seconds(1)
    /// The first attempt that fails within this time is repeated immediately: the server was there, and its backend may
    /// have been terminated while it started, like those before it.
    var promptFailureMax: Duration = .milliseconds(500)
  }

  enum LeaseAction {
    case use(Connection)
    /// The waiter was queued; if `connect`, open a connection as well.
    case wait(connect: Bool)
    case fail(PostgresError)
  }

  enum ReturnAction {
    case none
    case hand(Connection, Waiter)
    case close(Connection)
    /// Open a connection for the waiters.
    case connect
  }

  enum FailureAction {
    /// Try once more.
    case connect
    /// Fail these waiters.
    case dismiss([Waiter])
  }

  private struct Idle {
    let id: ConnectionID
    let connection: Connection
    let since: ContinuousClock.Instant
  }

  private struct Leased {
    let connection: Connection
    let changes: Bool
    /// Whether to close it when it is returned.
    var isCondemned = false
  }

  private struct Waiting {
    let id: WaiterID
    let waiter: Waiter
    let changes: Bool
  }

  let limits: Limits
  private var idle: Deque<Idle> = []
  private var leased: [ConnectionID: Leased] = [:]
  private var changingCount = 0
  /// Connections outside the pool that wait for a commit.
  private var settling: [ConnectionID: Connection] = [:]
  private var connectingCount = 0
  private var waiters: Deque<Waiting> = []
  private var lastFailure: (error: PostgresError, until: ContinuousClock.Instant)?
  private var backoff: Duration
  /// Whether an attempt has been repeated since the last one that succeeded.
  private var hasTriedAgain = false
  private(set) var isShuttingDown = false

  init(limits: Limits) {
    self.limits = limits
    backoff = limits.backoffMin
  }

  var openCount: Int { idle.count + leased.count }
  var leasedCount: Int { leased.count }
  var settlingCount: Int { settling.count }
  var waiterCount: Int { waiters.count }
  var isDrained: Bool { leased.isEmpty && connectingCount == 0 }

  /// Takes the most recently used idle connection (it is the warmest), without queueing.
  mutating func leaseIdle(changes: Bool) -> Connection? {
    guard !isShuttingDown, !idle.isEmpty, admits(changes), nextWaiterIndex == nil, let entry = idle.popLast()
    else { return nil }
    lend(entry.connection, entry.id, changes: changes)
    return entry.connection
  }

  /// Asks for a connection on behalf of a waiter, which is queued unless the answer is final. `changes` distinguishes
  /// callers that may leave a commit behind from those that only read.
  mutating func lease(
    _ id: WaiterID, _ waiter: Waiter, changes: Bool, at now: ContinuousClock.Instant
  ) -> LeaseAction {
    if isShuttingDown { return .fail(PostgresError(.shutdown, "the pool is shutting down")) }
    if changes, settling.count >= limits.connectionCountMax {
      return .fail(PostgresError(.commitsPending, "\(settling.count) commits have outlasted their deadline"))
    }
    if let connection = leaseIdle(changes: changes) { return .use(connection) }
    if openCount == 0, connectingCount == 0, let lastFailure, lastFailure.until > now {
      return .fail(lastFailure.error)
    }
    guard waiters.count < limits.waiterCountMax else {
      return .fail(PostgresError(.poolQueueFull, "\(waiters.count) callers are already waiting for a connection"))
    }
    waiters.append(Waiting(id: id, waiter: waiter, changes: changes))
    return .wait(connect: reserveConnect())
  }

  /// Removes a waiter (its time has run out or its task was cancelled); nil when it has already been served.
  mutating func removeWaiter(_ id: WaiterID) -> Waiter? {
    guard let index = waiters.firstIndex(where: { $0.id == id }) else { return nil }
    return waiters.remove(at: index).waiter
  }

  /// Records that a requested connection attempt has succeeded.
  mutating func connected(_ connection: Connection, _ id: ConnectionID, at now: ContinuousClock.Instant) -> ReturnAction
  {
    connectingCount -= 1
    lastFailure = nil
    hasTriedAgain = false
    backoff = limits.backoffMin
    if isShuttingDown { return .close(connection) }
    return place(connection, id, at: now)
  }

  /// Records that a requested connection attempt has failed after `duration`. If no connection is open or being opened,
  /// all waiters are dismissed immediately.
  mutating func connectFailed(
    _ error: PostgresError, after duration: Duration, at now: ContinuousClock.Instant
  ) -> FailureAction {
    let isLast = hasTriedAgain || duration >= limits.promptFailureMax
    if !isLast {
      hasTriedAgain = true
      if !waiters.isEmpty { return .connect }
    }
    connectingCount -= 1
    // The next caller tries again.
    if !isLast { return .dismiss([]) }
    // Concurrent attempts fail together and count as one.
    if let lastFailure, lastFailure.until <= now { backoff = min(backoff * 2, limits.backoffMax) }
    lastFailure = (error, now + backoff)
    guard openCount == 0, connectingCount == 0 else { return .dismiss([]) }
    defer { waiters = [] }
    return .dismiss(waiters.map(\.waiter))
  }

  /// Takes back a leased connection. It goes to the longest-waiting caller or becomes idle; one whose commit has not
  /// ended leaves the pool.
  mutating func release(
    _ connection: Connection, _ id: ConnectionID, _ condition: ConnectionCondition, at now: ContinuousClock.Instant
  ) -> ReturnAction {
    // Not leased: it broke meanwhile and was removed.
    guard let lease = takeLease(id) else { return .none }
    if condition == .settling, !isShuttingDown {
      settling[id] = connection
      return reserveConnect() ? .connect : .none
    }
    guard condition == .reusable, !isShuttingDown, !lease.isCondemned else { return .close(connection) }
    return place(connection, id, at: now)
  }

  /// Records that a connection broke or was closed.
  mutating func removed(_ id: ConnectionID) -> ReturnAction {
    if settling.removeValue(forKey: id) != nil {
      // There is room for another change now, and there may be an idle connection for it.
      guard let index = nextWaiterIndex, let entry = idle.popLast() else { return .none }
      return hand(entry.connection, entry.id, at: index)
    }
    if takeLease(id) == nil { idle.removeAll { $0.id == id } }
    return !waiters.isEmpty && reserveConnect() ? .connect : .none
  }

  /// Gives up every open connection, because it may lead to a server that has stopped responding, as one that ended
  /// without a message did, or to one that has been replaced. Returns the idle ones, to be closed now; those in use are
  /// closed when they are returned.
  mutating func condemn() -> [Connection] {
    for id in leased.keys { leased[id]?.isCondemned = true }
    defer { idle = [] }
    return idle.map(\.connection)
  }

  /// Removes and returns the connections that have been idle for too long.
  mutating func takeExpired(at now: ContinuousClock.Instant) -> [Connection] {
    var expired: [Connection] = []
    while let first = idle.first, first.since + limits.idleTimeout <= now {
      expired.append(first.connection)
      idle.removeFirst()
    }
    return expired
  }

  /// Refuses all callers from now on; returns the idle connections and the waiters to dismiss.
  mutating func shutDown() -> (idle: [Connection], waiters: [Waiter]) {
    isShuttingDown = true
    defer {
      idle = []
      waiters = []
    }
    return (idle.map(\.connection), waiters.map(\.waiter))
  }

  /// Removes and returns the connections still in use when the time to drain has passed, and those that wait for a
  /// commit.
  mutating func takeLeased() -> [Connection] {
    defer {
      leased = [:]
      changingCount = 0
      settling = [:]
    }
    return leased.values.map(\.connection) + settling.values
  }

  /// Whether a caller may start: each change in progress may become one more commit outside the pool.
  private func admits(_ changes: Bool) -> Bool {
    !changes || settling.isEmpty || settling.count + changingCount < limits.connectionCountMax
  }

  /// The index of the longest-waiting caller that may start.
  private var nextWaiterIndex: Int? { waiters.firstIndex { admits($0.changes) } }

  private mutating func lend(_ connection: Connection, _ id: ConnectionID, changes: Bool) {
    leased[id] = Leased(connection: connection, changes: changes)
    if changes { changingCount += 1 }
  }

  private mutating func takeLease(_ id: ConnectionID) -> Leased? {
    guard let lease = leased.removeValue(forKey: id) else { return nil }
    if lease.changes { changingCount -= 1 }
    return lease
  }

  private mutating func place(
    _ connection: Connection, _ id: ConnectionID, at now: ContinuousClock.Instant
  ) -> ReturnAction {
    if let index = nextWaiterIndex { return hand(connection, id, at: index) }
    idle.append(Idle(id: id, connection: connection, since: now))
    return .none
  }

  private mutating func hand(_ connection: Connection, _ id: ConnectionID, at index: Int) -> ReturnAction {
    let next = waiters.remove(at: index)
    lend(connection, id, changes: next.changes)
    return .hand(connection, next.waiter)
  }

  /// Counts a connection attempt as started if another connection is needed and allowed.
  private mutating func reserveConnect() -> Bool {
    guard !isShuttingDown, connectingCount < waiters.count, openCount + connectingCount < limits.connectionCountMax
    else { return false }
    connectingCount += 1
    return true
  }
}
