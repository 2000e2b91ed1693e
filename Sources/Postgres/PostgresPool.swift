import Dispatch
import Logging
public import ServiceLifecycle
import Synchronization

/// A bounded set of connections, opened when needed. Make one per process and run it as a service: ``run()`` retires idle
/// connections and, at shutdown, waits for those in use and closes all.
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

  /// A sleep that the cancellation of the task, which may be why the pool shuts down, doesn't cut short.
  private func pause(_ duration: Duration) async {
    await withCheckedContinuation { continuation in
      loop.execute { [loop] in loop.schedule(at: .now + duration) { continuation.resume() } }
    }
  }

  /// Connections open, connections in use, and callers waiting, now.
  public var gauges: (open: Int, leased: Int, waiting: Int) {
    state.withLock { ($0.openCount, $0.leasedCount, $0.waiterCount) }
  }

  /// The thread that talks to PostgreSQL, for tasks that do little else: `Task(executorPreference: pool.executor)` saves
  /// them two changes of thread a query. Whoever computes or blocks there keeps everybody's queries waiting.
  public var executor: any TaskExecutor { loop }

  // MARK: Use

  /// Lends a connection to `body`. If it comes back with a transaction open, it is closed instead of being lent again.
  public func withConnection<Value>(
    _ body: (PostgresConnection) async throws -> Value
  ) async throws -> Value {
    let connection = try await lease()
    do {
      let value = try await body(connection)
      giveBack(connection)
      return value
    } catch {
      giveBack(connection)
      throw error
    }
  }

  /// Runs one statement on any connection and decodes its rows.
  public func query<Statement: PostgresStatement>(
    _ statement: Statement, as settings: PostgresSettings = .none
  ) async throws(PostgresError) -> [Statement.Row] {
    try await lend(as: settings) { connection throws(PostgresError) in try await connection.query(statement) }
  }

  /// As ``query(_:as:)``; throws `.timeout` when there is no answer by `deadline`, whatever the server is doing. Whether the
  /// statement was carried out, or still will be, is not known then.
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
  public func execute(
    _ statement: some PostgresStatement, as settings: PostgresSettings = .none
  ) async throws(PostgresError) -> Int {
    try await lend(as: settings) { connection throws(PostgresError) in try await connection.execute(statement) }
  }

  /// Runs several statements as one transaction in one round trip.
  public func pipeline<each Statement: PostgresStatement>(
    _ statement: repeat each Statement, as settings: PostgresSettings = .none
  ) async throws(PostgresError) -> (repeat [(each Statement).Row]) {
    let connection = try await lease()
    connection.open(with: settings.commands)
    do throws(PostgresError) {
      let rows = try await connection.pipeline(repeat each statement)
      giveBack(connection)
      return rows
    } catch {
      giveBack(connection)
      throw error
    }
  }

  /// Runs `body` in a transaction: commits when it returns, rolls back when it throws or its task is cancelled, and runs
  /// it again after a serialization failure or a deadlock, so it must have no effect but through the connection.
  public func withTransaction<Value>(
    isolation: PostgresIsolation = .readCommitted, as settings: PostgresSettings = .none,
    _ body: (PostgresConnection) async throws -> Value
  ) async throws -> Value {
    var attempt = 1
    while true {
      do {
        return try await withConnection { connection in
          connection.open(with: [PostgresCommand(.plain(isolation.begin))] + settings.commands)
          do {
            let value = try await body(connection)
            try Task.checkCancellation()
            try await connection.commit()
            return value
          } catch {
            await connection.rollback()
            throw error
          }
        }
      } catch let error as PostgresError where error.isRetryable && attempt < Self.retryCountMax {
        try await Task.sleep(for: .milliseconds(Int.random(in: 1...(4 << attempt))))
        attempt += 1
      }
    }
  }

  /// Opens a connection outside the pool, for `listen`; to another server if `url` is given. Close it when done.
  public func openConnection(url: String? = nil) async throws(PostgresError) -> PostgresConnection {
    var configuration = configuration
    if let url { configuration.url = url }
    return try await openConnection(configuration)
  }

  /// Opens a connection outside the pool, with limits of its own.
  func openConnection(_ configuration: PostgresConfiguration) async throws(PostgresError) -> PostgresConnection {
    let result: Result<PostgresConnection, PostgresError> = await withCheckedContinuation { continuation in
      open(configuration, onClose: { _ in }) { continuation.resume(returning: $0) }
    }
    return try result.get()
  }

  // MARK: Lending

  private func lend<Value>(
    as settings: PostgresSettings, _ body: (PostgresConnection) async throws(PostgresError) -> Value
  ) async throws(PostgresError) -> Value {
    let connection = try await lease()
    connection.open(with: settings.commands)
    do throws(PostgresError) {
      let value = try await body(connection)
      giveBack(connection)
      return value
    } catch {
      giveBack(connection)
      throw error
    }
  }

  private func lease() async throws(PostgresError) -> PostgresConnection {
    if let connection = state.withLock({ $0.leaseIdle() }) { return connection }
    let id = nextID.add(1, ordering: .relaxed).oldValue
    let result = await withTaskCancellationHandler {
      await withCheckedContinuation { (waiter: Waiter) in
        wait(id, waiter)
        // The cancellation may have come before the waiter was there to be dismissed.
        if Task.isCancelled { dismissCancelled(id) }
      }
    } onCancel: {
      dismissCancelled(id)
    }
    return try result.get()
  }

  /// Answers the waiter at once, or leaves it in the queue for at most `leaseTimeout`.
  private func wait(_ id: UInt64, _ waiter: Waiter) {
    switch state.withLock({ $0.lease(id, waiter, at: .now) }) {
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

  private func giveBack(_ connection: PostgresConnection) {
    let isReusable = connection.isReusable
    perform(state.withLock { $0.release(connection, connection.id, isReusable: isReusable, at: .now) })
  }

  private func perform(_ action: State.ReturnAction) {
    switch action {
    case .none:
      break
    case .hand(let connection, let waiter):
      waiter.resume(returning: .success(connection))
    case .close(let connection):
      loop.execute { connection.assumeIsolated { $0.close() } }
    }
  }

  // MARK: Connecting

  private func connect() {
    open(configuration, onClose: { [weak self] id in self?.removed(id) }) { [self] result in
      switch result {
      case .success(let connection):
        perform(state.withLock { $0.connected(connection, connection.id, at: .now) })
      case .failure(let error):
        for waiter in state.withLock({ $0.connectFailed(error, at: .now) }) {
          waiter.resume(returning: .failure(error))
        }
      }
    }
  }

  private func removed(_ id: UInt64) {
    if state.withLock({ $0.removed(id) }) { connect() }
  }

  /// Connecting blocks, so it has a thread of its own meanwhile.
  private func open(
    _ configuration: PostgresConfiguration, onClose: @escaping @Sendable (UInt64) -> Void,
    _ completion: @escaping @Sendable (Result<PostgresConnection, PostgresError>) -> Void
  ) {
    let id = nextID.add(1, ordering: .relaxed).oldValue
    DispatchQueue.global().async { [loop, statistics] in
      do throws(PostgresError) {
        let opened = try OpenedConnection(configuration)
        completion(
          .success(
            PostgresConnection(
              owning: opened, id: id, loop: loop, statistics: statistics, queryTimeout: configuration.queryTimeout,
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
