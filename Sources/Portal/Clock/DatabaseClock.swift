package import Foundation
package import Postgres
import Synchronization

/// PostgreSQL's time as this instance knows it. Windows and expiry are judged by it, so that the instances agree, and a
/// wrong or adjusted machine clock has no effect.
///
/// Each heartbeat measures it (``Instance``); in between, a monotonic clock continues it. Until the first measurement,
/// it starts from the machine's clock.
package final class DatabaseClock: Sendable {
  /// From this difference on, the machine's clock is worth a warning, and a jump of PostgreSQL's is reported.
  static let offsetSecondsMax = 1.0

  private let uptimeClock: @Sendable () -> ContinuousClock.Instant
  private let machineClock: @Sendable () -> Date
  private let observer: Observer
  /// Where the uptime begins.
  private let start: ContinuousClock.Instant

  private let state: Mutex<DatabaseTime>
  /// A copy of the state for ``now``, which takes no lock. The version is odd while the copy is written.
  private let version = Atomic<Int>(0)
  private let offset: Atomic<Int>
  private let latest: Atomic<Int>

  /// `uptime` never goes back; `machine` is the machine's own date and time, which may.
  package init(
    observer: Observer = Observer([]), uptime: @escaping @Sendable () -> ContinuousClock.Instant = { .now },
    machine: @escaping @Sendable () -> Date = { Date() }
  ) {
    uptimeClock = uptime
    machineClock = machine
    self.observer = observer
    start = uptime()
    let time = DatabaseTime(offset: machine().microseconds)
    state = Mutex(time)
    offset = Atomic(time.offset)
    latest = Atomic(time.latest)
  }

  /// The current time, without a lock and without a system call: for every verification.
  package var now: Moment {
    let before = version.load(ordering: .acquiring)
    // Read before the offset: a reader that still gets the old offset has read the clock before the offset was
    // replaced.
    let instant = uptimeClock()
    let (offset, latest) = (offset.load(ordering: .relaxed), latest.load(ordering: .relaxed))
    atomicMemoryFence(ordering: .acquiring)
    guard before & 1 == 0, version.load(ordering: .relaxed) == before else {
      return state.withLock { time in
        let instant = uptimeClock()
        return moment(instant, offset: time.offset, latest: time.latest)
      }
    }
    return moment(instant, offset: offset, latest: latest)
  }

  /// As ``now``, but measures first if there is no measurement yet (as in a command) or the last is old (as in a server
  /// without its listener), for at most the time that a caller waits for a connection. Throws the database's error.
  package func now(on pool: PostgresPool) async throws -> Moment {
    let uptime = uptime(of: uptimeClock())
    if state.withLock({ $0.isStale(at: uptime) }) {
      let sentAt = uptimeClock()
      guard let time = try await pool.query(ReadDatabaseTime(), by: .now + pool.leaseTimeout).first else {
        throw PostgresError(.protocolViolation, "clock_timestamp() returned nothing")
      }
      measured(time, sentAt: sentAt, receivedAt: uptimeClock())
    }
    return now
  }

  /// Takes a time that PostgreSQL's clock showed between the two instants.
  package func measured(_ time: Date, sentAt: ContinuousClock.Instant, receivedAt: ContinuousClock.Instant) {
    let measurement = DatabaseTime.Measurement(
      sentAt: uptime(of: sentAt), time: time.microseconds, receivedAt: uptime(of: receivedAt))
    let jump = state.withLock { time in
      version.wrappingAdd(1, ordering: .relaxed)
      atomicMemoryFence(ordering: .releasing)
      let jump = time.take(measurement, at: uptime(of: uptimeClock()))
      offset.store(time.offset, ordering: .relaxed)
      latest.store(time.latest, ordering: .relaxed)
      version.wrappingAdd(1, ordering: .releasing)
      return jump
    }
    let seconds = Double(jump) / 1_000_000
    if abs(seconds) >= Self.offsetSecondsMax { observer.observe(.databaseClockSet(seconds: seconds)) }
  }

  /// The number of seconds by which the machine's clock is ahead of PostgreSQL's, negative if it is behind; nil before
  /// the first measurement.
  package var machineOffsetSeconds: Double? {
    guard state.withLock({ $0.isMeasured }) else { return nil }
    return machineClock().timeIntervalSince(now.date)
  }

  /// A warning for an operator, if the machine's clock is wrong.
  package var warning: String? {
    guard let seconds = machineOffsetSeconds, abs(seconds) >= Self.offsetSecondsMax else { return nil }
    let size = String(format: "%.1f", abs(seconds))
    return "the clock of this machine is \(size) s \(seconds > 0 ? "ahead of" : "behind") PostgreSQL's"
  }

  private func moment(_ instant: ContinuousClock.Instant, offset: Int, latest: Int) -> Moment {
    let time = uptime(of: instant) + offset
    return Moment(
      instant: instant, date: Date(microseconds: time),
      expiryDate: time < latest ? Date(microseconds: latest) : nil)
  }

  private func uptime(of instant: ContinuousClock.Instant) -> Int {
    let (seconds, attoseconds) = start.duration(to: instant).components
    return Int(seconds) * 1_000_000 + Int(attoseconds / 1_000_000_000_000)
  }
}

extension Date {
  /// Since 1970.
  fileprivate init(microseconds: Int) { self.init(timeIntervalSince1970: Double(microseconds) / 1_000_000) }

  /// Since 1970, negative before. Dates far outside any calendar are bounded, so that arithmetic with them does not
  /// overflow.
  fileprivate var microseconds: Int {
    Int((min(max(timeIntervalSince1970, -1e11), 1e12) * 1_000_000).rounded())
  }
}
