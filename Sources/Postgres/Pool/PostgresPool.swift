import Dispatch
import Logging
public import ServiceLifecycle
import Synchronization

/// A bounded set of connections, opened when needed. Create one per process and run it as a service: ``run()`` retires
/// idle connections and, at shutdown, waits for those in use and closes all.
///
/// A connection that breaks while idle is noticed immediately, because its socket is always watched; TCP keep-alive
/// finds a peer that vanished.
public final class PostgresPool: Service {
  typealias State = PoolState<PostgresConnection, Waiter>
  typealias Waiter = CheckedContinuation<Result<PostgresConnection, PostgresError>, Never>

  /// How often idle connections are checked.
  private static let maintenanceInterval: Duration = .seconds(5)
  /// How often a transaction is run at most if it meets serialization failures or deadlocks.
  private static let retryCountMax = 5

  public let statistics = PostgresStatistics()
  let configuration: PostgresConfiguration
  private let loop: EventLoop
  private let state: Mutex<State>
  private let nextID = Atomic<UInt64>(1)

  /// Opens no connection yet.
  public init(_ configuration: PostgresConfiguration) {
    self.configuration = configuration
    loop = EventLoop(name: "postgres")
    state = Mutex(
      State(
        limits: .init(
          connectionCountMax: configuration.poolSizeMax, waiterCountMax: configuration.waiterCountMax,
          idleTimeout: configuration.idleTimeout)))
  }

  /// Runs `body` with a pool that is shut down when `body` ends; for commands and tests.
  public static func with<Value>(
    _ configuration: PostgresConfiguration, _ body: (PostgresPool) async throws -> Value
  ) async throws -> Value {
    let pool = PostgresPool(configuration)
    do {
      let value = try await body(pool)
      await pool.shutDown()
      return value
    } catch {
      await pool.shutDown()
      throw error
    }
  }

  // MARK: Service

  /// Maintains the pool until graceful shutdown, then shuts it down.
  public func run() async throws {
    try? await cancelWhenGracefulShutdown {
      while true {
        try await Task.sleep(for: Self.maintenanceInterval)
        for connection in self.state.withLock({ $0.takeExpired(at: .now) }) { await connection.close() }
      }
    }
    await shutDown()
  }

  /// Refuses new callers, waits at most `drainTimeout` for the connections in use, and closes all.
  public func shutDown() async {
    let (idle, waiters) = state.withLock { $0.shutDown() }
    for waiter in waiters { waiter.resume(returning: .failure(PostgresError(.shutdown, "the pool is shutting down"))) }
    for connection in idle { await connection.close() }
    let deadline = ContinuousClock.now + configuration.drainTimeout
    while !state.withLock({ $0.isDrained }), .now < deadline { await pause(.milliseconds(5)) }
    for connection in state.withLock({ $0.takeLeased() }) { await connection.close() }
  }

  /// Gives up every connection that is open now, because it may lead to a server that should no longer be used: closes
  /// the idle ones immediately, and those in use when they are returned.
  public func condemnConnections() {
    close(state.withLock { $0.condemn() })
  }

  /// Sleeps even if the task is cancelled, which may be the reason why the pool shuts down.
  private func pause(_ duration: Duration) async {
    await withCheckedContinuation { continuation in
      loop.execute { [loop] in loop.schedule(at: .now + duration) { continuation.resume() } }
    }
  }

  /// The current number of connections outside the pool that wait for a commit that outlasted its deadline.
  public var pendingCommitCount: Int { state.withLock { $0.settlingCount } }

  /// The current numbers of open connections, of connections in use, and of waiting callers.
  public var gauges: (open: Int, leased: Int, waiting: Int) {
    state.withLock { ($0.openCount, $0.leasedCount, $0.waiterCount) }
  }

  /// How long a caller waits for a connection, ``PostgresConfiguration/leaseTimeout``.
  public var leaseTimeout: Duration { configuration.leaseTimeout }

  /// The thread that talks to PostgreSQL, for tasks that do little else: `Task(executorPreference: pool.executor)`
  /// saves them two thread changes per query. A task that computes or blocks there delays all queries.
  public var executor: any TaskExecutor { loop }

  // MARK: Use

  /// Lends a connection to `body`. If it is returned with a transaction open, it is closed instead of being lent again.
  public func withConnection<Value>(
    _ body: (PostgresConnection) async throws -> Value
  ) async throws -> Value {
    try await withConnection(changes: true, body)
  }

  private func withConnection<Value>(
    changes: Bool, _ body: (PostgresConnection) async throws -> Value
  ) async throws -> Value {
    let connection = try await lease(changes: changes)
    do {
      let value = try await body(connection)
      release(connection)
      return value
    } catch {
      release(connection)
      throw error
    }
  }

  /// Runs one statement on any connection and decodes its rows. A statement that a terminated or closed connection has
  /// certainly not carried out is sent again on another one, here and in the methods below.
  public func query<Statement: PostgresStatement>(
    _ statement: Statement, as settings: PostgresSettings = .none
  ) async throws(PostgresError) -> [Statement.Row] {
    try await lend(changes: !Statement.isRead, as: settings) { connection throws(PostgresError) in
      try await connection.query(statement)
    }
  }

