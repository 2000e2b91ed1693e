import Foundation
import PortalTesting
import Postgres
import PostgresTesting
import Synchronization

/// A fault of the servers or of PostgreSQL.
enum Fault: String, CaseIterable {
  case terminatedListeners = "terminated listener backends"
  case restart = "fast restarts"
  case crash = "immediate restarts"
  case stoppedListener = "stopped listener backends"
  case suspendedServer = "suspended servers"
}

/// Counts faults and measures the progress of their plan. Revocations follow that progress, so that they are spread
/// over all faults however long those take.
final class FaultLog: Sendable {
  private struct State {
    var counts: [Fault: Int] = [:]
    var passed: Duration = .zero
    var step: (planned: Duration, begun: ContinuousClock.Instant)?
  }

  private let state = Mutex(State())

  func count(of fault: Fault) -> Int { state.withLock { $0.counts[fault, default: 0] } }

  /// The planned time that has passed.
  var passed: Duration {
    state.withLock { state in
      state.passed + (state.step.map { min($0.planned, .now - $0.begun) } ?? .zero)
    }
  }

  func begin(planned: Duration) { state.withLock { $0.step = (planned, .now) } }

  func end(_ fault: Fault, count: Int = 1) {
    state.withLock { state in
      state.counts[fault, default: 0] += count
      state.passed += state.step?.planned ?? .zero
      state.step = nil
    }
  }
}

/// Runs revocations and faults at the same time.
struct Storm: Sendable {
  /// 2,000 revocations in `make test`, and 10,000 in `make soak`.
  private static let extent = isSoak ? 5 : 1
  static let revocationCountMin = 2_000 * extent
  private static let workerCount = 12
  private static let largeRoundCount = 64 * extent
  private static let largeRoundSize = 30
  private static let smallRoundCount = 80 * extent
  /// Keys revoked while one server is suspended.
  private static let sleeperCount = 8

  /// Keys that are cached, revoked and asked about together.
  private struct Round {
    let keys: [OwnedKey]
    /// In planned time.
    let due: Duration
    let seed: UInt64
  }

  private struct Step {
    let fault: Fault
    /// The pause before the fault.
    let pause: Duration
    let length: Duration
    let seed: UInt64
  }

  private final class Record: Sendable {
    let tally = Mutex(StormTally())
    /// Keys that all servers have refused, which are asked about again until the end.
    let refused = Mutex<[OwnedKey]>([])
    let isOver = Atomic(false)
  }

  private let world: RevocationWorld
  private let server: OwnServer
  private let owners: [(owner: KeyOwner, rounds: [Round])]
  private let sleepers: KeyOwner
  private let steps: [Step]
  let faults = FaultLog()
  private let record = Record()

  init(_ world: RevocationWorld, _ server: OwnServer, seed: UInt64) async throws {
    var generator = SeededGenerator(seed: seed)
    self.world = world
    self.server = server
    steps = Self.plan(&generator)
    let span = steps.reduce(.zero) { $0 + $1.pause + $1.length }
    let sizes =
      (Array(repeating: Self.largeRoundSize, count: Self.largeRoundCount)
      + Array(repeating: 1, count: Self.smallRoundCount)).shuffled(using: &generator)
    var owners: [(owner: KeyOwner, rounds: [Round])] = []
    for worker in 0..<Self.workerCount {
      let numbers = Array(stride(from: worker, to: sizes.count, by: Self.workerCount))
      let owner = try await world.makeOwner("owner\(worker)", keyCount: numbers.reduce(0) { $0 + sizes[$1] })
      var rest = owner.keys[...]
      let rounds = numbers.map { number in
        defer { rest = rest.dropFirst(sizes[number]) }
        return Round(
          keys: Array(rest.prefix(sizes[number])), due: span * (Double(number) / Double(sizes.count)),
          seed: generator.next())
      }
      owners.append((owner, rounds))
    }
    self.owners = owners
    let suspensionCount = steps.count { $0.fault == .suspendedServer }
    sleepers = try await world.makeOwner("sleepers", keyCount: Self.sleeperCount * suspensionCount)
  }

  func run() async throws -> StormTally {
    let begun = ContinuousClock.now
    try await withThrowingTaskGroup { group in
      group.addTask { try await makeFaults() }
      for (owner, rounds) in owners {
        group.addTask {
          try await TestConnection.with(world.ports + world.ports) { connections in
            for round in rounds { try await run(round, of: owner, connections) }
          }
        }
      }
      try await withThrowingTaskGroup { sweepers in
        sweepers.addTask { try await sweep() }
        do { try await group.waitForAll() } catch {
          sweepers.cancelAll()
          throw error
        }
        record.isOver.store(true, ordering: .relaxed)
        try await sweepers.waitForAll()
      }
    }
    return record.tally.withLock { tally in
      tally.duration = .now - begun
      return tally
    }
  }

  // MARK: Revoking

