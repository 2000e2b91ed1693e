import Foundation
import HTTPTypes
import Hummingbird
import JSON
import Portal
import PortalHTTP

/// `POST /v1/verify` and similar routes, which a gateway calls for every request to its API.
struct VerificationController {
  static let bodySizeMax = 64 << 10
  static let batchBodySizeMax = 1 << 20
  static let batchCountMax = 1_000

  let verifier: Verifier
  let keyPlaces: KeyPlaces

  func addRoutes(to routes: ServiceTokenRoutes) {
    routes.on(.verify, .verifyKeys, verify)
    routes.on(.verifyBatch, .verifyKeys, verifyBatch)
  }

  /// For gateways that can only send headers. Their token is in a header of its own.
  func addHeaderRoutes(to routes: ServiceTokenRoutes) {
    // Some gateways keep the query of the original request.
    routes.on(.authorize, .verifyKeys, query: nil, authorize)
  }

  @Sendable private func verify(_ request: Request, _ context: ServiceTokenContext) async throws -> Response {
    var fields = try await RequestFields(request, sizeMax: Self.bodySizeMax)
    let parsed = fields.verification(verifier.hash)
    let (asked, key) = try fields.finish(parsed) { $0 }
    var question = asked
    question.restrict(to: context.token)
    let verdict: Verdict
    do { verdict = try await verifier.verify(question, key) } catch let unknown as UnknownLimits {
      throw InvalidRequest(unknown.problems(at: "body"))
    }
    var response = Response(json: .object { $0.fields(of: verdict) })
    if let found = verdict.found { response.headers.append(contentsOf: HTTPFields(found.limits)) }
    response.headers.addCredits(of: verdict, isAuthorizing: false)
    return response
  }

  @Sendable private func verifyBatch(_ request: Request, _ context: ServiceTokenContext) async throws -> Response {
    var fields = try await RequestFields(request, sizeMax: Self.batchBodySizeMax)
    let asked = fields.batchItems(verifier.hash, context.token)
    let items = try fields.finish(asked) { $0 }
    var secrets: [SecretHash: Secret] = [:]
    for case .question(let question, let key) in items { if let hash = question.hash { secrets[hash] = key } }
    var verdicts = try await verifier.verify(items.compactMap(\.question), secrets)[...]
    let results: [Result<Verdict, InvalidQuestion>] = items.enumerated().compactMap { place, item in
      switch item {
      case .question:
        verdicts.popFirst()?.mapError { InvalidQuestion(problems: $0.problems(at: "body.requests[\(place)]")) }
      case .invalid(let problems): .failure(InvalidQuestion(problems: problems))
      }
    }
    return Response(
      json: .object { json in
        json.objects("results", results) { json, result in
          switch result {
          case .success(let verdict): json.fields(of: verdict)
          case .failure(let invalid):
            verifier.noteInvalidRequest()
            json.fields(ofInvalid: invalid.problems)
          }
        }
      })
  }

  @Sendable private func authorize(_ request: Request, _ context: ServiceTokenContext) async throws -> Response {
    let key = keyPlaces.key(in: request.headers)
    var question = try request.verification(of: key.flatMap(verifier.hash))
    question.restrict(to: context.token)
    return Response(authorizing: key == nil ? verifier.verifyNone() : try await verifier.verify(question, key))
  }
}

extension ServiceTokenRoutes {
  fileprivate func on(
    _ route: HotRoute, _ right: ServiceToken.Permission, query: [QueryParameter]? = [], _ handler: @escaping Handler
  ) { on(RouterPath(route.path), route.method, right, query: query, handler) }
}

/// Why a question of a batch has no verdict.
private struct InvalidQuestion: Error {
  let problems: [RequestProblem]
}

extension UnknownLimits {
  /// The problems of the question at this location.
  func problems(at location: String) -> [RequestProblem] {
    places.prefix(BatchItem.problemCountMax).map { place in
      RequestProblem(
        location: "\(location).limits[\(place)].name",
        message: "is not a limit of the key or its account; a limit that they do not have needs its numbers")
    }
  }
}

extension Verdict {
  /// The status of the response of `/v1/authorize`.
  var authorizationStatus: HTTPResponse.Status {
    switch code {
    case .valid: .ok
    case .missingKey, .notFound, .revoked, .disabled, .expired: .unauthorized
    case .suspended, .forbiddenAddress, .insufficientScope, .insufficientPermissions: .forbidden
    case .rateLimited, .usageExceeded: .tooManyRequests
    }
  }
}

