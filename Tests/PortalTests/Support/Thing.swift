import Foundation

@testable import Portal

/// Something cached, in one of its versions.
struct Thing: Invalidatable, Equatable {
  var id: UUID
  var owner: UUID?
  var version = 0
}

extension SecretHash {
  /// That of the n-th secret of a test.
  static func numbered(_ number: Int) -> SecretHash { SecretHash(of: "secret \(number)".utf8) }
}

extension UUID {
  /// The n-th id of a test.
  static func numbered(_ number: Int) -> UUID {
    UUID(uuidString: String(format: "00000000-0000-7000-8000-%012d", number))!
  }
}

extension CoherentCacheState.Lookup where Value: Equatable {
  var hit: Value? {
    if case .hit(let value) = self { value } else { nil }
  }

  var name: String {
    switch self {
    case .hit: "hit"
    case .absent: "absent"
    case .miss: "miss"
    case .stale: "stale"
    }
  }
}

extension VerifiableKey {
  /// The n-th key of a test, whose use is counted.
  static func counted(_ number: Int, of account: Int = 100) -> VerifiableKey {
    VerifiableKey(
      id: .numbered(number), accountID: .numbered(account), name: "Key", environment: .live, scopes: [],
      rateLimitPerMinute: 60, isRevoked: false, isSuspended: false, isDisabled: false)
  }
}
