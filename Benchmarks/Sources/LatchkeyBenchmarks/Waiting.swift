import ArgumentParser
import CLibPQ
import Dispatch
import Foundation
import Postgres
import Synchronization

struct Waiting: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Ways to wait for libpq's socket: a thread per connection, a dispatch source, epoll.",
    discussion: """
      Each is the minimum that can run a prepared select from an async function. PostgresPool.query is the last one \
      with everything that a client needs: a pool, a deadline, cancellation, typed rows.
      """)
  @OptionGroup var settings: Settings

  func run() async throws {
    let (url, settings) = (try settings.url, settings)
    try await settings.withPool { pool in
      let count = settings.connections
      let threads = try (0..<count).map { _ in ThreadConnection(try RawConnection(url)) }
      let sources = try (0..<count).map { _ in SourceConnection(try RawConnection(url)) }
      let loop = PollLoop()
      let polled = try (0..<count).map { _ in PolledConnection(try RawConnection(url), on: loop) }
      func candidate(_ name: String, _ body: @escaping @Sendable (Int) async throws -> Void) -> Candidate {
        Candidate(name: name) { try await measure(seconds: settings.seconds, concurrency: count, body) }
      }
      try await compare(
        [
          candidate("a thread per connection") { _ = await threads[$0].select(SelectBalance.random().account) },
          candidate("a dispatch source each") { _ = await sources[$0].select(SelectBalance.random().account) },
          candidate("one epoll thread") { _ = await polled[$0].select(SelectBalance.random().account) },
          candidate("PostgresPool.query") { _ in _ = try await pool.query(SelectBalance.random()) },
        ], rounds: settings.rounds, unit: "queries")
      for connection in threads { connection.end() }
      for connection in sources { connection.end() }
      loop.end()
    }
  }
}

/// A libpq connection with the select prepared. Used by one thread, queue or loop at a time.
// Safe: each of the three owners below uses it only on its single thread or serial queue.
final class RawConnection: @unchecked Sendable {
  let raw: OpaquePointer
  var descriptor: Int32 { PQsocket(raw) }

  init(_ url: String) throws {
    guard let raw = PQconnectdb(url), PQstatus(raw) == CONNECTION_OK else {
      throw PGBench.Failure(description: "no connection to \(url)")
    }
    PQclear(PQprepare(raw, "select", SelectBalance.sql, 1, [23]))
    PQsetnonblocking(raw, 1)
    self.raw = raw
  }

  deinit { PQfinish(raw) }

  func send(_ account: Int32) {
    withUnsafeBytes(of: account.bigEndian) { bytes in
      let address = bytes.baseAddress?.assumingMemoryBound(to: CChar.self)
      _ = PQsendQueryPrepared(raw, "select", 1, [address], [4], [1], 1)
    }
    while PQflush(raw) == 1 {}
  }

  /// The result, once it has been received completely.
  func takeResult() -> Int32? {
    guard PQconsumeInput(raw) == 1, PQisBusy(raw) == 0, let result = PQgetResult(raw) else { return nil }
    defer { PQclear(result) }
    while let more = PQgetResult(raw) { PQclear(more) }
    guard let value = PQgetvalue(result, 0, 0) else { return nil }
    return Int32(bigEndian: UnsafeRawPointer(value).loadUnaligned(as: Int32.self))
  }
}

typealias Answer = CheckedContinuation<Int32, Never>

/// Blocks its own thread in `poll(2)`.
final class ThreadConnection: Sendable {
  private let connection: RawConnection
  private let inbox = Mutex<(account: Int32, answer: Answer)?>(nil)
  private let isEnding = Atomic(false)
  private let semaphore = DispatchSemaphore(value: 0)

  init(_ connection: RawConnection) {
    self.connection = connection
    Thread { self.work() }.start()
  }

  func select(_ account: Int32) async -> Int32 {
    await withCheckedContinuation { answer in
      inbox.withLock { $0 = (account, answer) }
      semaphore.signal()
    }
  }

  func end() {
    isEnding.store(true, ordering: .releasing)
    semaphore.signal()
  }

