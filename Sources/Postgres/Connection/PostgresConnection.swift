internal import CLibPQ
import Dispatch
import Foundation
import Synchronization

/// One connection to PostgreSQL: an actor on its event loop's thread, over libpq in pipeline mode on a non-blocking
/// socket (PostgreSQL manual 34.4 and 34.5).
///
/// Statements are prepared when first used and sent in binary. Every batch has a deadline; when it passes, or when the
/// calling task is cancelled, the server is asked to cancel and the connection stays usable.
public actor PostgresConnection {
  typealias Outcome = Result<[QueryResult], PostgresError>
  typealias State = ConnectionState<PostgresCommand, QueryResult, CheckedContinuation<Outcome, Never>>
  /// Called once when the connection has closed; `hadWord` is false if the server gave no reason.
  typealias CloseHandler = @Sendable (_ id: UInt64, _ hadWord: Bool) -> Void

  /// A statement that had run for longer when its backend was terminated was probably the target, so it is not run
  /// again.
  private static let recent: Duration = .seconds(1)

  public nonisolated let id: UInt64
  /// The server's `server_version_num`, for instance 150018.
  public nonisolated let serverVersion: Int
  /// Whether there is a pooler in between, so that settings and `listen` may not outlast a transaction.
  public nonisolated let isPooled: Bool
  nonisolated let loop: EventLoop
  private nonisolated let statistics: PostgresStatistics
  private nonisolated let configuration: PostgresConfiguration
  private nonisolated let notices: NoticeReceiver
  private nonisolated let onClose: CloseHandler
  private nonisolated let lastBatchID = Atomic<UInt64>(0)
  private nonisolated let storedCondition = Atomic<UInt8>(ConnectionCondition.reusable.rawValue)

  /// Nil once closed.
  private var raw: OpaquePointer?
  private let descriptor: Int32
  private var isRegistered = false
  private var hasWriteInterest = false
  private var state = State()
  private var opening: Opening?
  private var pipeline: Pipeline
  private var deadline: ContinuousClock.Instant?
  private var isTimerArmed = false
  private var cancelGraceEnd: ContinuousClock.Instant?
  private var notificationSink: NotificationSink?

  public nonisolated var unownedExecutor: UnownedSerialExecutor { loop.asUnownedSerialExecutor() }

  /// Takes ownership of a connected `PGconn` in pipeline mode.
  init(
    owning opened: consuming OpenedConnection, id: UInt64, loop: EventLoop, statistics: PostgresStatistics,
    configuration: PostgresConfiguration, onClose: @escaping CloseHandler
  ) {
    self.id = id
    self.loop = loop
    self.statistics = statistics
    self.configuration = configuration
    notices = opened.notices
    isPooled = opened.isPooled
    pipeline = Pipeline(
      preparesNames: configuration.preparing == .always || configuration.preparing == .auto && !opened.isPooled)
    self.onClose = onClose
    serverVersion = Int(opened.serverVersion)
    descriptor = opened.descriptor
    raw = opened.take()
    onLoop { $0.register() }
  }

  isolated deinit { finish() }

  /// Closes the connection; statements under way fail with `.shutdown`.
  public func close() {
    close(PostgresError(.shutdown, "the connection was closed"))
  }

  public var isClosed: Bool { raw == nil }

  /// The condition in which it would be returned to the pool now. Stored with each answer, so that no caller has to hop
  /// to the loop to ask.
  nonisolated var condition: ConnectionCondition {
    ConnectionCondition(rawValue: storedCondition.load(ordering: .acquiring)) ?? .inUse
  }

  private nonisolated func store(_ condition: ConnectionCondition) {
    storedCondition.store(condition.rawValue, ordering: .releasing)
  }

  /// Commands sent with and before the next batch, which saves a round trip; their results are discarded.
  struct Opening {
    /// `begin`, if it opens a transaction.
    var begin: String?
    var settings: PostgresSettings
  }

  nonisolated func open(with opening: Opening) {
    guard opening.begin != nil || opening.settings != .none else { return }
    store(.inUse)
    onLoop { $0.opening = opening }
  }

  /// Listens on `channels` and returns a stream of the notifications from then on, in order. The stream throws when the
  /// connection ends. One stream per connection.
  public func listen(
    to channels: [String]
  ) async throws(PostgresError) -> AsyncThrowingStream<PostgresNotification, any Error> {
    guard notificationSink == nil else { throw PostgresError(.protocolViolation, "listening already") }
    let (sink, stream) = NotificationSink.make()
    notificationSink = sink
    do throws(PostgresError) {
      _ = try await run(channels.map { PostgresCommand(.plain("listen " + Self.quoteIdentifier($0))) })
    } catch {
      notificationSink = nil
      throw error
    }
    return stream
  }

  static func quoteLiteral(_ text: String) -> String {
    // In PostgreSQL 15, a setting decides how a plain literal treats a backslash; this form does not depend on it.
    " E'" + text.doubling("\\", "'") + "'"
  }

  static func quoteIdentifier(_ name: String) -> String {
    "\"" + name.doubling("\"") + "\""
  }

  /// Runs `body` on the loop's thread, in the order of the calls.
  private nonisolated func onLoop(_ body: @escaping @Sendable (isolated PostgresConnection) -> Void) {
    loop.execute { self.assumeIsolated(body) }
  }

  // MARK: Batches

  /// Sends `commands` in one round trip and returns their results. Resumes its caller straight from the loop's thread:
  /// an actor's method would return by way of the actor's queue.
  nonisolated func run(
    _ commands: [PostgresCommand], isCancellable: Bool = true
  ) async throws(PostgresError) -> [QueryResult] {
    let id = lastBatchID.wrappingAdd(1, ordering: .relaxed).newValue
    guard isCancellable else { return try await submit(commands, id).get() }
    if Task.isCancelled { throw PostgresError(.cancelled, "the task was cancelled") }
    let outcome = await withTaskCancellationHandler {
      await submit(commands, id, isCancellable: true)
    } onCancel: {
      onLoop { $0.cancel(id, reason: .cancelled) }
    }
    return try outcome.get()
  }

  private nonisolated func submit(
    _ commands: [PostgresCommand], _ id: UInt64, isCancellable: Bool = false
  ) async -> Outcome {
    await withCheckedContinuation { continuation in
      onLoop { $0.submit(commands, id, continuation) }
      // A cancellation may have reached the loop before the batch did, and found nothing to cancel.
      if isCancellable && Task.isCancelled { onLoop { $0.cancel(id, reason: .cancelled) } }
    }
  }

  private func submit(_ commands: [PostgresCommand], _ id: UInt64, _ waiter: CheckedContinuation<Outcome, Never>) {
    // The server may have closed the connection since the last answer: then nothing is sent, and the commands may be
    // sent on another connection.
    if state.isIdle { receive() }
    if let error = state.closedBy {
      waiter.resume(returning: .failure(error))
      return
    }
    guard !state.isSettling else {
      waiter.resume(returning: .failure(PostgresError(.protocolViolation, "the connection waits for a commit")))
      return
    }
    let batch = State.Batch(id: id, commands: commands, effect: Self.effect(of: commands), waiter: waiter)
    store(.inUse)
    if let next = state.submit(batch) { send(next) }
  }

  private static func effect(of commands: [PostgresCommand]) -> State.Effect {
    switch commands.first?.kind {
    case .end("commit")?: .commit
    case .end?: .none
    case .script?: .script
    default: commands.allSatisfy(\.isRead) ? .none : .ownCommit
    }
  }

  private func send(_ batch: State.Batch) {
    guard let raw else { return }
    if opening != nil, batch.commands.first?.isEnd == true {
      opening = nil
      // The transaction never reached the server.
      complete(state.receive(.end))
      return
    }
    let isOpen = PQtransactionStatus(raw) != PQTRANS_IDLE
    let opening = takeOpening(isInTransaction: isOpen, isScript: batch.commands.first?.isScript == true)
    let isInTransaction = isOpen || opening.contains(where: \.isBegin)
    if isInTransaction { state.runsInTransaction() }
    deadline = .now + configuration.queryTimeout
    armTimer()
    statistics.sent(batch.commands.count + opening.count)
    let announcesCommit = batch.effect == .ownCommit && !isInTransaction
    if pipeline.send(batch.commands, opening: opening, announcesCommit: announcesCommit, on: raw) {
      flush()
    } else {
      close(PostgresError(.connectionLost, lastMessage(raw)))
    }
  }

  /// If the session is not our own, each transaction applies all the settings of a session.
  private func takeOpening(isInTransaction: Bool, isScript: Bool) -> [PostgresCommand] {
    defer { opening = nil }
    var settings = opening?.settings ?? .none
    if isPooled, !isInTransaction { settings = settings.over(configuration.settings) }
    let begin = opening?.begin.map { [PostgresCommand(.plain($0))] } ?? []
    // A script binds no parameters.
    return begin + (isScript ? settings.text.map { [PostgresCommand(.plain($0))] } ?? [] : settings.commands)
  }

  // MARK: The socket

  private func register() {
    guard raw != nil else { return }
    loop.register(descriptor) { [weak self] readiness in
      self?.assumeIsolated { $0.socketReady(readiness) }
    }
    isRegistered = true
  }

  private func socketReady(_ readiness: EventLoop.Readiness) {
    if readiness.contains(.writable) { flush() }
    if readiness.contains(.readable) { receive() }
  }

  private func flush() {
    guard let raw else { return }
    let status = PQflush(raw)
    if status < 0 {
      // The server's last message, such as "terminating connection", may still be readable.
      receive()
      return
    }
    let needsWrite = status == 1
    if needsWrite != hasWriteInterest {
      hasWriteInterest = needsWrite
      loop.setWriteInterest(needsWrite, of: descriptor)
    }
  }

  private func receive() {
    guard let raw else { return }
    let isOpen = PQconsumeInput(raw) == 1
    deliverNotifications()
    takeResults()
    // Results may be followed by notifications in the same read.
    deliverNotifications()
    // Any of these may have closed the connection and freed `raw`.
    guard self.raw != nil else { return }
    if let parting = notices.parting {
      close(PostgresError(.connectionLost, parting.message, sqlState: parting.sqlState))
    } else if !isOpen || PQstatus(raw) == CONNECTION_BAD {
      close(PostgresError(.connectionLost, lastMessage(raw)))
    } else if hasWriteInterest {
      flush()
    }
  }

  /// Takes the results that have arrived completely. libpq returns NULL after the results of each statement, and always
  /// when nothing more is to come.
  private func takeResults() {
    var consecutiveNullCount = 0
    while let raw, state.runningID != nil, consecutiveNullCount < 2, PQisBusy(raw) == 0 {
      if let result = PQgetResult(raw) {
        consecutiveNullCount = 0
        take(result)
      } else {
        consecutiveNullCount += 1
        if pipeline.isScript { endScript(raw) }
      }
    }
  }

  private func endScript(_ raw: OpaquePointer) {
    guard PQstatus(raw) == CONNECTION_OK else { return }
    if PQenterPipelineMode(raw) == 1 {
      complete(state.receive(.end))
    } else {
      close(PostgresError(.protocolViolation, lastMessage(raw)))
    }
  }

  private func take(_ result: OpaquePointer) {
    let label = pipeline.current?.label ?? .text("")
    switch PQresultStatus(result) {
    case PGRES_PIPELINE_SYNC:
      PQclear(result)
      if let notice = notices.takeMissingStandby() { state.committedWithoutStandby(notice.message) }
      complete(state.receive(.end))
      return
    case PGRES_COMMAND_OK, PGRES_TUPLES_OK, PGRES_EMPTY_QUERY:
      let isWanted = pipeline.succeeded()
      _ = state.receive(.success(QueryResult(owning: result, statement: label), isWanted: isWanted))
    case PGRES_PIPELINE_ABORTED:
      PQclear(result)
      pipeline.failed(sqlState: nil)
      _ = state.receive(.aborted)
    case PGRES_FATAL_ERROR, PGRES_BAD_RESPONSE, PGRES_NONFATAL_ERROR:
      let error = PostgresError(result: result, statement: label.description)
      PQclear(result)
      pipeline.failed(sqlState: error.sqlState)
      _ = state.receive(.failure(error))
    default:
      PQclear(result)
      close(PostgresError(.protocolViolation, "copy is not supported", statement: label.description))
      return
    }
  }

  private func complete(_ completion: State.Completion?) {
    guard let raw, let completion else { return }
    guard let waiter = completion.waiter else {
      settled(completion.outcome)
      return
    }
    deadline = nil
    let isInTransaction = PQtransactionStatus(raw) != PQTRANS_IDLE
    store(state.isIdle && !isInTransaction && opening == nil ? .reusable : .inUse)
    waiter.resume(returning: completion.outcome)
    if let next = state.startNext() { send(next) }
  }

  private func deliverNotifications() {
    while let raw, let notify = PQnotifies(raw) {
      defer { PQfreemem(notify) }
      let notification = PostgresNotification(
        channel: String(cString: notify.pointee.relname), payload: String(cString: notify.pointee.extra))
      if notificationSink?.yield(notification) == false {
        close(PostgresError(.notificationOverflow, "over \(NotificationSink.bufferMax) notifications unread"))
      }
    }
  }

  // MARK: Deadlines and cancellation

  /// Arms one timer at a time, again when it fires too early: most batches end long before their deadline.
  private func armTimer() {
    guard !isTimerArmed, let deadline else { return }
    isTimerArmed = true
    loop.schedule(at: deadline) { [weak self] in self?.assumeIsolated { $0.timerFired() } }
  }

  private func timerFired() {
    isTimerArmed = false
    guard let deadline, let running = state.runningID else { return }
    if deadline > .now {
      armTimer()
    } else {
      cancel(running, reason: .timeout)
    }
  }

  private func cancel(_ id: UInt64, reason: PostgresError.Code) {
    switch state.cancel(id, reason: reason) {
    case .none:
      break
    case .fail(let waiter):
      waiter.resume(returning: .failure(PostgresError(reason, "given up before it was sent")))
    case .requestCancel:
      requestCancel()
    case .leave(let waiter):
      leave(waiter, reason)
    }
  }

  /// Releases the caller of a commit that the server continues.
  private func leave(_ waiter: CheckedContinuation<Outcome, Never>, _ reason: PostgresError.Code) {
    deadline = nil
    store(.settling)
    configuration.observe(.commitLeft)
    waiter.resume(returning: .failure(PostgresError(.commitUnknown, "the commit has not ended yet (\(reason))")))
  }

  /// Handles the end of a commit whose caller was released.
  private func settled(_ outcome: Outcome) {
    var isCommitted = false
    if case .success = outcome { isCommitted = true }
    configuration.observe(.commitSettled(isCommitted: isCommitted))
    close()
  }

  private func requestCancel() {
    guard let raw, let request = PQgetCancel(raw) else {
      close(PostgresError(.connectionLost, "no cancel request could be made"))
      return
    }
    let graceEnd = ContinuousClock.now + configuration.cancelTimeout
    cancelGraceEnd = graceEnd
    loop.schedule(at: graceEnd) { [weak self] in self?.assumeIsolated { $0.graceTimerFired() } }
    // Safe: PGcancel is a copy of what is needed, used only by this closure.
    nonisolated(unsafe) let owned = request
    // PQcancel blocks: it opens a connection of its own, and waits until the server has acted on it.
    DispatchQueue.global().async { [weak self, loop] in
      withUnsafeTemporaryAllocation(of: CChar.self, capacity: 256) { buffer in
        _ = PQcancel(owned, buffer.baseAddress, 256)
      }
      PQfreeCancel(owned)
      loop.execute { [weak self] in self?.assumeIsolated { $0.cancelRequestEnded() } }
    }
  }

  private func cancelRequestEnded() {
    state.cancelRequestEnded()
    if let next = state.startNext() { send(next) }
  }

  private func graceTimerFired() {
    guard state.isCancelling, let cancelGraceEnd, cancelGraceEnd <= .now else { return }
    // The request came too late to end the statement before its commit.
    if case .leave(let waiter) = state.leave() { return leave(waiter, .timeout) }
    guard !state.isSettling else { return }
    close(PostgresError(.connectionLost, "no answer to a cancel request"))
  }

  // MARK: The end

  private func close(_ error: PostgresError) {
    guard raw != nil else { return }
    store(.inUse)
    finish()
    notificationSink?.finish(error)
    let hadWord = error.code != .connectionLost || error.sqlState != nil || state.hasFailed
    let sentAt = deadline.map { $0 - configuration.queryTimeout }
    let isRecent = sentAt.map { .now - $0 < Self.recent } ?? false
    if state.isSettling { configuration.observe(.commitSettled(isCommitted: false)) }
    // Before the callers are resumed, so that none of them retries on another connection to the same unresponsive
    // server.
    onClose(id, hadWord)
    for completion in state.close(error, isRecent: isRecent) {
      completion.waiter?.resume(returning: completion.outcome)
    }
  }

  private func finish() {
    guard let raw else { return }
    self.raw = nil
    if isRegistered { loop.unregister(descriptor) }
    PQfinish(raw)
  }

  private func lastMessage(_ raw: OpaquePointer) -> String {
    String(cString: PQerrorMessage(raw)).trimmingCharacters(in: .whitespacesAndNewlines)
  }
}

extension PostgresError {
  fileprivate init(result: OpaquePointer, statement: String) {
    func field(_ code: Character) -> String? {
      PQresultErrorField(result, Int32(code.asciiValue ?? 0)).map { String(cString: $0) }
    }
    // The field codes of PostgreSQL manual 55.8.
    self.init(
      .server, field("M") ?? String(cString: PQresultErrorMessage(result)), sqlState: field("C"),
      constraint: field("n"), statement: statement)
    if sqlState == nil { code = .connectionLost }
  }
}
