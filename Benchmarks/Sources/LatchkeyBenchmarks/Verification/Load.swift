import CBench
import CLibPQ
import Foundation
import Synchronization

/// Requests of one kind to one server.
struct Load: Sendable {
  var port: Int
  var template: RequestTemplate
  var mix: KeyMix
  var connections: Int
  /// Requests per second, at random times (a Poisson process); nil to send the next request on each connection as soon
  /// as the last is answered.
  var rate: Double?
  /// The index in the mix's draws to begin at.
  var firstDraw = 0
  /// The total number of requests; nil for no limit.
  var requestCount: Int?
  /// The thread's niceness, from -20 (highest priority) to 19. Values below 0 need root.
  var niceness: Int32 = 0
  var cpus: CPUs?
}

/// The results of a load over some time.
struct LoadResult: Sendable {
  var requests = 0
  /// The number of responses by the verdict's code, or by the HTTP status if there was no verdict.
  var codes: [String: Int] = [:]
  /// The number of responses with a wrong verdict.
  var wrongCount = 0
  /// One response with a wrong verdict.
  var wrongExample = ""
  /// Latencies from sending to the response.
  var service = LatencyHistogram()
  /// Latencies from when the request was due, including the wait for a connection.
  var response = LatencyHistogram()
  fileprivate var failure: String?
}

/// Sends a load from its own thread until `end()`.
final class LoadGenerator: Sendable {
  struct Failure: Error, CustomStringConvertible {
    var description: String
  }

  private let result = Mutex(LoadResult())
  private let isEnding = Atomic(false)
  private let isDone = Atomic(false)
  private let ended = DispatchSemaphore(value: 0)

  init(_ load: Load) throws {
    let connections = try (0..<load.connections).map { _ in
      LoadConnection(descriptor: try connectedSocket(port: load.port), template: load.template.bytes)
    }
    let work = LoadWork(load, connections)
    Thread.detachNewThread { [self] in
      do {
        try work.run(until: isEnding) { update in result.withLock { update(&$0) } }
      } catch {
        result.withLock { $0.failure = String(describing: error) }
      }
      isDone.store(true, ordering: .releasing)
      ended.signal()
    }
  }

  /// The results since the last call.
  func take() throws -> LoadResult {
    let taken = result.withLock { result in
      let taken = result
      result = LoadResult()
      return taken
    }
    if let failure = taken.failure { throw Failure(description: "the load broke off: \(failure)") }
    return taken
  }

  /// Waits until all `requestCount` requests are answered.
  func waitUntilDone() {
    while !isDone.load(ordering: .acquiring) { Thread.sleep(forTimeInterval: 0.02) }
  }

  func end() {
    isEnding.store(true, ordering: .releasing)
    ended.wait()
  }

  /// The results of `load` over `seconds`, after `warmUp` seconds. `begin` and `finish` are called at the start and the
  /// end of the measurement.
  static func measure(
    _ load: Load, seconds: Double, warmUp: Double, begin: () throws -> Void = {}, finish: () throws -> Void = {}
  ) throws -> (result: LoadResult, seconds: Double) {
    let generator = try LoadGenerator(load)
    defer { generator.end() }
    Thread.sleep(forTimeInterval: warmUp)
    try begin()
    _ = try generator.take()
    let start = ContinuousClock.now
    Thread.sleep(forTimeInterval: seconds)
    let result = try generator.take()
    let elapsed = (ContinuousClock.now - start) / .seconds(1)
    try finish()
    return (result, elapsed)
  }
}

private final class LoadConnection {
  let descriptor: Int32
  let request: UnsafeMutableBufferPointer<UInt8>
  var answer = UnsafeMutableBufferPointer<UInt8>.allocate(capacity: 64 << 10)
  var received = 0
  /// Nanoseconds on the monotonic clock.
  var dueAt = 0
  var sentAt = 0
  /// The index in the mix's draws of the first key of the request.
  var draw = 0

