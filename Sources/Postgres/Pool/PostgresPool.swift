import Dispatch
import Logging
public import ServiceLifecycle
import Synchronization

/// A bounded set of connections, opened when needed. Make one per process and run it as a service: ``run()`` retires
/// idle connections and, at shutdown, waits for those in use and closes all.
///
/// A connection that breaks while idle is noticed at once, because its socket is watched all the time; TCP keep-alive
/// finds a peer that vanished.
public final class PostgresPool: Service {
  typealias State = PoolState<PostgresConnection, Waiter>
  typealias Waiter = CheckedContinuation<Result<PostgresConnection, PostgresError>, Never>

  /// How often idle connections are looked at.
  private static let maintenanceInterval: Duration = .seconds(5)
  /// How often a transaction is run again after a serialization failure or a deadlock.
  private static let retryCountMax = 5

  public let statistics = PostgresStatistics()
  let configuration: PostgresConfiguration
  private let loop: EventLoop
  private let state: Mutex<State>
  private let nextID = Atomic<UInt64>(1)

  /// Opens nothing yet.
  public init(_ configuration: PostgresConfiguration) {
    self.configuration = configuration
    loop = EventLoop(name: "postgres")
    state = Mutex(
      State(
        limits: .init(
          connectionCountMax: configuration.poolSizeMax, waiterCountMax: configuration.waiterCountMax,
          idleTimeout: configuration.idleTimeout)))
  }

  /// Runs `body` with a pool that lives as long as it; for commands and tests.
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

  /// Keeps the pool until graceful shutdown.
  public func run() async throws {
    try? await cancelWhenGracefulShutdown {
      while true {
        try await Task.sleep(for: Self.maintenanceInterval)
        for connection in self.state.withLock({ $0.takeExpired(at: .now) }) { await connection.close() }
      }
    }
    await shutDown()
  }

  /// Refuses new callers, waits (bounded) for the connections in use, and closes all.
  public func shutDown() async {
    let (idle, waiters) = state.withLock { $0.shutDown() }
    for waiter in waiters { waiter.resume(returning: .failure(PostgresError(.shutdown, "the pool is shutting down"))) }
    for connection in idle { await connection.close() }
    let deadline = ContinuousClock.now + configuration.drainTimeout
    while !state.withLock({ $0.isDrained }), .now < deadline { await pause(.milliseconds(5)) }
    for connection in state.withLock({ $0.takeLeased() }) { await connection.close() }
  }

  /// Gives up every connection that is open now, because it may lead to a server that one should not ask any more: the
  /// idle ones at once, those in use when they come back.
  public func condemnConnections() {
    close(state.withLock { $0.condemn() })
  }

  /// A sleep that the cancellation of the task, which may be why the pool shuts down, doesn't cut short.
  private func pause(_ duration: Duration) async {
    await withCheckedContinuation { continuation in
      loop.execute { [loop] in loop.schedule(at: .now + duration) { continuation.resume() } }
    }
  }

  /// Connections outside the pool that wait for a commit which outlasted its deadline, now.
  public var pendingCommitCount: Int { state.withLock { $0.settlingCount } }

  /// Connections open, connections in use, and callers waiting, now.
  public var gauges: (open: Int, leased: Int, waiting: Int) {
    state.withLock { ($0.openCount, $0.leasedCount, $0.waiterCount) }
  }

  /// The thread that talks to PostgreSQL, for tasks that do little else: `Task(executorPreference: pool.executor)`
  /// saves them two changes of thread a query. Whoever computes or blocks there keeps everybody's queries waiting.
  public var executor: any TaskExecutor { loop }

  // MARK: Use

  /// Lends a connection to `body`. If it comes back with a transaction open, it is closed instead of being lent again.
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

  /// Runs one statement on any connection and decodes its rows. What a connection that was terminated, or found closed,
  /// has certainly not carried out is sent again on another, here and in the methods below.
  public func query<Statement: PostgresStatement>(
    _ statement: Statement, as settings: PostgresSettings = .none
  ) async throws(PostgresError) -> [Statement.Row] {
    try await lend(changes: !Statement.isRead, as: settings) { connection throws(PostgresError) in
      try await connection.query(statement)
    }
  }

  /// As ``query(_:as:)``; throws `.timeout` when there is no answer by `deadline`, whatever the server is doing.
  /// Whether the statement was carried out, or still will be, is not known then.
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

  /// Runs one statement on any connection; the number of rows that it touched.
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

  /// Runs `body` in a transaction: commits when it returns, rolls back when it throws or its task is cancelled. Runs it
  /// again after a serialization failure or a deadlock, and on another connection when its own was terminated before
  /// the commit, so it must have no effect but through the connection.
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

  /// Opens a connection outside the pool, for `listen`; to another server if `url` is given, and with another deadline
  /// than the pool's if there is one: who waits for nothing else notices sooner that the server is silent. Close it
  /// when done.
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

  /// Opens a connection outside the pool, with limits of its own.
  func openConnection(_ configuration: PostgresConfiguration) async throws(PostgresError) -> PostgresConnection {
    let result: Result<PostgresConnection, PostgresError> = await withCheckedContinuation { continuation in
      open(configuration, onClose: { _, _ in }) { continuation.resume(returning: $0) }
    }
    return try result.get()
  }

  // MARK: Lending

  /// Each of the connections may have been terminated, and each attempt finds one of them.
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
        // The cancellation may have come before the waiter was there to be dismissed.
        if Task.isCancelled { dismissCancelled(id) }
      }
    } onCancel: {
      dismissCancelled(id)
    }
    return try result.get()
  }

  /// Answers the waiter at once, or leaves it in the queue for at most `leaseTimeout`.
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
          self?.dismiss(id, PostgresError(.poolTimeout, "no connection came free in time"))
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

  /// Connecting blocks, so it has a thread of its own meanwhile.
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
