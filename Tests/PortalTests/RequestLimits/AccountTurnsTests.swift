import Foundation
import PortalTesting
import PostgresTesting
import Testing

@testable import Portal

/// A read that lasts until it is released.
private struct HeldRead {
  private let task: Task<Void, any Error>
  private let gate: AsyncStream<Void>.Continuation

  /// Returns when the read has its turn.
  init(_ turns: AccountTurns, of account: UUID) async {
    let (held, gate) = AsyncStream.makeStream(of: Void.self)
    let (beginning, began) = AsyncStream.makeStream(of: Void.self)
    self.gate = gate
    task = Task {
      try await turns.withTurn(of: account) {
        began.finish()
        for await _ in held {}
      }
    }
    for await _ in beginning {}
  }

  func finish() async throws {
    gate.finish()
    try await task.value
  }
}

@Suite("AccountTurns")
struct AccountTurnsTests {
  private let account = UUID()

  @Test("reads of an account wait for each other, but not for those of another account")
  func accounts() async throws {
    let observations = Observations()
    let turns = AccountTurns(poolSize: 2, observer: Observer([observations.sink]))
    let first = await HeldRead(turns, of: account)
    let second = Task { try await turns.withTurn(of: account) { 2 } }
    try await eventually("the second one waits") { observations.count(.accountWaits) == 1 }
    #expect(try await turns.withTurn(of: UUID()) { 3 } == 3)
    try await first.finish()
    #expect(try await second.value == 2)
  }

  @Test("a read that is cancelled while it waits leaves the queue, and the next one is served")
  func cancelled() async throws {
    let observations = Observations()
    let turns = AccountTurns(poolSize: 2, observer: Observer([observations.sink]))
    let first = await HeldRead(turns, of: account)
    let second = Task { try await turns.withTurn(of: account) { 2 } }
    try await eventually("the second one waits") { observations.count(.accountWaits) == 1 }
    let third = Task { try await turns.withTurn(of: account) { 3 } }
    try await eventually("the third one waits") { observations.count(.accountWaits) == 2 }
    second.cancel()
    await #expect(throws: CancellationError.self) { try await second.value }
    try await first.finish()
    #expect(try await third.value == 3)
    // Cancelled before it arrived.
    let held = await HeldRead(turns, of: account)
    let late = Task {
      withUnsafeCurrentTask { $0?.cancel() }
      return try await turns.withTurn(of: account) { 4 }
    }
    await #expect(throws: CancellationError.self) { try await late.value }
    try await held.finish()
  }

  @Test("an error ends a turn like a result, and reads beyond the bound are refused")
  func ends() async throws {
    let observations = Observations()
    let turns = AccountTurns(poolSize: 1_000, observer: Observer([observations.sink]))
    for _ in 0..<20 {
      await #expect(throws: PortalError.notFound) {
        try await turns.withTurn(of: account) { throw PortalError.notFound }
      }
    }
    var reads: [HeldRead] = []
    for _ in 0..<AccountTurns.servedCountMax { reads.append(await HeldRead(turns, of: account)) }
    let waiting = (0..<AccountTurns.waitingCountMax).map { _ in Task { try await turns.withTurn(of: account) {} } }
    try await eventually("all places are taken") {
      observations.count(.accountWaits) == AccountTurns.waitingCountMax
    }
    await #expect(throws: PortalError.accountBusy) { try await turns.withTurn(of: account) {} }
    #expect(observations.count(.requestRefused(.account)) == 1)
    for read in reads { try await read.finish() }
    for task in waiting { try await task.value }
  }
}