  /// As ``query(_:as:)``; throws `.timeout` when there is no answer by `deadline`, whatever the server is doing. It is
  /// then unknown whether the statement was or will be carried out.
  public func query<Statement: PostgresStatement & Sendable>(
    _ statement: Statement, by deadline: ContinuousClock.Instant
  ) async throws -> [Statement.Row] where Statement.Row: Sendable {
    let (answers, continuation) = AsyncStream.makeStream(of: Result<[Statement.Row], any Error>.self)
    // Not children of this task, which would wait for them: a server that hangs does not answer a cancellation either.
    let question = Task {
      do { continuation.yield(.success(try await query(statement))) } catch { continuation.yield(.failure(error)) }
    }
    let timer = Task {
      try await Task.sleep(until: deadline, clock: .continuous)
      continuation.yield(.failure(PostgresError(.timeout, "no answer in time")))
    }
    defer {
      question.cancel()
      timer.cancel()
    }
    for await answer in answers { return try answer.get() }
    throw CancellationError()
  }

  /// Runs one statement on any connection and returns the number of rows that it touched.
  @discardableResult
  public func execute<Statement: PostgresStatement>(
    _ statement: Statement, as settings: PostgresSettings = .none
  ) async throws(PostgresError) -> Int {
    try await lend(changes: !Statement.isRead, as: settings) { connection throws(PostgresError) in
      try await connection.execute(statement)
    }
  }

  /// Runs several statements as one transaction in one round trip.
  public func pipeline<each Statement: PostgresStatement>(
    _ statement: repeat each Statement, as settings: PostgresSettings = .none
  ) async throws(PostgresError) -> (repeat [(each Statement).Row]) {
    var changes = false
    func note<Next: PostgresStatement>(_: Next.Type) { if !Next.isRead { changes = true } }
    repeat note((each Statement).self)
    return try await lend(changes: changes, as: settings) { connection throws(PostgresError) in
      try await connection.pipeline(repeat each statement)
    }
  }

  /// Runs statements for their effects and one more for its rows, as one transaction in one round trip.
  public func pipeline<each Effect: PostgresStatement, Last: PostgresStatement>(
    _ effect: repeat each Effect, then last: Last, as settings: PostgresSettings = .none
  ) async throws(PostgresError) -> [Last.Row] {
    var changes = !Last.isRead
    func note<Next: PostgresStatement>(_: Next.Type) { if !Next.isRead { changes = true } }
    repeat note((each Effect).self)
    return try await lend(changes: changes, as: settings) { connection throws(PostgresError) in
      try await connection.pipeline(repeat each effect, then: last)
    }
  }

  /// Runs `body` in a transaction: commits when it returns, rolls back when it throws or its task is cancelled. Runs it
  /// again after a serialization failure or a deadlock, and on another connection if its own was terminated before the
  /// commit, so it must have no effects except through the connection.
  public func withTransaction<Value>(
    isolation: PostgresIsolation = .readCommitted, as settings: PostgresSettings = .none,
    _ body: (PostgresConnection) async throws -> Value
  ) async throws -> Value {
    var (attempt, resendCount) = (1, 0)
    while true {
      do {
        return try await withConnection(changes: true) { connection in
          connection.open(with: .init(begin: isolation.begin, settings: settings))
          let value: Value
          do {
            value = try await body(connection)
            try Task.checkCancellation()
          } catch {
            await connection.rollback()
            throw error
          }
          // If this fails, nothing is left to roll back.
          try await connection.commit()
          return value
        }
      } catch let error as PostgresError where error.isRetryable && attempt < Self.retryCountMax {
        try await Task.sleep(for: .milliseconds(Int.random(in: 1...(4 << attempt))))
        attempt += 1
      } catch let error as PostgresError where error.hasNoEffect && resendCount < resendCountMax {
        resendCount += 1
        configuration.observe(.sentAgain)
      }
    }
  }

  /// Opens a connection outside the pool, for `listen`; to another server if `url` is given. A `deadline` replaces the
  /// pool's: a caller that only waits for notifications has to notice sooner that the server is silent. Close the
  /// connection when done.
  public func openConnection(
    url: String? = nil, deadline: Duration? = nil
  ) async throws(PostgresError) -> PostgresConnection {
    var configuration = configuration
    if let url { configuration.url = url }
    if let deadline {
      configuration.queryTimeout = deadline
      configuration.acknowledgementTimeout = deadline
      configuration.cancelTimeout = .seconds(1)
    }
    return try await openConnection(configuration)
  }

  /// Opens a connection outside the pool with its own limits.
  func openConnection(_ configuration: PostgresConfiguration) async throws(PostgresError) -> PostgresConnection {
    let result: Result<PostgresConnection, PostgresError> = await withCheckedContinuation { continuation in
      open(configuration, onClose: { _, _ in }) { continuation.resume(returning: $0) }
    }
    return try result.get()
  }

  // MARK: Lending