  init(descriptor: Int32, template: [UInt8]) {
    self.descriptor = descriptor
    request = .allocate(capacity: template.count)
    _ = request.update(from: template)
  }

  deinit {
    close(descriptor)
    request.deallocate()
    answer.deallocate()
  }
}

/// The work of the load's thread: all connections in one `epoll_pwait2(2)`, at most one request on each.
// Safe: made by one thread, then used only by the load's own.
private final class LoadWork: @unchecked Sendable {
  typealias Record = ((inout LoadResult) -> Void) -> Void

  private let load: Load
  private let connections: [LoadConnection]
  private let poll = epoll_create1(0)
  private var nextDraw: Int
  private var asked = 0
  private var answered = 0
  private var generator = SeededGenerator(state: 2)
  private var free: [Int] = []
  /// The due times of requests that have no connection yet. Those before `overdueStart` have been sent.
  private var overdue: [Int] = []
  private var overdueStart = 0

  init(_ load: Load, _ connections: [LoadConnection]) {
    (self.load, self.connections, nextDraw) = (load, connections, load.firstDraw)
    for (index, connection) in connections.enumerated() {
      var event = epoll_event()
      event.events = EPOLLIN.rawValue
      event.data.u64 = UInt64(index)
      epoll_ctl(poll, EPOLL_CTL_ADD, connection.descriptor, &event)
    }
  }

  deinit { close(poll) }

  func run(until isEnding: borrowing Atomic<Bool>, _ record: Record) throws {
    load.cpus?.pinThread()
    bench_prefer(load.niceness)
    let requestCount = load.requestCount ?? .max
    var nextDue = monotonicNanoseconds()
    if load.rate == nil {
      for connection in connections { try ask(on: connection, dueAt: nextDue, at: nextDue) }
    } else {
      free = Array(connections.indices)
    }
    try withUnsafeTemporaryAllocation(of: epoll_event.self, capacity: 256) { events in
      while answered < requestCount, !isEnding.load(ordering: .acquiring) {
        var wait = 10_000_000
        if let rate = load.rate {
          let now = monotonicNanoseconds()
          while nextDue <= now {
            overdue.append(nextDue)
            nextDue += Int(-log(1 - Double.random(in: 0..<1, using: &generator)) / rate * 1e9)
          }
          try sendOverdue()
          wait = min(wait, max(0, nextDue - monotonicNanoseconds()))
        }
        var timeout = timespec(tv_sec: 0, tv_nsec: wait)
        let count = Int(max(0, epoll_pwait2(poll, events.baseAddress, 256, &timeout, nil)))
        for event in events.prefix(count) { try receive(on: Int(event.data.u64), record) }
      }
    }
  }

  private func sendOverdue() throws {
    while overdueStart < overdue.count, !free.isEmpty {
      // The connection that was idle for longest, because servers close idle connections.
      let index = free.removeFirst()
      try ask(on: connections[index], dueAt: overdue[overdueStart], at: monotonicNanoseconds())
      overdueStart += 1
    }
    guard overdueStart == overdue.count else { return }
    overdue.removeAll(keepingCapacity: true)
    overdueStart = 0
  }

  private func ask(on connection: LoadConnection, dueAt: Int, at now: Int) throws {
    guard asked < load.requestCount ?? .max else { return }
    asked += 1
    let (mix, template) = (load.mix, load.template)
    connection.draw = nextDraw
    for (index, offset) in template.keyOffsets.enumerated() {
      let key = key(connection, index)
      mix.texts.withUnsafeBufferPointer { texts in
        _ = connection.request[offset..<(offset + KeyMix.keyLength)].update(
          fromContentsOf: texts[key * KeyMix.keyLength..<(key + 1) * KeyMix.keyLength])
      }
    }
    nextDraw = (nextDraw + template.keyOffsets.count) % mix.draws.count
    (connection.dueAt, connection.sentAt, connection.received) = (dueAt, now, 0)
    let count = send(
      connection.descriptor, connection.request.baseAddress, connection.request.count,
      Int32(MSG_NOSIGNAL) | Int32(MSG_DONTWAIT))
    guard count == connection.request.count else {
      throw LoadGenerator.Failure(description: "\(count) of \(connection.request.count) bytes could be sent")
    }
  }

