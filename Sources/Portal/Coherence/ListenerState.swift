/// The state machine of the invalidation listener, as a value: no I/O and no clock in here.
///
/// On every (re)connect it listens first and then syncs, so that nothing committed in between is missed. From then on
/// it syncs on every notification, and at the latest `interval` after the previous sync. One sync runs at a time; a
/// notification during one causes another right after it.
struct ListenerState {
  struct Limits {
    var interval: Duration = .milliseconds(400)
    var backoffMin: Duration = .milliseconds(20)
    var backoffMax: Duration = .seconds(1)
  }

  enum Event: Equatable {
    case started
    case connected
    case listening
    case notified
    /// The time that `.wait` asked for has passed.
    case intervalEnded
    case synced
    /// Connecting, listening or syncing failed, or the connection broke.
    case failed
  }

  enum Action: Equatable {
    case none
    case connect(after: Duration)
    case listen
    case sync
    /// Sync again if nothing else happens for this long.
    case wait(Duration)
  }

  private enum Phase: Equatable {
    case disconnected
    case connecting
    case subscribing
    case syncing(again: Bool)
    case waiting
  }

  private let limits: Limits
  private var phase = Phase.disconnected
  private var backoff: Duration

  init(limits: Limits = Limits()) {
    self.limits = limits
    backoff = limits.backoffMin
  }

  mutating func handle(_ event: Event) -> Action {
    switch (phase, event) {
    case (.disconnected, .started):
      phase = .connecting
      return .connect(after: .zero)
    case (.connecting, .connected):
      phase = .subscribing
      return .listen
    case (.subscribing, .listening), (.waiting, .notified), (.waiting, .intervalEnded):
      phase = .syncing(again: false)
      return .sync
    case (.syncing, .notified):
      phase = .syncing(again: true)
      return .none
    case (.syncing(again: true), .synced):
      phase = .syncing(again: false)
      return .sync
    case (.syncing(again: false), .synced):
      backoff = limits.backoffMin
      phase = .waiting
      return .wait(limits.interval)
    case (_, .failed):
      phase = .connecting
      defer { backoff = min(backoff * 2, limits.backoffMax) }
      return .connect(after: backoff)
    default:
      // A late event of an earlier connection, or of a wait that a notification cut short.
      return .none
    }
  }
}
