/// The activity of a connection at one moment.
package struct ConnectionActivity: Equatable, Sendable {
  /// When it began, in nanoseconds of the system's uptime. For an idle connection this is when its last request was
  /// answered, or when it was opened if there was none: an incomplete request does not count.
  package var since: UInt64
  /// Whether a request is being answered, and the client takes the answer.
  package var isAnswering: Bool
}

/// Which HTTP connections there are, and which are closed if there are too many, as a value: no I/O and no clock.
///
/// Generic over the connection, so that tests need none.
struct ConnectionLimitState<Connection: Sendable>: Sendable {
  /// The result of a new connection.
  package struct Admission: Sendable {
    /// The number under which the new connection leaves.
    package var number: UInt64
    /// Connections to close, already removed: the most idle ones, or the new one if all others are answering requests.
    package var closed: [Connection]
    /// Whether to log this; further closings in a flood are only counted.
    var isLogged: Bool
  }

  /// One in this many connections is closed at a time, so that in a flood not every new connection looks at all of
  /// them.
  private static var closedShare: Int { 16 }
  /// The shortest time between log lines, in nanoseconds.
  private static var logInterval: UInt64 { 10_000_000_000 }

  /// The most connections.
  package let countMax: Int
  private var connections: [UInt64: Connection] = [:]
  private var lastNumber: UInt64 = 0
  private var loggedAt: UInt64?

  init(countMax: Int) { self.countMax = countMax }

  /// The number of connections.
  package var count: Int { connections.count }

  /// Admits a new connection. `now` is in nanoseconds of the system's uptime; `activity` returns what a connection does
  /// at present.
  package mutating func admit(
    _ connection: Connection, at now: UInt64, activity: (Connection) -> ConnectionActivity
  ) -> Admission {
    lastNumber += 1
    var closed: [Connection] = []
    if connections.count >= countMax {
      let activities = connections.map { (number: $0.key, activity: activity($0.value)) }
      for number in Self.mostIdle(max(1, countMax / Self.closedShare), of: activities) {
        if let idle = connections.removeValue(forKey: number) { closed.append(idle) }
      }
    }
    if connections.count < countMax { connections[lastNumber] = connection } else { closed.append(connection) }
    return Admission(number: lastNumber, closed: closed, isLogged: !closed.isEmpty && isLogDue(at: now))
  }

  /// Removes a connection. Has no effect if it was removed before.
  package mutating func leave(_ number: UInt64) { connections[number] = nil }

  /// The numbers of up to `count` connections that have gone longest without answering a request, the most idle first.
  /// None of them is answering one now.
  static func mostIdle(
    _ count: Int, of activities: [(number: UInt64, activity: ConnectionActivity)]
  ) -> [UInt64] {
    activities.filter { !$0.activity.isAnswering }
      .sorted { ($0.activity.since, $0.number) < ($1.activity.since, $1.number) }
      .prefix(count).map { $0.number }
  }

  private mutating func isLogDue(at now: UInt64) -> Bool {
    if let loggedAt, now < loggedAt + Self.logInterval { return false }
    loggedAt = now
    return true
  }
}
