import Crypto
package import Foundation

/// A limit that belongs to no key: it counts for an identifier in a namespace, and its callers bring the numbers along.
package enum StandaloneLimit {
  /// The maximum number of requests that are decided together.
  package static let requestCountMax = 100
  /// The maximum cost within a window; 0 refuses whatever costs something.
  package static let limitRange = 0...1_000_000_000
  /// A cost of 0 takes nothing.
  package static let costRange = 0...1_000_000_000
  /// A second to a day.
  package static let windowMillisecondsRange = 1_000...86_400_000
  /// Windows are multiples of it.
  package static let windowMillisecondsStep = 1_000

  /// What is wrong with a window that ``isValid(windowMilliseconds:)`` refuses.
  package static let windowProblem = """
    must be a multiple of \(windowMillisecondsStep) from \(windowMillisecondsRange.lowerBound) to \
    \(windowMillisecondsRange.upperBound)
    """

  package static func isValid(windowMilliseconds: Int) -> Bool {
    windowMillisecondsRange.contains(windowMilliseconds) && windowMilliseconds % windowMillisecondsStep == 0
  }
}

/// The texts that name a namespace, or an identifier in one: what the company likes, without control characters.
package enum LimitText {
  /// In Unicode scalars.
  package static let lengthMax = LimitOverrides.identifierLengthMax
  package static let problem = "must have no control characters"

  package static func isValid(_ text: String) -> Bool {
    guard text.utf8.count <= 4 * lengthMax, (1...lengthMax).contains(text.unicodeScalars.count) else { return false }
    return !hasControls(text)
  }

  package static func hasControls(_ text: String) -> Bool { text.utf8.contains { $0 < 0x20 || $0 == 0x7F } }
}

/// A request to a standalone limit, with texts that are valid.
package struct LimitRequest: Sendable, Equatable {
  package var namespace: String
  package var identifier: String
  /// The caller's own numbers, which apply unless there is an override.
  package var limit: WindowLimit
  package var cost: Int

  package init(namespace: String, identifier: String, limit: WindowLimit, cost: Int = 1) {
    self.namespace = namespace
    self.identifier = identifier
    self.limit = limit
    self.cost = cost
  }
}

/// The decision on a request to a standalone limit.
package struct LimitAnswer: Sendable, Equatable {
  /// With the numbers that applied. Whether it is admitted says if its own cost fits; of several that are decided
  /// together, all or none is taken.
  package var standing: RateLimitDecision.Standing
  /// The numbers that applied.
  package var limit: WindowLimit
  /// The override that they are from, if they are from one.
  package var overrideID: UUID?

  package var isAllowed: Bool { standing.window.isAdmitted }
}

/// A namespace: what the identifiers of one use are counted in. It is made when it is first used.
package struct LimitNamespace: Sendable, Equatable {
  /// The maximum number of namespaces of a deployment.
  package static let countMax = 1_000

  package var id: UUID
  package var createdAt: Date
  package var name: String
}

/// What a decision needs to know of a namespace. An object, so that a look-up copies only a reference.
package final class KnownLimitNamespace: Invalidatable {
  package let id: UUID
  let overrides: LimitOverrides

  init(id: UUID, overrides: LimitOverrides) {
    self.id = id
    self.overrides = overrides
  }

  package var owner: UUID? { nil }

  /// Identifies an identifier of this namespace among all that is counted.
  func subject(of identifier: String) -> UUID {
    var hasher = SHA256()
    withUnsafeBytes(of: id.uuid) { hasher.update(bufferPointer: $0) }
    var identifier = identifier
    identifier.withUTF8 { hasher.update(bufferPointer: UnsafeRawBufferPointer($0)) }
    return hasher.finalize().withUnsafeBytes { UUID(uuid: $0.loadUnaligned(as: uuid_t.self)) }
  }

  /// The charge for a request to this namespace, and the override that its numbers are from, if any.
  func charge(
    for request: LimitRequest, _ mode: RateLimitMode
  ) -> (charge: LimitCharge, limit: WindowLimit, overrideID: UUID?) {
    let override = overrides.override(for: request.identifier)
    let limit = override?.limit ?? request.limit
    return (LimitCharge(request.cost, from: limit, of: subject(of: request.identifier), mode), limit, override?.id)
  }
}