  private func run(_ round: Round, of owner: KeyOwner, _ connections: [TestConnection]) async throws {
    while faults.passed < round.due { try await Task.sleep(for: .milliseconds(5)) }
    let asking = connections.prefix(3)
    try await withThrowingTaskGroup { group in
      for connection in asking { group.addTask { try await world.warm(round.keys, at: connection) } }
      try await group.waitForAll()
    }
    async let hearing = ask(round.keys, Array(asking))
    let revoked = try await revoke(round, of: owner, Array(connections.suffix(3)))
    let heard = try await hearing
    record.tally.withLock { tally in
      tally.add(heard, revoked.map(\.revocation), of: [0, 1, 2])
      for (key, revoked) in revoked.enumerated() {
        guard let receipt = revoked.receipt else { continue }
        tally.receiptCount += 1
        tally.receiptMillisecondsMax = max(tally.receiptMillisecondsMax, receipt.milliseconds)
        guard receipt.acknowledged == receipt.instances else { continue }
        tally.fullReceiptCount += 1
        let receivedAt = revoked.revocation.knownAt
        tally.acceptedAfterFullReceiptCount += heard.reduce(0) { $0 + $1.accepted[key].count { $0 > receivedAt } }
      }
    }
    record.refused.withLock { $0 += round.keys }
  }

  private func ask(_ keys: [OwnedKey], _ connections: [TestConnection]) async throws -> [RevocationWorld.Heard] {
    try await withThrowingTaskGroup(of: (Int, RevocationWorld.Heard).self) { group in
      for (index, connection) in connections.enumerated() {
        group.addTask { (index, try await world.askUntilRefused(keys, at: connection)) }
      }
      var heard = connections.map { _ in RevocationWorld.Heard(0) }
      for try await (index, one) in group { heard[index] = one }
      return heard
    }
  }

  private typealias Revoked = (revocation: RevocationWorld.Revocation, receipt: JSONPropagation?)

  /// Revokes in every way at the same time: by the customer on one of the servers, by bare updates of one key, by an
  /// update of several, and by several updates in one transaction.
  private func revoke(
    _ round: Round, of owner: KeyOwner, _ connections: [TestConnection]
  ) async throws -> [Revoked] {
    var generator = SeededGenerator(seed: round.seed)
    let order = Array(round.keys.indices).shuffled(using: &generator)
    let apiCount = round.keys.count == 1 ? Int.random(in: 0...1, using: &generator) : 2
    let connection = connections[Int.random(in: 0..<3, using: &generator)]
    let rest = order.dropFirst(apiCount)
    let (single, together) = (rest.prefix(6), rest.dropFirst(6))
    return try await withThrowingTaskGroup(of: [(Int, Revoked)].self) { group in
      for index in order.prefix(apiCount) {
        group.addTask {
          let receipt = Mutex<JSONPropagation?>(nil)
          let revocation = try await world.revoke([round.keys[index]]) {
            let answered = try await world.revoke(round.keys[index], of: owner, at: connection)
            receipt.withLock { $0 = answered }
          }
          return [(index, (revocation, receipt.withLock { $0 }))]
        }
      }
      for index in single {
        let key = round.keys[index]
        group.addTask { [(index, (try await world.revoke([key]) { try await world.revokeByHand([key]) }, nil))] }
      }
      let half = together.count / 2
      for (indices, isOneStatement) in [(together.prefix(half), true), (together.dropFirst(half), false)]
      where !indices.isEmpty {
        let keys = indices.map { round.keys[$0] }
        group.addTask {
          let revocation = try await world.revoke(keys) {
            if isOneStatement { try await world.revokeByHand(keys) } else { try await world.revokeOneByOne(keys) }
          }
          return indices.map { ($0, (revocation, nil)) }
        }
      }
      var revoked: [Int: Revoked] = [:]
      for try await some in group { revoked.merge(some) { $1 } }
      return round.keys.indices.compactMap { revoked[$0] }
    }
  }

  /// Asks all servers about random keys that all have refused, until the end, and then about all of these keys.
  private func sweep() async throws {
    try await TestConnection.with(world.ports) { connections in
      while !record.isOver.load(ordering: .relaxed) {
        try await Task.sleep(for: .milliseconds(100))
        let keys = record.refused.withLock { refused in (0..<50).compactMap { _ in refused.randomElement() } }
        guard keys.count > 1 else { continue }
        for connection in connections { try await expectRefused(keys, at: connection) }
      }
      var rest = record.refused.withLock { $0 }[...]
      while !rest.isEmpty {
        for connection in connections { try await expectRefused(Array(rest.prefix(1_000)), at: connection) }
        rest = rest.dropFirst(1_000)
      }
    }
  }

