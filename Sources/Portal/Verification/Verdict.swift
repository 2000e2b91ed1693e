package import Foundation
package import JSON

/// A question from a gateway about one request of its API.
package struct VerificationRequest: Sendable, Equatable {
  package static let costMax = 1_000
  package static let creditCostMax = 1_000_000
  package static var endpointLengthMax: Int { UsageCounter.endpointLengthMax }
  /// The name under which usage is counted if the request names no endpoint.
  package static let endpointDefault = "unspecified"

  /// Nil if the presented text cannot be a key, see ``Verifier/hash(of:)``.
  package var hash: SecretHash?
  /// The key must have all of these scopes, or one of them if ``match`` says so.
  package var scopes: [String]
  package var clientIP: AddressBlock?
  package var endpoint: String
  package var cost: Int
  /// What the request takes of the credits of its key, if that has any; 0…``creditCostMax``.
  package var creditCost: Int
  /// If set, keys of other environments are not found.
  package var environment: Key.Environment?
  /// Nil for most requests.
  private var demands: GrantDemands?

  package init(
    hash: SecretHash?, scopes: [String] = [], clientIP: AddressBlock? = nil,
    endpoint: String = VerificationRequest.endpointDefault, cost: Int = 1, environment: Key.Environment? = nil,
    api: CatalogReference? = nil, apiIDs: [UUID]? = nil, permissions: PermissionQuery? = nil, limits: [LimitAsk] = [],
    resource: String? = nil, match: ScopeMatch = .all, creditCost: Int = 1
  ) {
    self.hash = hash
    self.scopes = scopes
    self.clientIP = clientIP
    self.endpoint = endpoint
    self.cost = cost
    self.creditCost = creditCost
    self.environment = environment
    demands = GrantDemands(
      GrantDemands.Values(
        api: api, apiIDs: apiIDs, permissions: permissions, limits: limits, resource: resource.map(ByteText.init),
        match: match))
  }

  /// If set, keys for other apis are not found.
  package var api: CatalogReference? { demands?.values.api }

  /// If set, keys for none of these apis are not found.
  package var apiIDs: [UUID]? {
    get { demands?.values.apiIDs }
    set { demand { $0.apiIDs = newValue } }
  }

  /// What the permissions of the key must meet.
  package var permissions: PermissionQuery? {
    get { demands?.values.permissions }
    set { demand { $0.permissions = newValue } }
  }

  /// The resource that the request is about: the key's scopes for it count like those that it has for everything.
  package var resource: ByteText? {
    get { demands?.values.resource }
    set { demand { $0.resource = newValue } }
  }

  package var match: ScopeMatch {
    get { demands?.values.match ?? .all }
    set { demand { $0.match = newValue } }
  }

  /// The limits that the request names, each once.
  package var limits: [LimitAsk] { demands?.values.limits ?? [] }

  var namesEndpoint: Bool { !endpoint.hasSameBytes(as: Self.endpointDefault) }

  var namesLimits: Bool { demands?.values.limits.isEmpty == false }

  private mutating func demand(_ change: (inout GrantDemands.Values) -> Void) {
    var values = demands?.values ?? GrantDemands.Values()
    change(&values)
    demands = GrantDemands(values)
  }

  /// The endpoint name for a method and a target, as gateways pass them on. The query is left out, because it would
  /// make every request an endpoint of its own.
  package static func endpoint(method: String?, target: String) -> String {
    let methodCount = method?.utf8.count
    var text = (method ?? "") + target
    return text.withUTF8 { text in
      endpoint(in: text.span, method: methodCount.map { 0..<$0 }, target: (methodCount ?? 0)..<text.count)
    }
  }

  /// As ``endpoint(method:target:)``, for two ranges of a UTF-8 text, with one allocation at most.
  package static func endpoint(in bytes: Span<UInt8>, method: Range<Int>?, target: Range<Int>) -> String {
    var end = target.lowerBound
    while end < target.upperBound, bytes[end] != UInt8(ascii: "?") { end += 1 }
    let path = target.lowerBound..<end
    let byteCount = (method.map { $0.count + 1 } ?? 0) + path.count
    guard byteCount > 0 else { return endpointDefault }
    // No character takes more than four bytes.
    return String(unsafeUninitializedCapacity: min(byteCount, 4 * endpointLengthMax)) { text in
      var (place, length) = (0, 0)
      func put(_ byte: UInt8) {
        let isContinuation = byte & 0xC0 == 0x80
        if !isContinuation { length += 1 }
        guard length <= endpointLengthMax else { return }
        text.initializeElement(at: place, to: byte)
        place += 1
      }
      if let method {
        for index in method { put(bytes[index]) }
        put(UInt8(ascii: " "))
      }
      for index in path { put(bytes[index]) }
      return place
    }
  }
}

/// The answer to the question whether a key is good for a request. A refusal is a value, never an error.
package struct Verdict: Sendable {
  package typealias Code = VerdictCode

  package var code: Code
  /// The key that was found and the state of its limits; nil for `.missingKey` and `.notFound`.
  package var found: (key: VerifiableKey, limits: RateLimitDecision)?
  /// What is left of the credits of the key; nil if it has none, or this instance has not asked for them yet.
  package var credits: CreditStanding?

  package var isValid: Bool { code == .valid }
  package static let notFound = Verdict(code: .notFound, found: nil)
  /// No key was presented, so none was looked up.
  static let missingKey = Verdict(code: .missingKey, found: nil)
}