  /// The key at `index` of the pending request.
  private func key(_ connection: LoadConnection, _ index: Int) -> Int {
    Int(load.mix.draws[(connection.draw + index) % load.mix.draws.count])
  }

  private func receive(on index: Int, _ record: Record) throws {
    let connection = connections[index]
    if connection.received == connection.answer.count {
      let larger = UnsafeMutableBufferPointer<UInt8>.allocate(capacity: 2 * connection.answer.count)
      _ = larger.update(fromContentsOf: connection.answer)
      connection.answer.deallocate()
      connection.answer = larger
    }
    let count = recv(
      connection.descriptor, connection.answer.baseAddress?.advanced(by: connection.received),
      connection.answer.count - connection.received, Int32(MSG_DONTWAIT))
    if count < 0, errno == EAGAIN { return }
    guard count > 0 else { throw LoadGenerator.Failure(description: "the server closed a connection") }
    connection.received += count
    guard let answer = try HTTPAnswer(Bytes(rebasing: connection.answer[..<connection.received])) else { return }
    guard answer.length == connection.received else {
      throw LoadGenerator.Failure(description: "more came than one answer")
    }
    let now = monotonicNanoseconds()
    record { result in
      result.requests += 1
      result.service.add(now - connection.sentAt)
      result.response.add(now - connection.dueAt)
      self.check(answer, on: connection, &result)
    }
    if load.rate == nil { try ask(on: connection, dueAt: now, at: now) } else { free.append(index) }
    if !overdue.isEmpty { try sendOverdue() }
  }

  /// Checks that every verdict is right for its key, and that every 16th response to a known key has the key's id.
  private func check(_ answer: HTTPAnswer, on connection: LoadConnection, _ result: inout LoadResult) {
    answered += 1
    var isRight = true
    var checked = 0
    func check(_ code: Bytes) {
      let isKnown = checked < load.template.keyOffsets.count && key(connection, checked) < load.mix.knownCount
      if code.equals("VALID") {
        result.codes["VALID", default: 0] += 1
        isRight = isRight && isKnown
      } else {
        let code = String(decoding: code, as: UTF8.self)
        result.codes[code, default: 0] += 1
        isRight = isRight && code == (isKnown ? "RATE_LIMITED" : "NOT_FOUND")
      }
      checked += 1
    }
    switch load.template.answer {
    case .codesInBody: answer.forEachCodeInBody(check)
    case .codeInHeader: if let code = answer.code { check(code) }
    case .fixed: isRight = answer.status == 200
    }
    if checked == 0 { result.codes["HTTP \(answer.status)", default: 0] += 1 }
    if load.template.answer != .fixed { isRight = isRight && checked == load.template.keyOffsets.count }
    if isRight, checked > 0, answered.isMultiple(of: 16) {
      isRight = contains(answer, idOfKey: key(connection, answered / 16 % checked), on: connection)
    }
    guard !isRight else { return }
    result.wrongCount += 1
    if result.wrongExample.isEmpty {
      result.wrongExample = String(decoding: connection.answer[..<min(600, connection.received)], as: UTF8.self)
    }
  }

  private func contains(_ answer: HTTPAnswer, idOfKey key: Int, on connection: LoadConnection) -> Bool {
    guard key < load.mix.knownCount else { return true }
    return load.mix.ids.withUnsafeBufferPointer { ids in
      let id = Bytes(rebasing: ids[key * KeyMix.idLength..<(key + 1) * KeyMix.idLength])
      return Bytes(rebasing: connection.answer[..<connection.received]).firstIndex(of: id) != nil
    }
  }
}

private func monotonicNanoseconds() -> Int {
  var now = timespec()
  clock_gettime(CLOCK_MONOTONIC, &now)
  return now.tv_sec * 1_000_000_000 + now.tv_nsec
}
