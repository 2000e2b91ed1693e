import DequeModule
import Foundation

/// The turns of the requests of each account. A number of requests is served concurrently, further ones wait in the
/// order of their arrival, and the rest are refused. A value without I/O.
///
/// Generic over the waiter, so that tests need no tasks.
struct AccountTurnsState<Waiter: Sendable>: Sendable {
  enum Arrival: Sendable, Equatable {
    /// The request is served immediately.
    case begins
    case waits
    case refused
  }

  private struct Turns {
    /// Requests that are being served, at least one.
    var servedCount = 1
    var waiting = Deque<(number: UInt64, waiter: Waiter)>()
  }

  /// The number of requests per account that are served concurrently.
  let servedCountMax: Int
  /// The number of requests per account that wait.
  let waitingCountMax: Int
  /// Contains only accounts with a request.
  private var turns: [UUID: Turns] = [:]

  init(servedCountMax: Int, waitingCountMax: Int) {
    self.servedCountMax = servedCountMax
    self.waitingCountMax = waitingCountMax
  }

  /// The number of accounts with a request.
  var accountCount: Int { turns.count }

  /// Registers a request. `number` is unique among all requests and identifies it for ``dismiss(_:_:)`` while it waits.
  mutating func arrive(_ accountID: UUID, _ number: UInt64, _ waiter: Waiter) -> Arrival {
    guard var account = turns.removeValue(forKey: accountID) else {
      turns[accountID] = Turns()
      return .begins
    }
    defer { turns[accountID] = account }
    if account.servedCount < servedCountMax {
      account.servedCount += 1
      return .begins
    }
    guard account.waiting.count < waitingCountMax else { return .refused }
    account.waiting.append((number, waiter))
    return .waits
  }

  /// Ends a request that was served. Returns the waiter that is served in its place.
  mutating func end(_ accountID: UUID) -> Waiter? {
    guard var account = turns.removeValue(forKey: accountID) else { return nil }
    let next = account.waiting.popFirst()
    if next == nil { account.servedCount -= 1 }
    if account.servedCount > 0 { turns[accountID] = account }
    return next?.waiter
  }

  /// Removes a waiting request. Nil if it is not waiting, or no longer.
  mutating func dismiss(_ accountID: UUID, _ number: UInt64) -> Waiter? {
    guard let place = turns[accountID]?.waiting.firstIndex(where: { $0.number == number }) else { return nil }
    return turns[accountID]?.waiting.remove(at: place).waiter
  }
}
