import JSON
import Postgres

extension Day {
  /// 2000-01-01, where PostgreSQL's dates begin, in days since 1970-01-01.
  private static let postgresEpoch = 10_957

  var postgresDate: PostgresDate { PostgresDate(daysSince2000: Int32(clamping: number - Self.postgresEpoch)) }

  init(_ date: PostgresDate) { self.init(number: Int(date.daysSince2000) + Self.postgresEpoch) }
}
