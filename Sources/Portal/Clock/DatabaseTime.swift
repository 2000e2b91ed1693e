/// What an instance believes of PostgreSQL's clock, as a value: no I/O and no clock in here. All numbers are
/// microseconds: times of the database since 1970, and an uptime since whenever.
///
/// Between the moment a question was sent and the moment its answer arrived, the database's clock showed what the
/// answer says. So a measurement leaves an interval for the offset between that clock and the uptime, as wide as the
/// round trip. An offset within the interval is kept, another moves to the nearer end: a slow answer changes nothing,
/// and a clock that was set is followed by the first measurement after it.
struct DatabaseTime: Sendable, Equatable {
  /// When an instance asked, what the database's clock said, and when the answer was there.
  struct Measurement: Sendable, Equatable {
    var sentAt: Int
    var time: Int
    var receivedAt: Int
  }

  /// A clock of the database is believed from 1970 to the end of the year 9999.
  private static let timeMax = 253_402_300_799_999_999
  /// After so long without a measurement, ``DatabaseClock/now(on:)`` makes one. Longer than any lease.
  private static let ageMax = 60_000_000

  /// From an uptime to the database's time.
  private(set) var offset: Int
  /// The latest time that may have been told before the clock was set back.
  private(set) var latest = Int.min
  private var measuredAt: Int?

  /// `offset` stands in until something is measured.
  init(offset: Int) { self.offset = offset }

  var isMeasured: Bool { measuredAt != nil }

  /// Whether what is believed is old, or nothing but a guess.
  func isStale(at uptime: Int) -> Bool { measuredAt.map { uptime - $0 > Self.ageMax } ?? true }

  func time(at uptime: Int) -> Int { uptime + offset }

  /// Never earlier than any ``time(at:)`` of an uptime up to the last ``take(_:at:)``, or than itself before.
  func expiryTime(at uptime: Int) -> Int { max(time(at: uptime), latest) }

  /// Believes a measurement. `uptime` is not before any that a time was told of. Returns how far the database's clock
  /// was set forward, or back where it is negative; 0 for the first measurement.
  mutating func take(_ measurement: Measurement, at uptime: Int) -> Int {
    let time = min(max(0, measurement.time), Self.timeMax)
    // Each clock cuts off what is less than a microsecond.
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
