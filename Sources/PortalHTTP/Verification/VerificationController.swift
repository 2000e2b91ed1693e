import Foundation
import HTTPTypes
import Hummingbird
import Portal

/// `POST /v1/verify`: what a gateway asks on every request of its API.
struct VerificationController {
  static let bodySizeMax = 64 << 10

  let verifier: Verifier

  func addRoutes(to routes: some RouterMethods<GatewayContext>) {
    routes.post("v1/verify", use: verify)
  }

  @Sendable private func verify(_ request: Request, _ context: GatewayContext) async throws -> Response {
    var fields = try await RequestFields(request, sizeMax: Self.bodySizeMax)
    let question = fields.verification()
    try fields.finish()
    let verdict = try await verifier.verify(question)
    var response = Response(json: .object { $0.fields(of: verdict) })
    if let found = verdict.found { response.headers.append(contentsOf: HTTPFields(found.rateLimit)) }
    return response
  }
}

extension RequestFields {
  mutating func verification() -> VerificationRequest {
    let key = string("key", 1...Secret.lengthMax)
    var scopes = optionalList("scopes", 0...Scope.countMax, "must be a scope") { Scope.isValid($0) ? $0 : nil } ?? []
    if let scope = optionalString("scope", 1...Scope.lengthMax) {
      if Scope.isValid(scope) { scopes.append(scope) } else { refuse("scope", "must be a scope") }
    }
    var clientIP: AddressBlock?
    if let text = optionalString("clientIP", 1...64) {
      clientIP = AddressBlock(text)
      if clientIP?.isSingleAddress != true { refuse("clientIP", "must be an IPv4 or IPv6 address") }
    }
    return VerificationRequest(
      key: Secret(presented: key), scopes: scopes, clientIP: clientIP,
      endpoint: optionalString("endpoint", 1...VerificationRequest.endpointLengthMax)
        ?? VerificationRequest.endpointDefault,
      cost: integer("cost", 1...VerificationRequest.costMax, default: 1))
  }
}

extension JSONWriter {
  fileprivate mutating func fields(of verdict: Verdict) {
    field("valid", verdict.isValid)
    field("code", verdict.code.rawValue)
    guard let (key, rateLimit) = verdict.found else { return }
    field("keyId", key.id)
    field("accountId", key.accountID)
    field("name", key.name)
    field("environment", key.environment.rawValue)
    field("scopes", key.scopes)
    field("expiresAt", key.expiresAt)
    object("rateLimit") { json in
      json.field("limit", rateLimit.limit)
      json.field("remaining", rateLimit.remaining)
      json.field("resetSeconds", rateLimit.resetSeconds)
    }
  }
}

extension HTTPFields {
  /// draft-ietf-httpapi-ratelimit-headers, the older `X-RateLimit-*` beside it, and `Retry-After` when limited.
  fileprivate init(_ rateLimit: SlidingWindow.Decision) {
    self.init()
    self[.rateLimitPolicy] = "\"default\";q=\(rateLimit.limit);w=60"
    self[.rateLimit] = "\"default\";r=\(rateLimit.remaining);t=\(rateLimit.resetSeconds)"
    self[.xRateLimitLimit] = "\(rateLimit.limit)"
    self[.xRateLimitRemaining] = "\(rateLimit.remaining)"
    self[.xRateLimitReset] = "\(rateLimit.resetSeconds)"
    if !rateLimit.isAdmitted { self[.retryAfter] = "\(rateLimit.retryAfterSeconds)" }
  }
}

// Safe, all of them: these are valid names.
// swift-format-ignore: NeverForceUnwrap
extension HTTPField.Name {
  fileprivate static let rateLimitPolicy = HTTPField.Name("RateLimit-Policy")!
  fileprivate static let rateLimit = HTTPField.Name("RateLimit")!
  fileprivate static let xRateLimitLimit = HTTPField.Name("X-RateLimit-Limit")!
  fileprivate static let xRateLimitRemaining = HTTPField.Name("X-RateLimit-Remaining")!
  fileprivate static let xRateLimitReset = HTTPField.Name("X-RateLimit-Reset")!
}
