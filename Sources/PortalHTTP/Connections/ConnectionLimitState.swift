/// What a connection does, as of the moment at which somebody looks.
package struct ConnectionActivity: Equatable, Sendable {
  /// Since when, in nanoseconds of the system's uptime. Of an idle connection it is when its last request was answered,
  /// or when it was opened if there was none: bytes that are no whole request do not count.
  package var since: UInt64
  /// Whether a request is being answered, and the client takes the answer.
  package var isAnswering: Bool
}

/// Which HTTP connections there are, and which are closed when there are too many; as a value: no I/O and no clock in
/// here.
///
/// Generic over the connection, so that tests need none.
struct ConnectionLimitState<Connection: Sendable>: Sendable {
  /// What follows from a new connection.
  package struct Admission: Sendable {
    /// Under which the new connection leaves.
    package var number: UInt64
    /// To be closed, and not here any more: the most idle ones, or the new one if all others are answering requests.
    package var closed: [Connection]
    /// Whether a line in the log is due; the others of a flood are only counted.
    var isLogged: Bool
  }

  /// Of all connections, this share is closed at once, so that a flood is no reason to look at all of them each time.
  private static var closedShare: Int { 16 }
  /// Between lines in the log, in nanoseconds.
  private static var logInterval: UInt64 { 10_000_000_000 }

  /// Connections at most.
  package let countMax: Int
  private var connections: [UInt64: Connection] = [:]
  private var lastNumber: UInt64 = 0
  private var loggedAt: UInt64?

  init(countMax: Int) { self.countMax = countMax }

  /// Connections now.
  package var count: Int { connections.count }

  /// Takes in a new connection. `now` is in nanoseconds of the system's uptime; `activity` tells what one does at
  /// present.
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

  /// Forgets a connection; without an effect on one that was forgotten before.
  package mutating func leave(_ number: UInt64) { connections[number] = nil }

  /// The numbers of those that have answered no request for longest, `count` at most and the most idle first. None of
  /// them is answering one now.
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
