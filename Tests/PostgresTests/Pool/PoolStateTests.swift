import Testing

@testable import Postgres

@Suite("PoolState")
struct PoolStateTests {
  typealias State = PoolState<String, String>

  private var state = State(
    limits: .init(
      connectionCountMax: 2, waiterCountMax: 3, idleTimeout: .seconds(10), backoffMin: .milliseconds(50),
      backoffMax: .milliseconds(150)))
  private let start = ContinuousClock.now
  private let down = PostgresError(.connectFailed, "nobody there")

  // MARK: Steps

  private enum Answer: Equatable {
    case use(String)
    case wait(connect: Bool)
    case fail(PostgresError.Code)
  }

  private enum Back: Equatable {
    case none
    case hand(String, to: String)
    case close(String)
    case connect
  }

  private mutating func lease(_ id: UInt64, changes: Bool = false, after delay: Duration = .zero) -> Answer {
    switch state.lease(id, "w\(id)", changes: changes, at: start + delay) {
    case .use(let connection): .use(connection)
    case .wait(let connect): .wait(connect: connect)
    case .fail(let error): .fail(error.code)
    }
  }

  private func back(_ action: State.ReturnAction) -> Back {
    switch action {
    case .none: .none
    case .hand(let connection, let waiter): .hand(connection, to: waiter)
    case .close(let connection): .close(connection)
    case .connect: .connect
    }
  }

  private mutating func connected(_ id: UInt64) -> Back { back(state.connected("c\(id)", id, at: start)) }

  private mutating func release(
    _ id: UInt64, _ condition: ConnectionCondition = .reusable, after delay: Duration = .zero
  ) -> Back {
    back(state.release("c\(id)", id, condition, at: start + delay))
  }

  private mutating func removed(_ id: UInt64) -> Back { back(state.removed(id)) }

  /// Both connections are leased: c1 to w1, c2 to w2.
  private mutating func fill() {
    for id in [UInt64(1), 2] {
      _ = lease(id)
      _ = connected(id)
    }
  }

  // MARK: Lending

  @Test("the first caller makes the pool connect, and gets the new connection")
  mutating func firstCaller() {
    #expect(state.leaseIdle(changes: false) == nil)
    #expect(lease(1) == .wait(connect: true))
    #expect(!state.isDrained)
    #expect(connected(1) == .hand("c1", to: "w1"))
    #expect((state.openCount, state.leasedCount, state.waiterCount) == (1, 1, 0))
  }

  @Test("a returned connection is used again instead of opening another one")
  mutating func reuse() {
    _ = lease(1)
    _ = connected(1)
    #expect(release(1) == .none)
    #expect(state.openCount - state.leasedCount == 1)
    #expect(lease(2) == .use("c1"))
    #expect(state.openCount - state.leasedCount == 0)
  }

  @Test("the most recently used connection is lent first")
  mutating func warmest() {
    fill()
    _ = release(1)
    _ = release(2)
    #expect(state.leaseIdle(changes: false) == "c2")
    #expect(state.leaseIdle(changes: false) == "c1")
    #expect(state.leaseIdle(changes: false) == nil)
  }

  @Test("no more connections are opened than allowed")
  mutating func sizeMax() {
    #expect(lease(1) == .wait(connect: true))
    #expect(lease(2) == .wait(connect: true))
    #expect(lease(3) == .wait(connect: false))
    _ = connected(1)
    _ = connected(2)
    #expect(state.openCount == 2)
    #expect(state.waiterCount == 1)
  }

