package import Foundation

/// How often one key was verified for one endpoint in one hour.
package struct UsageCounter: Sendable, Equatable {
  package static let millisecondsPerHour = 3_600_000
  /// The length of an endpoint name that the database accepts, in characters.
  static let endpointLengthMax = 200
  /// The last hour of the year 9999, the latest time that is accepted from a database clock.
  static let hourMax = 70_389_527
  /// Verdicts in an hour, or about 600,000 per second: the counts of closed days (`packed_usage`) are no larger.
  static let countMax = Int(Int32.max)

  package var accountID: UUID
  package var keyID: UUID
  /// Hours since 1970, in UTC.
  package var hour: Int
  package var endpoint: String
  /// Verifications answered VALID.
  package var verified: Int
  /// Verifications answered otherwise.
  package var denied: Int
  /// Milliseconds since 1970.
  package var lastUsedAt: Int

  static func hour(ofMilliseconds milliseconds: Int) -> Int { milliseconds / millisecondsPerHour }

  /// Decodes a name; nil unless the database accepts it: UTF-8 without U+0000, 1 to 200 characters.
  static func endpoint(_ bytes: UnsafeBufferPointer<UInt8>) -> String? {
    guard !bytes.contains(0), let text = String(validating: bytes, as: UTF8.self),
      (1...endpointLengthMax).contains(text.unicodeScalars.count)
    else { return nil }
    return text
  }

  static func date(ofHour hour: Int) -> Date { Date(timeIntervalSince1970: Double(hour) * 3_600) }
}
