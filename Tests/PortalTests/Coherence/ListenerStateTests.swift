import Testing

@testable import Portal

@Suite("ListenerState")
struct ListenerStateTests {
  private var state = ListenerState()

  private mutating func handle(_ events: ListenerState.Event...) -> [ListenerState.Action] {
    events.map { state.handle($0) }
  }

  /// Connected, listening and up to date.
  private mutating func follow() { _ = handle(.started, .connected, .listening, .synced) }

  @Test("it connects, listens, and only then syncs, so that nothing committed in between is missed")
  mutating func start() {
    #expect(handle(.started, .connected, .listening) == [.connect(after: .zero), .listen, .sync])
    #expect(handle(.synced) == [.wait(.milliseconds(400))])
  }

  @Test("after a lost connection it listens again before it syncs again")
  mutating func reconnect() {
    follow()
    #expect(
      handle(.failed, .connected, .listening, .synced)
        == [.connect(after: .milliseconds(20)), .listen, .sync, .wait(.milliseconds(400))])
  }

  @Test(
    "a notification, or the end of the interval, causes a sync",
    arguments: [ListenerState.Event.notified, .intervalEnded])
  mutating func syncs(_ event: ListenerState.Event) {
    follow()
    #expect(handle(event, .synced) == [.sync, .wait(.milliseconds(400))])
  }

  @Test("notifications during a sync cause one more sync, not one each")
  mutating func notifiedDuringSync() {
    follow()
    #expect(handle(.notified, .notified, .notified, .notified) == [.sync, .none, .none, .none])
    #expect(handle(.synced) == [.sync])
    #expect(handle(.synced) == [.wait(.milliseconds(400))])
  }

  @Test("the end of the interval during a sync causes nothing more")
  mutating func intervalDuringSync() {
    follow()
    #expect(handle(.notified, .intervalEnded, .synced) == [.sync, .none, .wait(.milliseconds(400))])
  }

  @Test("a notification before the first sync causes nothing: that sync comes anyway")
  mutating func notifiedEarly() {
    #expect(handle(.started, .notified, .connected, .notified) == [.connect(after: .zero), .none, .listen, .none])
    #expect(handle(.listening) == [.sync])
  }

  @Test("the wait before connecting doubles up to its bound, and is reset by a sync")
  mutating func backoff() {
    _ = handle(.started)
    let waits = (0..<8).map { _ in state.handle(.failed) }
    #expect(waits == [20, 40, 80, 160, 320, 640, 1_000, 1_000].map { .connect(after: .milliseconds($0)) })
    #expect(handle(.connected, .listening, .failed).last == .connect(after: .milliseconds(1_000)))
    #expect(handle(.connected, .listening, .synced, .failed).last == .connect(after: .milliseconds(20)))
  }

  @Test(
    "a failure in any state leads to a new connection",
    arguments: [
      [], [.started], [.started, .connected], [.started, .connected, .listening],
      [.started, .connected, .listening, .notified], [.started, .connected, .listening, .synced],
    ] as [[ListenerState.Event]])
  mutating func fails(_ before: [ListenerState.Event]) {
    for event in before { _ = state.handle(event) }
    #expect(handle(.failed, .connected, .listening) == [.connect(after: .milliseconds(20)), .listen, .sync])
  }

  @Test("a late event of an earlier connection changes nothing")
  mutating func late() {
    follow()
    _ = handle(.failed)
    #expect(handle(.synced, .listening, .notified, .intervalEnded, .started) == [.none, .none, .none, .none, .none])
    #expect(handle(.connected) == [.listen])
    #expect(handle(.synced, .connected, .intervalEnded) == [.none, .none, .none])
    #expect(handle(.listening) == [.sync])
  }

  @Test("a sync that ends while it is already waiting does not start another wait")
  mutating func syncedTwice() {
    follow()
    #expect(handle(.synced, .connected, .listening) == [.none, .none, .none])
  }
}
