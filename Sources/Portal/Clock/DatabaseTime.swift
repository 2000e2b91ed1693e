/// An instance's estimate of PostgreSQL's clock, as a value: no I/O and no clock in here. All numbers are microseconds:
/// times of the database since 1970, and an uptime since an arbitrary start.
///
/// At some moment between sending the query and receiving its answer, the database's clock showed the time in the
/// answer. So a measurement gives an interval for the offset between that clock and the uptime, as wide as the round
/// trip. An offset within the interval is kept, any other moves to the nearer end: a slow answer changes nothing, and
/// the first measurement after a clock was set follows it.
struct DatabaseTime: Sendable, Equatable {
  /// When an instance asked, what the database's clock said, and when the answer arrived.
  struct Measurement: Sendable, Equatable {
    var sentAt: Int
    var time: Int
    var receivedAt: Int
  }

  /// The end of the year 9999: times of a database clock are bounded to 1970 and this.
  private static let timeMax = 253_402_300_799_999_999
  /// After this long without a measurement, ``DatabaseClock/now(on:)`` makes one. Longer than any lease.
  private static let ageMax = 60_000_000

  /// Added to an uptime, it gives the database's time.
  private(set) var offset: Int
  /// The latest time that may have been returned before the clock was set back. The later of it and ``time(at:)`` never
  /// goes back.
  private(set) var latest = Int.min
  private var measuredAt: Int?

  /// `offset` is used until the first measurement.
  init(offset: Int) { self.offset = offset }

  var isMeasured: Bool { measuredAt != nil }

  /// Whether there is no measurement yet, or only an old one.
  func isStale(at uptime: Int) -> Bool { measuredAt.map { uptime - $0 > Self.ageMax } ?? true }

  func time(at uptime: Int) -> Int { uptime + offset }

  /// Applies a measurement. `uptime` is not before any for which a time was returned. Returns how far the database's
  /// clock was set forward, negative if back; 0 for the first measurement.
  mutating func take(_ measurement: Measurement, at uptime: Int) -> Int {
    let time = min(max(0, measurement.time), Self.timeMax)
    // Each clock truncates fractions of a microsecond.
    let offsetMin = time - measurement.receivedAt - 1
    let offsetMax = time - measurement.sentAt + 1
    defer { measuredAt = uptime }
    guard isMeasured else {
      offset = offsetMin + (offsetMax - offsetMin) / 2
      return 0
    }
    let before = offset
    offset = max(min(before, offsetMax), offsetMin)
    if offset < before { latest = max(latest, uptime + before) }
    return offset - before
  }
}
