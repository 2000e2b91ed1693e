import Foundation

@testable import Portal

/// A key whose use is counted.
struct CountedKey: Sendable {
  let id: UUID
  let accountID: UUID

  /// The n-th key of a test.
  static func counted(_ number: Int, of account: Int = 100) -> CountedKey {
    CountedKey(id: .numbered(number), accountID: .numbered(account))
  }
}

extension UsageRecorder {
  func verified(_ key: CountedKey, _ endpoint: String, isValid: Bool, at now: Date) {
    verified(key.id, of: key.accountID, endpoint, isValid: isValid, at: now)
  }
}
