import Testing

@testable import Portal

@Suite("FlushSchedule")
struct FlushScheduleTests {
  private let schedule = FlushSchedule(gatheredMax: .seconds(10))

  @Test("few counters, or none, are written after a second")
  func few() {
    for count in [0, 1, 1_000] {
      #expect(schedule.isDue(counterCount: count, gatheredFor: .seconds(1)), "\(count)")
    }
  }

  @Test("counters wait a second for each thousand, and no longer than configured")
  func many() {
    for (count, seconds) in [(1_001, 2), (3_000, 3), (3_500, 4), (10_000, 10), (90_000, 10), (499_999, 10)] {
      let due = (1...20).first { schedule.isDue(counterCount: count, gatheredFor: .seconds($0)) }
      #expect(due == seconds, "\(count)")
    }
    let everySecond = FlushSchedule(gatheredMax: .seconds(1))
    #expect(everySecond.isDue(counterCount: 90_000, gatheredFor: .seconds(1)))
  }

  @Test("counters that fill the memory do not wait")
  func full() {
    #expect(schedule.isDue(counterCount: 500_000, gatheredFor: .milliseconds(1)))
  }

  @Test("statements are spread over three quarters of the time, and a single one does not wait")
  func spread() {
    #expect(schedule.pause(gatheredFor: .seconds(10), statementCount: 75) == .milliseconds(100))
    #expect(schedule.pause(gatheredFor: .seconds(10), statementCount: 1) == .zero)
    #expect(schedule.pause(gatheredFor: .seconds(10), statementCount: 0) == .zero)
    #expect(schedule.pause(gatheredFor: .zero, statementCount: 75) == .zero)
    // A machine that was suspended.
    #expect(schedule.pause(gatheredFor: .seconds(86_400), statementCount: 75) == .milliseconds(100))
  }
}
