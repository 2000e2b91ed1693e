import DequeModule
import Foundation

/// Whose turn it is among the requests of each account, as a value: so many are served at once, some more wait, in the
/// order in which they came, and the others are refused.
///
/// Generic over who waits, so that tests need no tasks.
struct AccountTurnsState<Waiter: Sendable>: Sendable {
  enum Arrival: Sendable, Equatable {
    /// It is served at once.
    case begins
    case waits
    case refused
  }

  private struct Turns {
    /// Requests that are served: one at least.
    var servedCount = 1
    var waiting = Deque<(number: UInt64, waiter: Waiter)>()
  }

  /// Requests of one account that are served at once.
  let servedCountMax: Int
  /// Requests of one account that wait.
  let waitingCountMax: Int
  /// Of accounts that have a request.
  private var turns: [UUID: Turns] = [:]

  init(servedCountMax: Int, waitingCountMax: Int) {
    self.servedCountMax = servedCountMax
    self.waitingCountMax = waitingCountMax
  }

  /// Accounts that are remembered.
  var accountCount: Int { turns.count }

  /// A request has come. `number` is its own among all, by which it can be dismissed while it waits.
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

  /// One that was served is done. Returns who is served in its place.
  mutating func end(_ accountID: UUID) -> Waiter? {
    guard var account = turns.removeValue(forKey: accountID) else { return nil }
    let next = account.waiting.popFirst()
    if next == nil { account.servedCount -= 1 }
    if account.servedCount > 0 { turns[accountID] = account }
    return next?.waiter
  }

  /// One that waits goes away. Nil if it does not wait, or not any more.
  mutating func dismiss(_ accountID: UUID, _ number: UInt64) -> Waiter? {
    guard let place = turns[accountID]?.waiting.firstIndex(where: { $0.number == number }) else { return nil }
    return turns[accountID]?.waiting.remove(at: place).waiter
  }
}