  /// Any of the pool's connections may have been terminated, and each attempt finds one of them.
  private var resendCountMax: Int { configuration.poolSizeMax + 1 }

  private func lend<Value>(
    changes: Bool, as settings: PostgresSettings,
    _ body: (PostgresConnection) async throws(PostgresError) -> Value
  ) async throws(PostgresError) -> Value {
    var resendCount = 0
    while true {
      let connection = try await lease(changes: changes)
      connection.open(with: .init(settings: settings))
      do throws(PostgresError) {
        let value = try await body(connection)
        release(connection)
        return value
      } catch {
        release(connection)
        guard error.hasNoEffect, resendCount < resendCountMax else { throw error }
        resendCount += 1
        configuration.observe(.sentAgain)
      }
    }
  }

  private func lease(changes: Bool) async throws(PostgresError) -> PostgresConnection {
    if let connection = state.withLock({ $0.leaseIdle(changes: changes) }) { return connection }
    let id = nextID.add(1, ordering: .relaxed).oldValue
    let result = await withTaskCancellationHandler {
      await withCheckedContinuation { (waiter: Waiter) in
        wait(id, waiter, changes: changes)
        // The cancellation may have come before the waiter was queued.
        if Task.isCancelled { dismissCancelled(id) }
      }
    } onCancel: {
      dismissCancelled(id)
    }
    return try result.get()
  }

  /// Answers the waiter immediately, or leaves it in the queue for at most `leaseTimeout`.
  private func wait(_ id: UInt64, _ waiter: Waiter, changes: Bool) {
    switch state.withLock({ $0.lease(id, waiter, changes: changes, at: .now) }) {
    case .use(let connection):
      waiter.resume(returning: .success(connection))
    case .fail(let error):
      waiter.resume(returning: .failure(error))
    case .wait(let mustConnect):
      if mustConnect { connect() }
      let deadline = ContinuousClock.now + configuration.leaseTimeout
      loop.execute { [weak self, loop] in
        loop.schedule(at: deadline) { [weak self] in
          self?.dismiss(id, PostgresError(.poolTimeout, "no connection became free in time"))
        }
      }
    }
  }

  private func dismissCancelled(_ id: UInt64) {
    dismiss(id, PostgresError(.cancelled, "the task was cancelled"))
  }

  private func dismiss(_ id: UInt64, _ error: PostgresError) {
    state.withLock { $0.removeWaiter(id) }?.resume(returning: .failure(error))
  }

  private func release(_ connection: PostgresConnection) {
    let condition = connection.condition
    perform(state.withLock { $0.release(connection, connection.id, condition, at: .now) })
  }

  private func perform(_ action: State.ReturnAction) {
    switch action {
    case .none:
      break
    case .hand(let connection, let waiter):
      waiter.resume(returning: .success(connection))
    case .close(let connection):
      close([connection])
    case .connect:
      connect()
    }
  }

  private func close(_ connections: [PostgresConnection]) {
    for connection in connections { loop.execute { connection.assumeIsolated { $0.close() } } }
  }

  // MARK: Connecting

  private func connect() {
    let begunAt = ContinuousClock.now
    open(configuration, onClose: { [weak self] in self?.removed($0, hadWord: $1) }) { [self] result in
      switch result {
      case .success(let connection):
        perform(state.withLock { $0.connected(connection, connection.id, at: .now) })
      case .failure(let error):
        let now = ContinuousClock.now
        switch state.withLock({ $0.connectFailed(error, after: now - begunAt, at: now) }) {
        case .connect: connect()
        case .dismiss(let waiters): for waiter in waiters { waiter.resume(returning: .failure(error)) }
        }
      }
    }
  }

  private func removed(_ id: UInt64, hadWord: Bool) {
    let (action, condemned) = state.withLock { state in
      (state.removed(id), hadWord ? [] : state.condemn())
    }
    if !condemned.isEmpty {
      configuration.observe(.condemned(connections: condemned.count))
      close(condemned)
    }
    perform(action)
  }

  /// Connecting blocks, so it runs on another thread.
  private func open(
    _ configuration: PostgresConfiguration, onClose: @escaping PostgresConnection.CloseHandler,
    _ completion: @escaping @Sendable (Result<PostgresConnection, PostgresError>) -> Void
  ) {
    let id = nextID.add(1, ordering: .relaxed).oldValue
    DispatchQueue.global().async { [loop, statistics] in
      do throws(PostgresError) {
        let opened = try OpenedConnection.open(configuration)
        completion(
          .success(
            PostgresConnection(
              owning: opened, id: id, loop: loop, statistics: statistics, configuration: configuration,
              onClose: onClose)))
      } catch {
        completion(.failure(error))
      }
    }
  }
}

/// Transaction isolation (PostgreSQL manual 13.2).
public enum PostgresIsolation: Sendable {
  case readCommitted, repeatableRead, serializable

  var begin: String {
    switch self {
    case .readCommitted: "begin"
    case .repeatableRead: "begin isolation level repeatable read"
    case .serializable: "begin isolation level serializable"
    }
  }
}