extension Response {
  /// A verdict as status and headers. There is no body, because gateways discard it.
  fileprivate init(authorizing verdict: Verdict) {
    var headers: HTTPFields = [.xLatchkeyCode: verdict.code.rawValue]
    if let (key, limits) = verdict.found {
      headers[.xLatchkeyKeyID] = key.id.text
      headers[.xLatchkeyAccountID] = key.accountID.text
      headers[.xLatchkeyScopes] = key.scopes.joined(separator: " ")
      headers.append(contentsOf: HTTPFields(limits))
      headers.addCredits(of: verdict, isAuthorizing: true)
    }
    let status = verdict.authorizationStatus
    if status == .unauthorized { headers[.wwwAuthenticate] = "Bearer realm=\"api\"" }
    self.init(status: status, headers: headers)
  }
}

extension Request {
  /// The question in a gateway's headers. Throws ``InvalidRequest`` for a header with an invalid value.
  fileprivate func verification(of hash: SecretHash?) throws -> VerificationRequest {
    var question = VerificationRequest(hash: hash)
    if let scope = headers[.xRequiredScope] {
      guard let scopes = Scope.list(in: scope) else {
        throw InvalidRequest("header.X-Required-Scope", "must be a scope, or scopes separated by spaces")
      }
      question.scopes = scopes
    }
    if let text = headers[.xScopeMatch] {
      guard let match = ScopeMatch(named: text) else {
        throw InvalidRequest("header.X-Scope-Match", "must be all or any")
      }
      question.match = match
    }
    if let resource = headers[.xResource] {
      guard ResourceScopes.isValid(name: resource) else {
        throw InvalidRequest("header.X-Resource", "must match \(ResourceScopes.namePattern)")
      }
      guard !question.scopes.isEmpty else { throw InvalidRequest("header.X-Resource", "requires X-Required-Scope") }
      question.resource = ByteText(resource)
    }
    if let text = headers[.xRequiredPermission] {
      do throws(PermissionQuery.Problem) { question.permissions = try PermissionQuery(text) } catch {
        throw InvalidRequest("header.X-Required-Permission", error.message)
      }
    }
    if let text = headers[.xClientIP] {
      guard let address = AddressBlock(text), address.isSingleAddress else {
        throw InvalidRequest("header.X-Client-IP", "must be an IPv4 or IPv6 address")
      }
      question.clientIP = address
    }
    if let text = headers[.xCreditCost] {
      guard let cost = CreditCostField.parse(Array(text.utf8).span) else {
        throw InvalidRequest(
          "header.X-Credit-Cost", "must be an integer from 0 to \(VerificationRequest.creditCostMax)")
      }
      question.creditCost = cost
    }
    if let uri = headers[.xOriginalURI] {
      question.endpoint = VerificationRequest.endpoint(method: headers[.xOriginalMethod], target: uri)
    }
    return question
  }
}

// Safe: all of these are valid names.
// swift-format-ignore: NeverForceUnwrap
extension HTTPField.Name {
  static let xLatchkeyToken = HTTPField.Name("X-Latchkey-Token")!
  static let xAPIKey = HTTPField.Name("X-API-Key")!
  fileprivate static let xRequiredScope = HTTPField.Name("X-Required-Scope")!
  fileprivate static let xRequiredPermission = HTTPField.Name("X-Required-Permission")!
  fileprivate static let xScopeMatch = HTTPField.Name("X-Scope-Match")!
  fileprivate static let xResource = HTTPField.Name("X-Resource")!
  fileprivate static let xClientIP = HTTPField.Name("X-Client-IP")!
  fileprivate static let xOriginalMethod = HTTPField.Name("X-Original-Method")!
  static let xOriginalURI = HTTPField.Name("X-Original-URI")!
  fileprivate static let xLatchkeyCode = HTTPField.Name("X-Latchkey-Code")!
  fileprivate static let xLatchkeyKeyID = HTTPField.Name("X-Latchkey-Key-Id")!
  fileprivate static let xLatchkeyAccountID = HTTPField.Name("X-Latchkey-Account-Id")!
  fileprivate static let xLatchkeyScopes = HTTPField.Name("X-Latchkey-Scopes")!
}
