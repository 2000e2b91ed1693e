import Foundation
import Testing

@testable import Portal

@Suite("AccountTurnsState")
struct AccountTurnsStateTests {
  private let one = UUID()
  private let other = UUID()

  @Test("a bounded number of requests is served, a bounded number waits, and the rest are refused")
  func bounds() {
    var state = AccountTurnsState<String>(servedCountMax: 2, waitingCountMax: 2)
    let arrivals = (1...5).map { state.arrive(one, UInt64($0), "\($0)") }
    #expect(arrivals == [.begins, .begins, .waits, .waits, .refused])
    // Another account is not affected.
    #expect(state.arrive(other, 6, "6") == .begins)
  }

  @Test("waiting requests are served in the order of arrival, and an account without requests is forgotten")
  func order() {
    var state = AccountTurnsState<String>(servedCountMax: 2, waitingCountMax: 9)
    for number in 1...4 { _ = state.arrive(one, UInt64(number), "\(number)") }
    #expect(state.end(one) == "3")
    #expect(state.arrive(one, 5, "5") == .waits)
    #expect(state.end(one) == "4")
    #expect(state.end(one) == "5")
    #expect(state.end(one) == nil)
    #expect(state.accountCount == 1)
    #expect(state.end(one) == nil)
    #expect(state.accountCount == 0)
    #expect(state.arrive(one, 6, "6") == .begins)
  }

  @Test("a dismissed request leaves the queue once, makes room in it, and is never served")
  func dismissal() {
    var state = AccountTurnsState<String>(servedCountMax: 1, waitingCountMax: 2)
    for number in 1...3 { _ = state.arrive(one, UInt64(number), "\(number)") }
    #expect(state.arrive(one, 4, "4") == .refused)
    #expect(state.dismiss(one, 2) == "2")
    #expect(state.dismiss(one, 2) == nil)
    #expect(state.arrive(one, 5, "5") == .waits)
    // Requests that are served, or of another account, are not waiting.
    #expect(state.dismiss(one, 1) == nil)
    #expect(state.dismiss(other, 3) == nil)
    let served = (1...3).map { _ in state.end(one) }
    #expect(served == ["3", "5", nil])
    #expect(state.accountCount == 0)
  }
}
