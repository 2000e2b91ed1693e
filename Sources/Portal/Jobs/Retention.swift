/// How long data is kept. Data that is not listed here is kept for good, unless a job has a fixed time for it.
package struct Retention: Sendable {
  /// Days for which usage is kept. A month is dropped when its last day is older.
  package var usageDays = 400
  /// Hours for which hourly totals of accounts are kept.
  package var usageHourHours = 72
  /// Days for which the names of reported batches, which identify repetitions, are kept.
  package var usageBatchDays = 7
  /// Days for which writers of counters are kept after they last wrote.
  package var usageSourceDays = 400
  /// Days for which mails are kept after they were sent or given up.
  package var mailDays = 30
  /// Hours for which sessions are kept after they were last used.
  package var idleSessionHours = Sessions.idleHoursDefault

  /// Seconds for which the credits that an instance has set aside are kept for it after it was last heard of.
  package var creditLeaseSeconds = CreditSilence.secondsDefault

  package init() {}
}
