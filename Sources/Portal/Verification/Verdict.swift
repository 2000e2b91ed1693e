package import Foundation

/// What a gateway asks about one request of its API.
package struct VerificationRequest: Sendable, Equatable {
  package static let costMax = 1_000
  package static let endpointLengthMax = 200
  /// What usage is counted under when no endpoint is named.
  package static let endpointDefault = "unspecified"

  /// Nil where the text that was presented can't be a key: see ``KeyFormat/hash(of:)``.
  package var hash: SecretHash?
  /// All of them must be met.
  package var scopes: [String]
  package var clientIP: AddressBlock?
  package var endpoint: String
  package var cost: Int
  /// The only one whose keys whoever asks knows of; nil: all.
  package var environment: Key.Environment?

  package init(
    hash: SecretHash?, scopes: [String] = [], clientIP: AddressBlock? = nil,
    endpoint: String = VerificationRequest.endpointDefault, cost: Int = 1, environment: Key.Environment? = nil
  ) {
    self.hash = hash
    self.scopes = scopes
    self.clientIP = clientIP
    self.endpoint = endpoint
    self.cost = cost
    self.environment = environment
  }

  /// What a request is counted under by its method and its target, as gateways pass them on. What stands behind "?"
  /// would make every request an endpoint of its own.
  package static func endpoint(method: String?, target: String) -> String {
    let endpoint = (method.map { $0 + " " } ?? "") + target.prefix { $0 != "?" }
    if endpoint.isEmpty { return endpointDefault }
    return String(String.UnicodeScalarView(endpoint.unicodeScalars.prefix(endpointLengthMax)))
  }
}

/// The answer to "is this key good for this request?": a value, never an error.
package struct Verdict: Sendable {
  package typealias Code = VerdictCode

  package var code: Code
  /// The key that was found, and how its limits stand; nil for `.missingKey` and `.notFound`.
  package var found: (key: VerifiableKey, limits: RateLimitDecision)?

  package var isValid: Bool { code == .valid }
  package static let notFound = Verdict(code: .notFound, found: nil)
  /// No key was presented, so none was looked for.
  static let missingKey = Verdict(code: .missingKey, found: nil)
}

/// A key as verification needs it: parsed once, when it is read, never again per request.
package struct VerifiableKey: Sendable, Equatable {
  // Large before small: a cache holds a million of these.
  package var id: UUID
  /// What the windows of its limits are found by: the key that its lineage began with, so that a successor goes on with
  /// its predecessor's.
  package var lineageID: UUID
  package var accountID: UUID
  package var name: String
  package var scopes: [String]
  /// The key's own, or the plan's if that is lower.
  package var rateLimitPerMinute: Int
  package var namedLimits: [RateLimit]
  package var allowedIPs: [AddressBlock]?
  package var expiresAt: Date?
  /// What the account's keys share per minute; nil if there is no such limit.
  package var accountLimitPerMinute: Int?
  package var rateLimitMode: RateLimitMode
  package var accountLimitMode: RateLimitMode
  package var environment: Key.Environment
  package var isRevoked: Bool
  package var isSuspended: Bool
  package var isDisabled: Bool

  init(
    id: UUID, lineageID: UUID? = nil, accountID: UUID, name: String, environment: Key.Environment, scopes: [String],
    rateLimitPerMinute: Int, namedLimits: [RateLimit] = [], accountLimitPerMinute: Int? = nil,
    rateLimitMode: RateLimitMode = .fast, accountLimitMode: RateLimitMode = .fast, allowedIPs: [AddressBlock]? = nil,
    expiresAt: Date? = nil, isRevoked: Bool = false, isSuspended: Bool = false, isDisabled: Bool = false
  ) {
    self.id = id
    self.lineageID = lineageID ?? id
    self.accountID = accountID
    self.name = name
    self.scopes = scopes
    self.rateLimitPerMinute = rateLimitPerMinute
    self.namedLimits = namedLimits
    self.allowedIPs = allowedIPs
    self.expiresAt = expiresAt
    self.accountLimitPerMinute = accountLimitPerMinute
    self.rateLimitMode = rateLimitMode
    self.accountLimitMode = accountLimitMode
    self.environment = environment
    self.isRevoked = isRevoked
    self.isSuspended = isSuspended
    self.isDisabled = isDisabled
  }

  /// All of its limits: its own per minute, its named ones, and the account's.
  var limits: [AppliedLimit] {
    var limits = [AppliedLimit(.ofKey(perMinute: rateLimitPerMinute), rateLimitMode, of: lineageID)]
    limits += namedLimits.map { AppliedLimit($0, rateLimitMode, of: lineageID) }
    if let accountLimitPerMinute {
      limits.append(
        AppliedLimit(.ofAccount(perMinute: accountLimitPerMinute), accountLimitMode, of: accountID, isAccount: true))
    }
    return limits
  }

  var hasOneLimit: Bool { namedLimits.isEmpty && accountLimitPerMinute == nil }

  var needsConsistentLimits: Bool {
    rateLimitMode == .consistent || accountLimitPerMinute != nil && accountLimitMode == .consistent
  }

  /// The first reason to refuse, apart from limits; nil if there is none.
  package func refusal(of request: VerificationRequest, at now: Date) -> Verdict.Code? {
    if isRevoked { return .revoked }
    if isSuspended { return .suspended }
    if isDisabled { return .disabled }
    if let expiresAt, expiresAt <= now { return .expired }
    if let allowedIPs {
      guard let clientIP = request.clientIP, allowedIPs.contains(where: { $0.contains(clientIP) }) else {
        return .forbiddenAddress
      }
    }
    let isCovered = request.scopes.allSatisfy { required in scopes.contains { Scope.covers($0, required) } }
    return isCovered ? nil : .insufficientScope
  }
}

extension VerifiableKey: Invalidatable {
  package var owner: UUID? { accountID }
}
