/// How long things are kept. What is not here is kept for good.
package struct Retention: Sendable {
  /// Days of usage; a month goes when its last day is older.
  package var usageDays = 400
  /// Hourly totals of accounts.
  package var usageHourHours = 72
  /// Names of batches of reported outcomes, by which a repetition is known.
  package var usageBatchDays = 7
  /// Writers of counters that have written nothing for so long.
  package var usageSourceDays = 400
  /// Mails, from when they were sent or given up.
  package var mailDays = 30
  /// Logins that nobody has used for so long.
  package var idleSessionHours = Sessions.idleHoursDefault

  package init() {}
}
