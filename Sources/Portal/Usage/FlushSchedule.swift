/// When counters are written to the database. Few counters are written after a second. Many are written less often,
/// because a counter that goes on counting is then written once instead of every second; they are safe in the spool
/// meanwhile. A value without I/O or a clock.
struct FlushSchedule: Sendable, Equatable {
  /// Counters are written once they have been gathered for a second for each of these.
  static let countersPerSecond = 1_000
  /// Counters that are written however briefly they have been gathered: a fifth of what the recorder has room for.
  static let counterCountMax = 500_000
  /// The longest time for which counters are gathered, unless configured otherwise.
  package static let gatheredMaxDefault: Duration = .seconds(10)

  let gatheredMax: Duration

  /// Whether to write `counterCount` counters, the first of which may be as old as `gathered`.
  func isDue(counterCount: Int, gatheredFor gathered: Duration) -> Bool {
    gathered >= gatheredMax || counterCount >= Self.counterCountMax
      || Double(counterCount) <= Double(Self.countersPerSecond) * (gathered / .seconds(1))
  }

  /// The pause after each of the statements that write what was gathered for this long. They are spread over three
  /// quarters of that time, so that PostgreSQL is never busy for long, and is done before the next are due.
  func pause(gatheredFor gathered: Duration, statementCount: Int) -> Duration {
    statementCount > 1 ? min(gathered, gatheredMax) * 3 / (4 * statementCount) : .zero
  }
}
