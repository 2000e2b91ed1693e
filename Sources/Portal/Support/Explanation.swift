package import Foundation

/// A key as verification judges it, and since when it is in its states.
package struct JudgedKey: Sendable {
  package var key: VerifiableKey
  package var createdAt: Date
  package var revokedAt: Date?
  package var suspendedAt: Date?
  package var disabledAt: Date?
}

/// How a request is judged, check by check. The checks are those of verification, by the same code, but none ends it:
/// what would have come after a refusal is told, too.
package struct Explanation: Sendable {
  /// What is left of the credits that a key spends from.
  package enum Credits: Sendable, Equatable {
    /// Any number of requests.
    case unlimited
    /// As far as it is settled.
    case remaining(Int)

    fileprivate func suffice(for cost: Int) -> Bool {
      switch self {
      case .unlimited: true
      case .remaining(let remaining): remaining >= cost
      }
    }
  }

  /// The checks, in their order.
  package enum Check: String, Sendable, CaseIterable {
    case exists, environment, api, revoked, suspended, disabled, expired, address, scopes, permissions, limits, credits
  }

  package struct Outcome: Sendable, Equatable {
    package var check: Check
    /// The code with which the check refuses a request.
    package var code: VerdictCode
    /// Nil if it is not known: counts of the past are not kept.
    package var isPassed: Bool?
  }

  /// The moment as of which it is judged.
  package let at: Date
  package let request: VerificationRequest
  /// Nil if there is no such key, or was none yet.
  package let key: JudgedKey?
  /// The limits that apply to the request, and whether its costs fit, as far as this instance knows; nil for a moment
  /// in the past.
  package let limits: RateLimitDecision?
  /// Nil for a moment in the past.
  package let credits: Credits?
  package let outcomes: [Outcome]

  init(
    _ key: JudgedKey?, _ request: VerificationRequest, at now: Date, limits: RateLimitDecision? = nil,
    credits: Credits? = nil
  ) {
    at = now
    self.request = request
    self.key = key
    self.limits = limits
    self.credits = credits
    guard let judged = key?.key else {
      outcomes = [Outcome(check: .exists, code: .notFound, isPassed: false)]
      return
    }
    var outcomes = [
      Outcome(check: .exists, code: .notFound, isPassed: true),
      Outcome(
        check: .environment, code: .notFound, isPassed: judged.environment.isWithin(request.environment)),
      Outcome(check: .api, code: .notFound, isPassed: judged.isForApi(of: request)),
    ]
    judged.check(request, at: now) { code, isPassed in
      outcomes.append(Outcome(check: Check(code), code: code, isPassed: isPassed))
      return true
    }
    outcomes.append(Outcome(check: .limits, code: .rateLimited, isPassed: limits?.isAdmitted))
    outcomes.append(
      Outcome(check: .credits, code: .usageExceeded, isPassed: credits?.suffice(for: request.creditCost)))
    self.outcomes = outcomes
  }

  /// The verdict: that of the first check that did not pass.
  package var code: VerdictCode { outcomes.first { $0.isPassed == false }?.code ?? .valid }
}

extension Explanation.Check {
  /// The check that refuses with a code. Several refuse with `.notFound`.
  fileprivate init(_ code: VerdictCode) {
    self =
      switch code {
      case .valid, .missingKey, .notFound: .exists
      case .revoked: .revoked
      case .suspended: .suspended
      case .disabled: .disabled
      case .expired: .expired
      case .forbiddenAddress: .address
      case .insufficientScope: .scopes
      case .insufficientPermissions: .permissions
      case .rateLimited: .limits
      case .usageExceeded: .credits
      }
  }
}
