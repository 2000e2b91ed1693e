import Foundation
import PortalTesting
import PostgresTesting
import Synchronization
import Testing

/// Gateways that verify as fast as they are answered, over connections that they open anew when one breaks, and that
/// keep account of what they were told.
final class CountedLoad: Sendable {
  struct Tally: Sendable {
    /// Verdicts that arrived, on keys that exist.
    var acknowledged = 0
    /// Answers that never arrived, also because nobody was there to be asked.
    var failureCount = 0
    /// Answers of 503, which count nothing.
    var unavailableCount = 0
    var problems: [String] = []
  }

  private static let connectionCount = 6
  private static let batchSize = 60
  /// Verdicts that may be on their way at any moment.
  static let inFlightMax = 1 + (connectionCount - 1) * batchSize

  private let port: Int
  private let token: String
  private let pause: Duration
  private let secrets: [String]
  private let state = Mutex(Tally())
  private let isOver = Atomic(false)

  var tally: Tally { state.withLock { $0 } }

  /// Runs `body` beside the load, and returns what became of it. `pause` is what each gateway makes after an answer.
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
        // Refused until the server is there again.
        try? await Task.sleep(for: .milliseconds(20))
      }
    }
  }

  /// One key at a time, or many, as gateways do both.
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

/// Ends the servers, and expects that all verdicts that they gave to the load are stored, each of them once.
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
