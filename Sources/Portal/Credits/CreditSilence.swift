/// How long a holder of leases must not have been heard of before its leases are forgiven.
package struct CreditSilence: Sendable, Equatable {
  package static let secondsDefault = 3_600
  package static let secondsRange = 60...2_592_000
  /// In runs of the job. They are at least two minutes in which instances could reach the database: an hour in which
  /// nobody could is not an instance's silence.
  package static let runCountDefault = 3
  /// How long holders are kept after they were last heard of.
  static let holderDays = 30

  package var seconds: Int
  /// Consecutive runs of the job `credits` that did not hear of it.
  package var runCount: Int

  package init(seconds: Int = secondsDefault, runCount: Int = runCountDefault) {
    self.seconds = seconds
    self.runCount = runCount
  }
}
