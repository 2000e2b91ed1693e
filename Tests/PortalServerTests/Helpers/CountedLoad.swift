import Foundation
import PortalTesting
import PostgresTesting
import Synchronization
import Testing

/// Gateways that verify as fast as they are answered, reopen connections that break, and record the verdicts that they
/// get.
final class CountedLoad: Sendable {
  struct Tally: Sendable {
    /// Verdicts that arrived, about keys that exist.
    var acknowledged = 0
    /// Answers that never arrived, also because there was no server.
    var failureCount = 0
    /// Answers of 503, for which nothing is counted.
    var unavailableCount = 0
    var problems: [String] = []
  }

  private static let connectionCount = 6
  private static let batchSize = 60
  /// The maximum number of verdicts in flight at any moment.
  static let inFlightMax = 1 + (connectionCount - 1) * batchSize

  private let port: Int
  private let token: String
  private let pause: Duration
  private let secrets: [String]
  private let state = Mutex(Tally())
  private let isOver = Atomic(false)

  var tally: Tally { state.withLock { $0 } }

  /// Runs `body` under the load, and returns the load's results. Each gateway waits for `pause` after an answer.
  static func run(
    on port: Int, _ keys: [OwnedKey], token: String, pause: Duration = .zero,
    _ body: (CountedLoad) async throws -> Void
  ) async throws -> Tally {
    let load = CountedLoad(port, keys, token, pause)
    try await withThrowingTaskGroup(of: Void.self) { group in
      for number in 0..<connectionCount { group.addTask { await load.work(number) } }
      defer { load.isOver.store(true, ordering: .relaxed) }
      try await body(load)
    }
    return load.tally
  }

  private init(_ port: Int, _ keys: [OwnedKey], _ token: String, _ pause: Duration) {
    self.port = port
    self.token = token
    self.pause = pause
    secrets = keys.map(\.secret)
  }

  private func work(_ number: Int) async {
    while !isOver.load(ordering: .relaxed) {
      do {
        try await TestConnection.with([port]) { connections in
          while !isOver.load(ordering: .relaxed) {
            try await ask(connections[0], number)
            if pause > .zero { try await Task.sleep(for: pause) }
          }
        }
      } catch {
        // Connections are refused until the server is back.
        try? await Task.sleep(for: .milliseconds(20))
      }
    }
  }

  /// Verifies one key or a batch: gateways do both.
  private func ask(_ connection: TestConnection, _ number: Int) async throws {
    let count = number == 0 ? 1 : Self.batchSize
    let start = Int.random(in: 0..<secrets.count)
    let asked = (start..<start + count).map { secrets[$0 % secrets.count] }
    let answer: TestConnection.Answer
    do { answer = try await connection.verify(asked, token: token) } catch {
      state.withLock { $0.failureCount += 1 }
      throw error
    }
    state.withLock { tally in
      switch answer.status {
      case 200 where answer.codes.count == count && !answer.codes.contains("NOT_FOUND"): tally.acknowledged += count
      case 503: tally.unavailableCount += 1
      default: tally.problems.append("answered \(answer)")
      }
    }
  }
}

/// Ends the servers, and expects that every verdict that they gave to the load is stored exactly once.
func expectStored(
  _ tally: CountedLoad.Tally, _ keys: [OwnedKey], _ what: String, _ servers: [RunningServer], _ world: RevocationWorld
) async throws {
  for server in servers { #expect(try await server.end() == 0) }
  let stored = try await world.verdictCount(of: keys)
  print(
    "\(what): \(tally.acknowledged) verdicts acknowledged, \(stored) stored, difference "
      + "\(stored - tally.acknowledged); \(tally.unavailableCount) answers of 503")
  #expect(tally.problems.isEmpty, "\(tally.problems.prefix(3))")
  #expect(stored == tally.acknowledged && tally.failureCount == 0)
}
