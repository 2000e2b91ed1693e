package import Foundation

/// How often one key was verified for one endpoint in one hour.
package struct UsageCounter: Sendable, Equatable {
  package static let millisecondsPerHour = 3_600_000

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

  static func date(ofHour hour: Int) -> Date { Date(timeIntervalSince1970: Double(hour) * 3_600) }
}
