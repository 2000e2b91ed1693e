import Testing

@testable import Portal

@Suite("ListenerState")
struct ListenerStateTests {
  private var state = ListenerState()

  private mutating func handle(_ events: ListenerState.Event...) -> [ListenerState.Action] {
    events.map { state.handle($0) }
  }

  /// Connected, listening and in step.
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
    "a notification, or the end of the interval, asks for a sync",
    arguments: [ListenerState.Event.notified, .intervalEnded])
  mutating func syncs(_ event: ListenerState.Event) {
    follow()
    #expect(handle(event, .synced) == [.sync, .wait(.milliseconds(400))])
  }

  @Test("notifications during a sync ask for one more sync, not for one each")
  mutating func notifiedDuringSync() {
    follow()
    #expect(handle(.notified, .notified, .notified, .notified) == [.sync, .none, .none, .none])
    #expect(handle(.synced) == [.sync])
    #expect(handle(.synced) == [.wait(.milliseconds(400))])
  }

  @Test("the interval's end during a sync asks for nothing more")
  mutating func intervalDuringSync() {
    follow()
    #expect(handle(.notified, .intervalEnded, .synced) == [.sync, .none, .wait(.milliseconds(400))])
  }

  @Test("a notification before the first sync asks for nothing: that sync comes anyway")
  mutating func notifiedEarly() {
    #expect(handle(.started, .notified, .connected, .notified) == [.connect(after: .zero), .none, .listen, .none])
    #expect(handle(.listening) == [.sync])
  }

  @Test("the wait before connecting doubles up to its bound, and begins anew after a sync")
  mutating func backoff() {
    _ = handle(.started)
    let waits = (0..<8).map { _ in state.handle(.failed) }
    #expect(waits == [20, 40, 80, 160, 320, 640, 1_000, 1_000].map { .connect(after: .milliseconds($0)) })
    #expect(handle(.connected, .listening, .failed).last == .connect(after: .milliseconds(1_000)))
    #expect(handle(.connected, .listening, .synced, .failed).last == .connect(after: .milliseconds(20)))
  }

  @Test(
    "a failure leads to a new connection, whatever it was doing",
    arguments: [
      [], [.started], [.started, .connected], [.started, .connected, .listening],
      [.started, .connected, .listening, .notified], [.started, .connected, .listening, .synced],
    ] as [[ListenerState.Event]])
  mutating func fails(_ before: [ListenerState.Event]) {
    for event in before { _ = state.handle(event) }
    #expect(handle(.failed, .connected, .listening) == [.connect(after: .milliseconds(20)), .listen, .sync])
  }

  @Test("late news of a connection that is gone changes nothing")
  mutating func late() {
    follow()
    _ = handle(.failed)
    #expect(handle(.synced, .listening, .notified, .intervalEnded, .started) == [.none, .none, .none, .none, .none])
    #expect(handle(.connected) == [.listen])
    #expect(handle(.synced, .connected, .intervalEnded) == [.none, .none, .none])
    #expect(handle(.listening) == [.sync])
  }

  @Test("a sync that ends while it waits already does not start another wait")
  mutating func syncedTwice() {
    follow()
    #expect(handle(.synced, .connected, .listening) == [.none, .none, .none])
  }
}