/// A key in the form that verification needs: parsed once, when it is read, and not for every request.
package struct VerifiableKey: Sendable, Equatable {
  // Large fields come first to avoid padding: a cache holds a million of these.
  package var id: UUID
  package var name: String
  package var scopes: [String]
  package var allowedIPs: [AddressBlock]?
  /// Nil for most keys.
  package var grants: KeyGrants?
  /// Nil for most keys.
  package var credits: KeyCredits?
  package var expiresAt: Date?
  package var limits: KeyLimits
  package var environment: Key.Environment
  package var isRevoked: Bool
  package var isSuspended: Bool
  package var isDisabled: Bool

  init(
    id: UUID, lineageID: UUID? = nil, accountID: UUID, name: String, environment: Key.Environment, scopes: [String],
    rateLimitPerMinute: Int?, namedLimits: [RateLimit] = [], accountLimitPerMinute: Int? = nil,
    accountLimits: [RateLimit] = [], rateLimitMode: RateLimitMode = .fast, accountLimitMode: RateLimitMode = .fast,
    allowedIPs: [AddressBlock]? = nil,
    expiresAt: Date? = nil, isRevoked: Bool = false, isSuspended: Bool = false, isDisabled: Bool = false,
    grants: KeyGrants? = nil, credits: KeyCredits? = nil
  ) {
    self.id = id
    self.name = name
    self.scopes = scopes
    self.allowedIPs = allowedIPs
    self.grants = grants
    self.credits = credits
    self.expiresAt = expiresAt
    limits = KeyLimits(
      lineageID: lineageID ?? id, accountID: accountID, perMinute: rateLimitPerMinute, named: namedLimits,
      mode: rateLimitMode, accountPerMinute: accountLimitPerMinute, accountNamed: accountLimits,
      accountMode: accountLimitMode)
    self.environment = environment
    self.isRevoked = isRevoked
    self.isSuspended = isSuspended
    self.isDisabled = isDisabled
  }

  package var accountID: UUID { limits.accountID }

  /// The first reason to refuse a request, limits excepted; nil if there is none.
  package func refusal(of request: VerificationRequest, at now: Date) -> Verdict.Code? {
    var refusal: Verdict.Code?
    check(request, at: now) { code, isPassed in
      if !isPassed { refusal = code }
      return isPassed
    }
    return refusal
  }

  /// Makes the checks that need nothing but the key, in their order, until `goesOn` returns false. It gets the code
  /// with which a failed check refuses the request, and whether the check passed. Inlined, so that a refusal costs no
  /// more than the checks before it.
  @inline(__always)
  func check(_ request: VerificationRequest, at now: Date, _ goesOn: (Verdict.Code, Bool) -> Bool) {
    guard goesOn(.revoked, !isRevoked), goesOn(.suspended, !isSuspended), goesOn(.disabled, !isDisabled),
      goesOn(.expired, expiresAt.map { $0 > now } ?? true),
      goesOn(.forbiddenAddress, isAllowed(from: request.clientIP)),
      goesOn(.insufficientScope, covers(request))
    else { return }
    _ = goesOn(.insufficientPermissions, meets(request.permissions))
  }

  /// Whether the key may be used from the address; nil: from one that is not known.
  func isAllowed(from address: AddressBlock?) -> Bool {
    guard let allowedIPs else { return true }
    guard let address else { return false }
    return allowedIPs.contains { $0.contains(address) }
  }

  private func covers(_ request: VerificationRequest) -> Bool {
    // Nearly always, the key itself has all of them.
    request.scopes.allSatisfy { required in scopes.contains { Scope.covers($0, required) } } || hasScopes(for: request)
  }

  private func meets(_ query: PermissionQuery?) -> Bool {
    guard let query else { return true }
    return query.isMet { grants?.has($0) ?? false }
  }

  /// Whether the key has the scopes that the request requires, itself or for the request's resource. Without any
  /// scopes, nothing is required.
  private func hasScopes(for request: VerificationRequest) -> Bool {
    func has(_ required: String) -> Bool {
      if scopes.contains(where: { Scope.covers($0, required) }) { return true }
      guard let grants, let resource = request.resource else { return false }
      return grants.has(required, for: resource)
    }
    return switch request.match {
    case .all: request.scopes.allSatisfy(has)
    case .any: request.scopes.isEmpty || request.scopes.contains(where: has)
    }
  }

  /// What the request takes from limits; nil if there are only limits per minute.
  func charges(of request: VerificationRequest) -> LimitCharges? {
    let endpoint = grants?.endpointLimits.flatMap { limits in
      request.namesEndpoint ? limits.limit(for: request.endpoint, roles: grants?.roles ?? []) : nil
    }
    if limits.allNamed == nil, !request.namesLimits, endpoint == nil { return nil }
    return limits.charges(cost: request.cost, asks: request.limits, endpoint: endpoint)
  }

  /// Whether there is such a key for the request: it is of the environment and for the api that the request may ask
  /// about.
  func isFound(by request: VerificationRequest) -> Bool {
    environment.isWithin(request.environment) && isForApi(of: request)
  }

  /// Whether the key is for the api that the request names, and for one that it may ask about.
  func isForApi(of request: VerificationRequest) -> Bool {
    guard let grants else { return true }
    return grants.isFor(request.api, among: request.apiIDs)
  }
}

extension VerifiableKey: Invalidatable {
  package var owner: UUID? { accountID }
  package var dependsOnCatalog: Bool { grants?.dependsOnCatalog ?? false }
}