  private func expectRefused(_ keys: [OwnedKey], at connection: TestConnection) async throws {
    let answer = try await connection.verify(keys.map(\.secret), token: world.token)
    let codes = answer.codes
    record.tally.withLock { tally in
      if answer.status == 503 { return }
      tally.sweptCount += keys.count
      if answer.status != 200 || codes.count != keys.count { tally.problems.append("answered \(answer)") }
      let others = codes.filter { $0 != "REVOKED" }
      if let first = others.first { tally.problems.append("\(others.count) refused keys answered later, \(first)") }
    }
  }

  // MARK: Faults

  private static func plan(_ generator: inout SeededGenerator) -> [Step] {
    let counts: [(Fault, Int)] =
      isSoak
      ? [(.terminatedListeners, 12), (.restart, 2), (.crash, 2), (.stoppedListener, 3), (.suspendedServer, 2)]
      : [(.terminatedListeners, 3), (.restart, 1), (.crash, 1), (.stoppedListener, 1), (.suspendedServer, 1)]
    let faults = counts.flatMap { Array(repeating: $0.0, count: $0.1) }.shuffled(using: &generator)
    return faults.map { fault in
      let range: ClosedRange<Int> =
        switch fault {
        case .terminatedListeners: 0...0
        case .restart, .crash: 1_000...1_000
        case .stoppedListener: 500...4_000
        // Longer than the lease, by much or by little.
        case .suspendedServer: 2_050...2_600
        }
      return Step(
        fault: fault, pause: .milliseconds(Int.random(in: 50...300, using: &generator)),
        length: .milliseconds(Int.random(in: range, using: &generator)), seed: generator.next())
    }
  }

  private func makeFaults() async throws {
    for step in steps {
      var generator = SeededGenerator(seed: step.seed)
      var count = 1
      faults.begin(planned: step.pause + step.length)
      try await Task.sleep(for: step.pause)
      switch step.fault {
      case .terminatedListeners:
        let backends = try await listenerBackends(Int.random(in: 1...3, using: &generator), &generator)
        count = backends.count
        for backend in backends {
          try await eventually("it was terminated") {
            (try? await world.pool.query(TerminateBackend(id: backend))) != nil
          }
        }
      case .restart: try await server.restart()
      case .crash:
        try await server.crash()
        try await server.start()
      case .stoppedListener:
        for backend in try await listenerBackends(1, &generator) { try await stop(backend, for: step.length) }
      case .suspendedServer:
        let first = faults.count(of: .suspendedServer) * Self.sleeperCount
        try await suspend(
          Int.random(in: 0..<3, using: &generator), for: step.length,
          Array(sleepers.keys[first..<(first + Self.sleeperCount)]))
      }
      faults.end(step.fault, count: count)
    }
  }

  private func listenerBackends(_ count: Int, _ generator: inout SeededGenerator) async throws -> [Int32] {
    var found: [Int32] = []
    try await eventually("there are listeners") {
      found = (try? await world.pool.query(ListenerBackends())) ?? []
      return !found.isEmpty
    }
    return Array(found.shuffled(using: &generator).prefix(count))
  }

  /// Stops a backend, as if the network to the listener were half dead: nothing arrives, and nothing ends.
  private func stop(_ backend: Int32, for length: Duration) async throws {
    guard kill(backend, SIGSTOP) == 0 else {
      throw TestSetupError(description: "a backend could not be stopped: \(String(cString: strerror(errno)))")
    }
    defer { kill(backend, SIGCONT) }
    try await Task.sleep(for: length)
  }

  /// Suspends a server and revokes keys that are in its cache. They are asked about so late that the first thing that
  /// the server has to do when it resumes is to answer for keys after the lease.
  private func suspend(_ index: Int, for length: Duration, _ keys: [OwnedKey]) async throws {
    let suspended = world.servers[index]
    try await TestConnection.with(keys.map { _ in suspended.port }) { connections in
      for (key, connection) in zip(keys, connections) { try await world.warm([key], at: connection) }
      suspended.send(SIGSTOP)
      defer { suspended.send(SIGCONT) }
      let revocation = try await world.revoke(keys) { try await world.revokeByHand(keys) }
      try await Task.sleep(until: revocation.knownAt + length)
      try await withThrowingTaskGroup { group in
        for (key, connection) in zip(keys, connections) {
          group.addTask {
            let heard = try await world.askUntilRefused([key], at: connection)
            record.tally.withLock { $0.add([heard], [revocation], of: [index]) }
          }
        }
        // So that most questions have arrived when the server resumes; all were sent after the lease.
        try await Task.sleep(for: .milliseconds(50))
        suspended.send(SIGCONT)
        try await group.waitForAll()
      }
      record.refused.withLock { $0 += keys }
    }
  }
}

struct ListenerBackends: PostgresStatement {
  typealias Row = Int32
  static let sql = """
    select pid from pg_stat_activity where datname = current_database() and application_name = 'latchkey listener'
    """
}

struct TerminateBackend: PostgresStatement {
  typealias Row = Bool
  static let sql = "select pg_terminate_backend($1)"
  let id: Int32
  func bind(_ bindings: inout PostgresBindings) { bindings.append(id) }
}
