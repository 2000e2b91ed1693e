package import Foundation
package import Postgres
import Synchronization

/// PostgreSQL's time as this instance knows it. Windows and expiry are judged by it, so that the instances agree, and a
/// machine whose clock is wrong or is set changes nothing.
///
/// Each heartbeat measures it (``Instance``); in between, a monotonic clock carries it on. Until the first measurement
/// it stands in for itself with the machine's clock.
package final class DatabaseClock: Sendable {
  /// From so much on the machine's clock is worth a warning, and a jump of PostgreSQL's is worth telling.
  package static let offsetSecondsMax = 1.0
  /// How long PostgreSQL may take to say what time it is.
  private static let timeout: Duration = .seconds(2)

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

  /// `uptime` never goes back; `machine` is the machine's own calendar, which may.
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

  /// Without a lock and without a system call: for every verification.
  package var now: Moment {
    let before = version.load(ordering: .acquiring)
    // Before the offset: whoever still reads the old one has read the clock before it was replaced.
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

  /// As ``now``, with a measurement of its own where there is none yet (as in a command) or the last is old (as in a
  /// server without its listener). Throws what the database threw.
  package func now(on pool: PostgresPool) async throws -> Moment {
    let uptime = uptime(of: uptimeClock())
    if state.withLock({ $0.isStale(at: uptime) }) {
      let sentAt = uptimeClock()
      guard let time = try await pool.query(ReadDatabaseTime(), by: .now + Self.timeout).first else {
        throw PostgresError(.protocolViolation, "clock_timestamp() answered nothing")
      }
      measured(time, sentAt: sentAt, receivedAt: uptimeClock())
    }
    return now
  }

  /// Takes what PostgreSQL's clock said between the two instants.
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

  /// By how many seconds the machine's clock is ahead of PostgreSQL's, or behind where it is negative; nil before the
  /// first measurement.
  package var machineOffsetSeconds: Double? {
    guard state.withLock({ $0.isMeasured }) else { return nil }
    return machineClock().timeIntervalSince(now.date)
  }

  /// For an operator, where the machine's clock is wrong.
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

  /// Since 1970, or before. Those of dates that no calendar has are bounded, so that they can be reckoned with.
  fileprivate var microseconds: Int {
    Int((min(max(timeIntervalSince1970, -1e11), 1e12) * 1_000_000).rounded())
  }
}
