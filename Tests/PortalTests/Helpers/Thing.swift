import Foundation

@testable import Portal

/// A cached value, in one of its versions.
struct Thing: Invalidatable, Equatable {
  var id: UUID
  var owner: UUID?
  var version = 0
  var dependsOnCatalog = false
}

extension SecretHash {
  /// The hash of the n-th secret of a test.
  static func numbered(_ number: Int) -> SecretHash { SecretHash(of: "secret \(number)".utf8) }
}

extension UUID {
  /// The n-th id of a test.
  static func numbered(_ number: Int) -> UUID {
    UUID(uuidString: String(format: "00000000-0000-7000-8000-%012d", number))!
  }
}

/// A timeline of the invalidation log, with its own marks: the main one, or one that branches off it after some seq.
struct History {
  static let main = History(number: 0, leftMainAfter: .max)

  let number: Int
  let leftMainAfter: Int

  /// The mark at a seq.
  func mark(_ seq: Int) -> UUID { .numbered(1_000_000 * (seq > leftMainAfter ? number + 1 : 1) + seq) }
}

extension LogPosition {
  init(epoch: UUID, seq: Int, on history: History = .main) {
    self.init(epoch: epoch, seq: seq, mark: history.mark(seq))
  }
}

extension Invalidation {
  init(seq: Int, target: Target, on history: History = .main) {
    self.init(seq: seq, follows: history.mark(seq - 1), target: target)
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