  @Test("waiters are served in the order in which they arrived")
  mutating func fifo() {
    fill()
    for id in 3...5 { #expect(lease(UInt64(id)) == .wait(connect: false)) }
    #expect(release(2) == .hand("c2", to: "w3"))
    #expect(release(1) == .hand("c1", to: "w4"))
    #expect(release(2) == .hand("c2", to: "w5"))
    #expect(release(2) == .none)
  }

  @Test("no caller overtakes those that wait")
  mutating func noBarging() {
    fill()
    _ = lease(3)
    #expect(state.leaseIdle(changes: false) == nil)
    #expect(release(1) == .hand("c1", to: "w3"))
    #expect(lease(4) == .wait(connect: false))
  }

  @Test("a caller beyond the queue's limit is refused")
  mutating func queueFull() {
    fill()
    for id in 3...5 { _ = lease(UInt64(id)) }
    #expect(lease(6) == .fail(.poolQueueFull))
    #expect(state.waiterCount == 3)
  }

  @Test("a waiter that gives up is skipped, and completed once")
  mutating func giveUp() {
    fill()
    _ = lease(3)
    _ = lease(4)
    #expect(state.removeWaiter(3) == "w3")
    #expect(state.removeWaiter(3) == nil)
    #expect(release(1) == .hand("c1", to: "w4"))
    #expect(state.removeWaiter(4) == nil)
  }

  @Test("a connection opened for a waiter that gave up stays for the next caller")
  mutating func connectedForNobody() {
    _ = lease(1)
    _ = state.removeWaiter(1)
    #expect(connected(1) == .none)
    #expect(lease(2) == .use("c1"))
  }

  // MARK: Breaking

  @Test("a connection that cannot be reused is closed, and another one is opened for the waiters")
  mutating func unfit() {
    fill()
    _ = lease(3)
    #expect(release(1, .inUse) == .close("c1"))
    #expect(removed(1) == .connect)
    #expect(connected(3) == .hand("c3", to: "w3"))
  }

  @Test("an idle connection that breaks is removed")
  mutating func idleBreaks() {
    _ = lease(1)
    _ = connected(1)
    _ = release(1)
    #expect(removed(1) == .none)
    #expect(state.openCount == 0)
    #expect(lease(2) == .wait(connect: true))
  }

  @Test("a leased connection that breaks is replaced if a caller waits, and its return changes nothing")
  mutating func leasedBreaks() {
    fill()
    _ = lease(3)
    #expect(removed(1) == .connect)
    #expect(release(1, .inUse) == .none)
    #expect(connected(3) == .hand("c3", to: "w3"))
    #expect(state.openCount == 2)
  }

  @Test("a connection that breaks while no caller waits is not replaced")
  mutating func breaksUnwanted() {
    fill()
    #expect(removed(1) == .none)
    #expect(state.openCount == 1)
  }

  // MARK: Silence

  @Test("a connection that ended without a message condemns the idle ones, and those in use when they are returned")
  mutating func condemned() {
    fill()
    _ = release(1)
    #expect(removed(2) == .none)
    #expect(state.condemn() == ["c1"])
    #expect(state.openCount == 0)
    fill()
    #expect(state.condemn().isEmpty)
    #expect(release(1) == .close("c1"))
    #expect(removed(1) == .none)
    #expect(lease(5) == .wait(connect: true))
    #expect(connected(5) == .hand("c5", to: "w5"))
    #expect(release(5) == .none)
    #expect(state.openCount - state.leasedCount == 1)
  }

  @Test("a condemned connection is not given to a waiter")
  mutating func condemnedNotHanded() {
    fill()
    _ = lease(3)
    #expect(state.condemn().isEmpty)
    #expect(release(1) == .close("c1"))
    #expect(removed(1) == .connect)
    #expect(connected(3) == .hand("c3", to: "w3"))
  }

  // MARK: Commits that outlast their deadline

  @Test("a connection whose commit continues leaves the pool, and another one is opened for the waiter")
  mutating func settlingLeaves() {
    _ = lease(1, changes: true)
    _ = connected(1)
    _ = lease(2)
    _ = connected(2)
    _ = lease(3)
    #expect(release(1, .settling) == .connect)
    #expect((state.openCount, state.settlingCount) == (1, 1))
    #expect(connected(3) == .hand("c3", to: "w3"))
    #expect(removed(1) == .none)
    #expect(state.settlingCount == 0)
  }

  @Test("with as many commits outside as connections, changes are refused before they start, reads are not")
  mutating func settlingMax() {
    for id in [UInt64(1), 2] {
      _ = lease(id, changes: true)
      _ = connected(id)
    }
    #expect(release(1, .settling) == .none)
    #expect(release(2, .settling) == .none)
    #expect(lease(3, changes: true) == .fail(.commitsPending))
    #expect(lease(4) == .wait(connect: true))
    #expect(connected(4) == .hand("c4", to: "w4"))
    #expect(removed(1) == .none)
    #expect(lease(5, changes: true) == .wait(connect: true))
  }

  @Test("changes in progress count as future commits, so that there are never more outside than allowed")
  mutating func settlingNeverOver() {
    for id in [UInt64(1), 2] {
      _ = lease(id, changes: true)
      _ = connected(id)
    }
    _ = release(1, .settling)
    #expect(lease(3, changes: true) == .wait(connect: true))
    // One is outside and one in progress: a third has to wait although there is a connection for it; a read does not.
    #expect(connected(3) == .none)
    #expect(state.leaseIdle(changes: true) == nil)
    #expect(state.leaseIdle(changes: false) == "c3")
    #expect(release(3) == .none)
    #expect(release(2) == .hand("c2", to: "w3"))
    #expect(release(2, .settling) == .none)
    #expect(state.settlingCount == 2)
  }

  @Test("a waiting change continues when a commit outside has ended")
  mutating func settlingEnds() {
    for id in [UInt64(1), 2] {
      _ = lease(id, changes: true)
      _ = connected(id)
    }
    _ = release(1, .settling)
    _ = lease(3, changes: true)
    _ = connected(3)
    #expect(removed(1) == .hand("c3", to: "w3"))
  }

  @Test("a pool that shuts down does not wait for commits outside, and closes their connections in the end")
  mutating func settlingAtShutdown() {
    _ = lease(1, changes: true)
    _ = connected(1)
    _ = release(1, .settling)
    _ = state.shutDown()
    #expect(state.isDrained)
    #expect(state.takeLeased() == ["c1"])
  }

  // MARK: Failing to connect

  /// An attempt fails too late to be repeated; the waiters that are dismissed.
  private mutating func connectFailed(after now: Duration = .zero) -> [String]? {
    let action = state.connectFailed(down, after: .seconds(3), at: start + now)
    guard case .dismiss(let waiters) = action else { return nil }
    return waiters
  }

  /// An attempt fails immediately; nil if it is to be repeated.
  private mutating func connectFailedPromptly() -> [String]? {
    guard case .dismiss(let waiters) = state.connectFailed(down, after: .milliseconds(1), at: start) else { return nil }
    return waiters
  }

  @Test("the first attempt that fails promptly is repeated, once until one has succeeded")
  mutating func repeatedAttempt() {
    _ = lease(1)
    #expect(connectFailedPromptly() == nil)
    #expect(connectFailedPromptly() == ["w1"])
    #expect(lease(2, after: .seconds(1)) == .wait(connect: true))
    #expect(connectFailedPromptly() == ["w2"])
    #expect(lease(3, after: .seconds(2)) == .wait(connect: true))
    _ = connected(1)
    _ = state.removed(1)
    #expect(lease(4, after: .seconds(3)) == .wait(connect: true))
    #expect(connectFailedPromptly() == nil)
    #expect(state.isDrained == false)
  }

  @Test("a failed attempt for which no caller waits any more is not repeated, and later callers are not refused")
  mutating func unwantedAttempt() {
    _ = lease(1)
    _ = state.removeWaiter(1)
    #expect(connectFailedPromptly() == [])
    #expect(state.isDrained)
    #expect(lease(2) == .wait(connect: true))
    #expect(connectFailedPromptly() == ["w2"])
    #expect(lease(3) == .fail(.connectFailed))
  }

  @Test("when the only attempt fails, all waiters are dismissed")
  mutating func connectFails() {
    _ = lease(1)
    _ = lease(2)
    #expect(connectFailed() == [])
    #expect(connectFailed() == ["w1", "w2"])
    #expect(state.waiterCount == 0)
    #expect(state.isDrained)
  }

  @Test("while another connection is open, the waiters continue to wait for it")
  mutating func connectFailsBesideOpen() {
    _ = lease(1)
    _ = connected(1)
    #expect(lease(2) == .wait(connect: true))
    #expect(connectFailed() == [])
    #expect(release(1) == .hand("c1", to: "w2"))
  }

  @Test("after a failure callers are refused for a time that doubles up to its maximum")
  mutating func backoff() {
    var now = Duration.zero
    for wait in [50, 100, 150, 150] {
      #expect(lease(1, after: now) == .wait(connect: true))
      #expect(connectFailed(after: now) == ["w1"])
      #expect(lease(1, after: now + .milliseconds(wait - 1)) == .fail(.connectFailed))
      now += .milliseconds(wait)
    }
  }

  @Test("concurrent failed attempts lengthen the wait once")
  mutating func failTogether() {
    _ = lease(1)
    _ = lease(2)
    _ = connectFailed()
    _ = connectFailed()
    #expect(lease(3, after: .milliseconds(49)) == .fail(.connectFailed))
    #expect(lease(3, after: .milliseconds(50)) == .wait(connect: true))
  }

  @Test("a success resets the wait after the next failure")
  mutating func backoffResets() {
    _ = lease(1)
    _ = connectFailed()
    _ = lease(1, after: .milliseconds(50))
    _ = connected(1)
    _ = state.removed(1)
    #expect(lease(2) == .wait(connect: true))
    _ = connectFailed()
    #expect(lease(3, after: .milliseconds(50)) == .wait(connect: true))
  }

  // MARK: Ageing and ending

  @Test("connections that were idle for too long are removed, the others stay")
  mutating func expiry() {
    fill()
    _ = release(1)
    _ = release(2, after: .seconds(1))
    #expect(state.takeExpired(at: start + .seconds(9)).isEmpty)
    #expect(state.takeExpired(at: start + .seconds(10)) == ["c1"])
    #expect(state.openCount - state.leasedCount == 1)
  }

  @Test("shutting down dismisses waiters, closes idle connections, and refuses later callers")
  mutating func shutDown() {
    fill()
    _ = release(1)
    var (idle, waiters) = state.shutDown()
    #expect(idle == ["c1"])
    #expect(waiters.isEmpty)
    #expect(lease(3) == .fail(.shutdown))
    #expect(state.leaseIdle(changes: false) == nil)
    (idle, waiters) = state.shutDown()
    #expect(idle.isEmpty)
  }

  @Test("a pool that shuts down is drained when the last connection has been returned for closing")
  mutating func drain() {
    fill()
    _ = lease(3)
    #expect(state.shutDown().waiters == ["w3"])
    #expect(release(1) == .close("c1"))
    #expect(!state.isDrained)
    #expect(release(2) == .close("c2"))
    #expect(state.isDrained)
    #expect(removed(1) == .none)
  }

  @Test("a connection that is opened while the pool shuts down is closed")
  mutating func connectedTooLate() {
    _ = lease(1)
    _ = state.shutDown()
    #expect(!state.isDrained)
    #expect(connected(1) == .close("c1"))
    #expect(state.isDrained)
  }

  @Test("connections that are still leased when the time to drain has passed are taken away")
  mutating func takeLeased() {
    fill()
    _ = state.shutDown()
    #expect(state.takeLeased().sorted() == ["c1", "c2"])
    #expect(state.isDrained)
    #expect(release(1) == .none)
  }
}
