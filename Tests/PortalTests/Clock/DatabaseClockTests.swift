import Foundation
import PortalTesting
import Postgres
import PostgresTesting
import Synchronization
import Testing

@testable import Portal

/// A machine whose uptime and wall clock a test sets.
private final class Machine: Sendable {
  private let state = Mutex((uptime: ContinuousClock.now, aheadSeconds: 0.0))

  var uptime: ContinuousClock.Instant { state.withLock { $0.uptime } }
  var date: Date { Date(timeIntervalSinceNow: state.withLock { $0.aheadSeconds }) }

  func advance(_ duration: Duration) { state.withLock { $0.uptime += duration } }
  func set(aheadSeconds: Double) { state.withLock { $0.aheadSeconds = aheadSeconds } }

  func clock(_ observations: Observations = Observations()) -> DatabaseClock {
    DatabaseClock(observer: Observer([observations.sink]), uptime: { self.uptime }, machine: { self.date })
  }
}

extension DatabaseClock {
  /// Measures like a heartbeat that took no time.
  fileprivate func measured(_ time: Date, at uptime: ContinuousClock.Instant) {
    measured(time, sentAt: uptime, receivedAt: uptime)
  }
}

private final class ReaderProgress: Sendable {
  let isWritten = Atomic(false)
  let endedCount = Atomic<Int>(0)
  let ranBackCount = Atomic<Int>(0)
}

@Suite("DatabaseClock")
struct DatabaseClockTests {
  private let start = Date(timeIntervalSince1970: 1_800_000_000)

  private func seconds(_ date: Date) -> Double { date.timeIntervalSince(start) }

  @Test("a jump of the machine's clock, in any direction and however far, changes only the warning")
  func machineJumps() {
    let (machine, observations) = (Machine(), Observations())
    let clock = machine.clock(observations)
    #expect(clock.machineOffsetSeconds == nil && clock.warning == nil, "nothing is known yet")
    clock.measured(machine.date, at: machine.uptime)
    #expect(clock.warning == nil)
    let before = clock.now
    for ahead in [30.0, -30, 86_400, -86_400, 3_600, 0] {
      machine.set(aheadSeconds: ahead)
      #expect(clock.now.date == before.date && clock.now.expiryDate == before.expiryDate)
      #expect(abs((clock.machineOffsetSeconds ?? .nan) - ahead) < 30)
    }
    #expect(observations.count { _ in true } == 0)
  }

  @Test(
    "a difference of a second or more in the machine's clock gives a warning",
    arguments: [
      (0.9, nil), (-0.9, nil), (1.5, "the clock of this machine is 1.5 s ahead of PostgreSQL's"),
      (-3_600, "the clock of this machine is 3600.0 s behind PostgreSQL's"),
    ] as [(Double, String?)])
  func warning(_ ahead: Double, _ warning: String?) {
    let uptime = ContinuousClock.now
    let clock = DatabaseClock(uptime: { uptime }, machine: { [start] in start.addingTimeInterval(ahead) })
    clock.measured(start, at: uptime)
    #expect(clock.warning == warning)
  }

  @Test("between measurements the monotonic clock advances it")
  func carriedOn() {
    let machine = Machine()
    let clock = machine.clock()
    clock.measured(start, at: machine.uptime)
    machine.advance(.milliseconds(1_500))
    #expect(abs(seconds(clock.now.date) - 1.5) < 0.000_01)
    #expect(clock.now.instant == machine.uptime)
  }

  @Test("a change of PostgreSQL's clock is followed and reported; what has expired stays so until it has caught up")
  func databaseJumps() {
    let (machine, observations) = (Machine(), Observations())
    let clock = machine.clock(observations)
    clock.measured(start, at: machine.uptime)
    for (to, expiry) in [(3_600.0, 3_600.0), (0, 3_600), (-86_400, 3_600), (3_500, 3_600), (7_200, 7_200)] {
      clock.measured(start.addingTimeInterval(to), at: machine.uptime)
      #expect(abs(seconds(clock.now.date) - to) < 0.000_1)
      #expect(abs(seconds(clock.now.expiryDate) - expiry) < 0.000_1)
      machine.advance(.nanoseconds(1))
    }
    #expect(observations.count { if case .databaseClockSet = $0 { true } else { false } } == 5)
    clock.measured(start.addingTimeInterval(7_200.9), at: machine.uptime)
    #expect(observations.count { if case .databaseClockSet = $0 { true } else { false } } == 5, "less than a second")
  }

  @Test("without a heartbeat it asks PostgreSQL itself if there is no measurement or only an old one")
  func asks() async throws {
    try await withPool { pool in
      let machine = Machine()
      machine.set(aheadSeconds: -3_600)
      let clock = machine.clock()
      #expect(clock.now.date < Date(timeIntervalSinceNow: -3_000), "the machine's clock is used")
      #expect(abs(try await clock.now(on: pool).date.timeIntervalSinceNow) < 60)
      let before = pool.statistics.statementCount
      for _ in 0..<100 { #expect(abs(try await clock.now(on: pool).date.timeIntervalSinceNow) < 60) }
      #expect(pool.statistics.statementCount == before)
      machine.advance(.seconds(61))
      _ = try await clock.now(on: pool)
      #expect(pool.statistics.statementCount == before + 1)
      machine.advance(.seconds(61))
      await pool.shutDown()
      await #expect(throws: PostgresError.self) { try await clock.now(on: pool) }
    }
  }

  /// The readers are threads, so that their spinning does not block the cooperative pool.
  @Test("while it is set forward and back thousands of times, no reader sees the time for expiry go back")
  func readers() async throws {
    let (clock, progress) = (DatabaseClock(), ReaderProgress())
    clock.measured(start, at: .now)
    for _ in 0..<3 {
      Thread.detachNewThread {
        var last = clock.now.expiryDate
        while !progress.isWritten.load(ordering: .relaxed) {
          let next = clock.now.expiryDate
          if next < last { progress.ranBackCount.add(1, ordering: .relaxed) }
          last = next
        }
        progress.endedCount.add(1, ordering: .relaxed)
      }
    }
    for number in 0..<20_000 {
      clock.measured(start.addingTimeInterval(Double(number * 7_919 % 1_000)), at: .now)
    }
    progress.isWritten.store(true, ordering: .relaxed)
    try await eventually("the readers have ended") { progress.endedCount.load(ordering: .relaxed) == 3 }
    #expect(progress.ranBackCount.load(ordering: .relaxed) == 0)
  }
}