  private func work() {
    while true {
      semaphore.wait()
      if isEnding.load(ordering: .acquiring) { return }
      guard let (account, answer) = inbox.withLock({ $0.take() }) else { continue }
      connection.send(account)
      while true {
        var event = pollfd(fd: connection.descriptor, events: Int16(POLLIN), revents: 0)
        poll(&event, 1, -1)
        if let value = connection.takeResult() {
          answer.resume(returning: value)
          break
        }
      }
    }
  }
}

/// A serial queue with a read source.
final class SourceConnection: Sendable {
  private let connection: RawConnection
  private let queue = DispatchQueue(label: "connection")
  // Safe: libdispatch's objects are thread-safe.
  private nonisolated(unsafe) let source: any DispatchSourceRead
  private let answer = Mutex<Answer?>(nil)

  init(_ connection: RawConnection) {
    self.connection = connection
    source = DispatchSource.makeReadSource(fileDescriptor: connection.descriptor, queue: queue)
    source.setEventHandler { [self] in
      if let value = connection.takeResult() { answer.withLock { $0.take() }?.resume(returning: value) }
    }
    source.activate()
  }

  func select(_ account: Int32) async -> Int32 {
    await withCheckedContinuation { answer in
      self.answer.withLock { $0 = answer }
      queue.async { [connection] in connection.send(account) }
    }
  }

  func end() { source.cancel() }
}

/// One thread in `epoll_wait(2)` for all connections.
final class PollLoop: Sendable {
  private let poll = epoll_create1(0)
  private let wake = eventfd(0, Int32(EFD_NONBLOCK))
  private let inbox = Mutex<(isAwake: Bool, work: [@Sendable () -> Void])>((false, []))
  private let handlers = Mutex<[Int32: @Sendable () -> Void]>([:])
  private let isEnding = Atomic(false)

  init() {
    add(wake)
    Thread { self.work() }.start()
  }

  func register(_ descriptor: Int32, _ handler: @escaping @Sendable () -> Void) {
    handlers.withLock { $0[descriptor] = handler }
    add(descriptor)
  }

  func execute(_ closure: @escaping @Sendable () -> Void) {
    let mustWake = inbox.withLock { inbox in
      inbox.work.append(closure)
      defer { inbox.isAwake = true }
      return !inbox.isAwake
    }
    if mustWake { wakeUp() }
  }

  func end() {
    isEnding.store(true, ordering: .releasing)
    wakeUp()
  }

  private func wakeUp() {
    var one: UInt64 = 1
    _ = write(wake, &one, 8)
  }

  private func add(_ descriptor: Int32) {
    var event = epoll_event()
    event.events = EPOLLIN.rawValue
    event.data.fd = descriptor
    epoll_ctl(poll, EPOLL_CTL_ADD, descriptor, &event)
  }

  private func work() {
    withUnsafeTemporaryAllocation(of: epoll_event.self, capacity: 64) { events in
      while !isEnding.load(ordering: .acquiring) {
        let count = Int(max(0, epoll_wait(poll, events.baseAddress, 64, -1)))
        inbox.withLock { $0.isAwake = true }
        for event in events.prefix(count) {
          if event.data.fd == wake {
            var value: UInt64 = 0
            _ = read(wake, &value, 8)
          } else {
            handlers.withLock { $0[event.data.fd] }?()
          }
        }
        while let work = takeWork() { for closure in work { closure() } }
      }
    }
    close(poll)
    close(wake)
  }

  private func takeWork() -> [@Sendable () -> Void]? {
    inbox.withLock { inbox in
      defer { inbox = (!inbox.work.isEmpty, []) }
      return inbox.work.isEmpty ? nil : inbox.work
    }
  }
}

final class PolledConnection: Sendable {
  private let connection: RawConnection
  private let loop: PollLoop
  private let answer = Mutex<Answer?>(nil)

  init(_ connection: RawConnection, on loop: PollLoop) {
    self.connection = connection
    self.loop = loop
    loop.register(connection.descriptor) { [self] in
      if let value = connection.takeResult() { answer.withLock { $0.take() }?.resume(returning: value) }
    }
  }

  func select(_ account: Int32) async -> Int32 {
    await withCheckedContinuation { answer in
      self.answer.withLock { $0 = answer }
      loop.execute { [connection] in connection.send(account) }
    }
  }
}
