/// When counters are written to the database. Few counters are written after a second. Many are written less often,
/// because a counter that goes on counting is then written once instead of every second; they are safe in the spool
/// meanwhile. A value without I/O or a clock.
struct FlushSchedule: Sendable, Equatable {
  /// The number of counters per second of gathering: 3,000 counters are written after three seconds.
  static let countersPerSecond = 1_000
  /// The number of counters that are written without delay: a fifth of what the recorder has room for.
  static let counterCountMax = 500_000
  /// The longest time for which counters are gathered, unless configured otherwise.
  package static let gatheredMaxDefault: Duration = .seconds(10)

  let gatheredMax: Duration

  /// Whether to write `counterCount` counters, the first of which may be as old as `gathered`.
  func isDue(counterCount: Int, gatheredFor gathered: Duration) -> Bool {
    gathered >= gatheredMax || counterCount >= Self.counterCountMax
      || Double(counterCount) <= Double(Self.countersPerSecond) * (gathered / .seconds(1))
  }

  /// The pause between the statements that write counters gathered for this long. The pauses take up to three quarters
  /// of that time, so that PostgreSQL is never busy for long and is done before the next flush is due.
  func pause(gatheredFor gathered: Duration, statementCount: Int) -> Duration {
    statementCount > 1 ? min(gathered, gatheredMax) * 3 / (4 * statementCount) : .zero
  }
}
