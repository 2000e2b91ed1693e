package import Foundation

/// How often one key was verified for one endpoint in one hour.
package struct UsageCounter: Sendable, Equatable {
  package static let millisecondsPerHour = 3_600_000
  /// Characters of an endpoint's name, as the database takes it.
  static let endpointLengthMax = 200
  /// The last of the year 9999, as far as clocks of the database are believed.
  static let hourMax = 70_389_527
  /// Of verdicts in an hour, 600,000 a second: closed days have counts that are no larger (`packed_usage`).
  static let countMax = Int(Int32.max)

  package var accountID: UUID
  package var keyID: UUID
  /// Since 1970, in UTC.
  package var hour: Int
  package var endpoint: String
  /// Verifications answered VALID, and those answered otherwise.
  package var verified: Int
  package var denied: Int
  /// In milliseconds since 1970.
  package var lastUsedAt: Int

  static func hour(ofMilliseconds milliseconds: Int) -> Int { milliseconds / millisecondsPerHour }

  /// The name that the bytes spell, if the database takes it: UTF-8 without U+0000, of 1 to 200 characters.
  static func endpoint(_ bytes: UnsafeBufferPointer<UInt8>) -> String? {
    guard !bytes.contains(0), let text = String(validating: bytes, as: UTF8.self),
      (1...endpointLengthMax).contains(text.unicodeScalars.count)
    else { return nil }
    return text
  }

  static func date(ofHour hour: Int) -> Date { Date(timeIntervalSince1970: Double(hour) * 3_600) }
}
