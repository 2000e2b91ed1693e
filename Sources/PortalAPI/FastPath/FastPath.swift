package import Foundation
import HTTPTypes
import JSON
import NIOCore
package import Portal
package import PortalHTTP

/// Answers requests for the three hot routes from memory: no `await`, no database and no header objects. Requests that
/// it cannot answer go to the ordinary route, which would have sent the same bytes.
package final class FastPath: Sendable {
  let verifier: Verifier
  let tokens: ServiceTokenVerifier
  /// The limit on requests per service token; nil if there is none.
  private let limit: RequestLimit<UUID>?
  let observer: Observer
  private let keyPlaces: KeyPlaces
  private let requestIDs: RequestIDs
  private let proxies: TrustedProxies
  private let drain: Drain
  /// Answers the connections of trusted proxies, whose request ids are kept; nil in that instance itself.
  private let forProxies: FastPath?

  package convenience init(
    verifier: Verifier, tokens: ServiceTokenVerifier, observer: Observer, keyPlaces: KeyPlaces = .standard,
    proxies: TrustedProxies = .none, limit: RequestLimit<UUID>? = nil, drain: Drain = Drain()
  ) {
    let requestIDs = RequestIDs()
    func make(_ forProxies: FastPath?) -> FastPath {
      FastPath(verifier, tokens, observer, keyPlaces, requestIDs, proxies, limit, drain, forProxies)
    }
    self.init(verifier, tokens, observer, keyPlaces, requestIDs, proxies, limit, drain, make(nil))
  }

  private init(
    _ verifier: Verifier, _ tokens: ServiceTokenVerifier, _ observer: Observer, _ keyPlaces: KeyPlaces,
    _ requestIDs: RequestIDs, _ proxies: TrustedProxies, _ limit: RequestLimit<UUID>?, _ drain: Drain,
    _ forProxies: FastPath?
  ) {
    self.verifier = verifier
    self.tokens = tokens
    self.limit = limit
    self.observer = observer
    self.keyPlaces = keyPlaces
    self.requestIDs = requestIDs
    self.proxies = proxies
    self.drain = drain
    self.forProxies = forProxies
  }

  /// The fast path for connections from this peer.
  func answering(_ peer: SocketAddress?) -> FastPath {
    guard let forProxies, proxies.isTrusted(peer: peer?.ipAddress) else { return self }
    return forProxies
  }

  /// Buffers that a connection reuses, so that most requests allocate no memory of their own.
  struct Scratch {
    fileprivate var head: [UInt8] = []
    fileprivate var body = JSONWriter()
    fileprivate var date = DateText()
    fileprivate var requestID: [UInt8] = []
    fileprivate var token = RememberedToken()
  }

  /// The outcome of a request.
  enum Outcome {
    /// The answer was written.
    case answered
    /// The request is for the ordinary route. Nothing was counted.
    case notHere
    /// The request may be answered here once its keys are looked up. Nothing was counted.
    case missing(LookUp)
  }

  /// The keys that a request needs and that are not in the cache; without any, the credits of the only key.
  final class LookUp: Sendable {
    /// When the request was first seen.
    let start: Moment
    /// The parsed request, so that it need not be parsed again.
    let questions: [VerificationRequest]
    let hashes: [SecretHash]
    let secrets: [SecretHash: Secret]

    init(
      start: Moment, questions: [VerificationRequest], hashes: [SecretHash], secrets: [SecretHash: Secret] = [:]
    ) {
      self.start = start
      self.questions = questions
      self.hashes = hashes
      self.secrets = secrets
    }
  }

  /// Whether the body of a request is buffered here. It is only for a hot route, up to that route's size limit, and
  /// with a token known to be valid, so that nobody else can fill the memory.
  func gathers(_ request: PlainRequest, _ bytes: Span<UInt8>, _ scratch: inout Scratch) -> Bool {
    let sizeMax: Int
    switch request.target {
    case .verify: sizeMax = VerificationController.bodySizeMax
    case .verifyBatch: sizeMax = VerificationController.batchBodySizeMax
    case .authorize, nil: return false
    }
    guard !request.fields.hasRepetition, request.bodyCount <= sizeMax, Self.isJSON(request, bytes) else { return false }
    return token(request.fields.authorization, isBearer: true, bytes, &scratch.token, at: verifier.clock.now) != nil
  }

  /// Writes the answer to `output`, or writes nothing. After `.missing`, call ``perform(_:)``, then call this again
  /// with the same request and that look-up.
  func answer(
    _ request: PlainRequest, _ bytes: Span<UInt8>, after lookUp: LookUp? = nil, _ scratch: inout Scratch,
    into output: inout ByteBuffer
  ) -> Outcome {
    // The ordinary route closes connections while the server drains.
    guard !request.fields.hasRepetition, !drain.isBegun else { return .notHere }
    let now = verifier.clock.now
    noteID(of: request, bytes, &scratch)
    guard let route = request.target else { return .notHere }
    var status = 200
    var counted: UUID?
    switch route {
    case .verify:
      guard let token = token(request.fields.authorization, isBearer: true, bytes, &scratch.token, at: now),
        hasRoom(token, &counted), Self.isJSON(request, bytes), request.bodyCount <= VerificationController.bodySizeMax
      else { return .notHere }
      let judged = judged(bytes, with: token, after: lookUp, at: now) { VerificationScanner.request($0, request.body) }
      guard let verdict = judged.verdict else { return judged.outcome }
      write(verdict, &scratch, at: now)
    case .verifyBatch:
      guard let token = token(request.fields.authorization, isBearer: true, bytes, &scratch.token, at: now),
        hasRoom(token, &counted), Self.isJSON(request, bytes)
      else { return .notHere }
      let judged = judgedAll(bytes, request.body, with: token, after: lookUp, at: now)
      guard let verdicts = judged.verdicts else { return judged.outcome }
      write(verdicts, &scratch, at: now)
    case .authorize:
      guard let token = token(request.fields.token, isBearer: false, bytes, &scratch.token, at: now),
        hasRoom(token, &counted), request.bodyCount == 0
      else { return .notHere }
      let verdict: Verdict
      switch keyPlaces.key(in: request, bytes) {
      case .unclear: return .notHere
      case .none:
        guard Self.question(request.fields, nil, bytes) != nil else { return .notHere }
        verdict = verifier.verifyNone()
      case .key(let key):
        let judged = judged(bytes, with: token, after: lookUp, at: now) { bytes in
          Self.question(request.fields, key, bytes).map { ($0, key) }
        }
        guard let found = judged.verdict else { return judged.outcome }
        verdict = found
      }
      status = writeHead(authorizing: verdict, &scratch, at: now)
    }
    if let counted { limit?.note(counted) }
    output.writeBytes(scratch.head)
    output.writeBytes(scratch.body.bytes)
    observer.observe(
      .answered(
        route: route.path, method: route.method.rawValue, status: status,
        nanoseconds: Int64((ContinuousClock.now - (lookUp?.start ?? now).instant) / .nanoseconds(1))))
    return .answered
  }

  /// Reads the keys into the cache, or asks for credits. Ignores errors: the ordinary route reports them.
  func perform(_ lookUp: LookUp) async {
    if lookUp.hashes.isEmpty, let question = lookUp.questions.first {
      await verifier.fetchCredits(for: question)
    } else {
      _ = try? await verifier.keys.values(of: lookUp.hashes, lookUp.secrets)
    }
  }

  // MARK: Verdicts

  private func judged(
    _ bytes: Span<UInt8>, with token: KnownServiceToken, after lookUp: LookUp?, at moment: Moment,
    _ asked: (Span<UInt8>) -> VerificationScanner.Asked?
  ) -> (verdict: Verdict?, outcome: Outcome) {
    if let lookUp { return (verdicts(after: lookUp, at: moment)?.first, .notHere) }
    guard var asked = asked(bytes) else { return (nil, .notHere) }
    asked.request.restrict(to: token.token)
    if let verdict = verifier.verifyCached(asked.request, at: moment) { return (verdict, .answered) }
    let (verdicts, outcome) = missing([asked.request], [asked.key], bytes, at: moment)
    return (verdicts?.first, outcome)
  }

  /// Like ``judged(_:with:after:at:_:)``, for a batch.
  private func judgedAll(
    _ bytes: Span<UInt8>, _ body: Range<Int>, with token: KnownServiceToken, after lookUp: LookUp?, at moment: Moment
  ) -> (verdicts: [Verdict]?, outcome: Outcome) {
    if let lookUp { return (verdicts(after: lookUp, at: moment), .notHere) }
    guard var asked = VerificationScanner.requests(bytes, body) else { return (nil, .notHere) }
    if token.token.environment != nil || token.token.apiIDs != nil {
      for place in asked.requests.indices { asked.requests[place].restrict(to: token.token) }
    }
    if let verdicts = verifier.verifyCached(asked.requests, at: moment) { return (verdicts, .answered) }
    return missing(asked.requests, asked.keys, bytes, at: moment)
  }

  private func verdicts(after lookUp: LookUp, at moment: Moment) -> [Verdict]? {
    verifier.verifyCached(lookUp.questions, lookedUp: lookUp.hashes.count, at: moment)
  }

  /// Returns the look-up for requests that could not be judged from the cache. Only well-formed keys are looked up,
  /// unless keys were imported.
  /// Checking the form of a key takes longer than looking it up in the cache, so it is done here and not before. If no
  /// key is well-formed, the requests can be judged now. A single key that lacks credits waits for them, too.
  private func missing(
    _ requests: [VerificationRequest], _ keys: [Range<Int>], _ bytes: Span<UInt8>, at moment: Moment
  ) -> (verdicts: [Verdict]?, outcome: Outcome) {
    guard let places = verifier.missing(requests, at: moment) else { return (nil, .notHere) }
    if places.isEmpty {
      guard requests.count == 1, verifier.lacksCredits(requests[0], at: moment) else { return (nil, .notHere) }
      return (nil, .missing(LookUp(start: moment, questions: requests, hashes: [])))
    }
    var requests = requests
    var secrets: [SecretHash: Secret] = [:]
    for place in places {
      let secret = Secret(presented: bytes.text(keys[place]))
      requests[place].hash = verifier.hash(of: secret)
      if let hash = requests[place].hash { secrets[hash] = secret }
    }
    let hashes = places.compactMap { requests[$0].hash }
    if hashes.isEmpty { return (verifier.verifyCached(requests, at: moment), .notHere) }
    return (nil, .missing(LookUp(start: moment, questions: requests, hashes: hashes, secrets: secrets)))
  }

  // MARK: Questions

  /// The service token in a field, if the cache knows it to be valid.
  private func token(
    _ field: Range<Int>?, isBearer: Bool, _ bytes: Span<UInt8>, _ remembered: inout RememberedToken, at moment: Moment
  ) -> KnownServiceToken? {
    guard let field, let token = isBearer ? Self.bearer(field, bytes) : field,
      (1...Secret.lengthMax).contains(token.count)
    else { return nil }
    return tokens.findCached(remembered.hash(of: bytes.extracting(token)), for: .verifyKeys, at: moment)
  }

  /// Whether the token is within its request limit; if not, the ordinary route refuses the request. Only requests
  /// answered here are counted here: the ordinary route counts those that it gets.
  private func hasRoom(_ token: KnownServiceToken, _ counted: inout UUID?) -> Bool {
    guard let limit else { return true }
    counted = token.id
    return limit.hasRoom(token.id)
  }

  /// The range of the token after `Bearer ` in any case; nil if any other space or tab follows.
  private static func bearer(_ field: Range<Int>, _ bytes: Span<UInt8>) -> Range<Int>? {
    let scheme: StaticString = "bearer "
    guard bytes.begins(inAnyCase: scheme, at: field) else { return nil }
    let token = field.lowerBound + scheme.utf8CodeUnitCount..<field.upperBound
    for index in token where bytes[index] == UInt8(ascii: " ") || bytes[index] == UInt8(ascii: "\t") { return nil }
    return token
  }

  /// Whether the body is declared as JSON, without a content coding.
  private static func isJSON(_ request: PlainRequest, _ bytes: Span<UInt8>) -> Bool {
    let wanted: StaticString = "application/json"
    if let coding = request.fields.contentEncoding {
      let identity: StaticString = "identity"
      guard coding.count == identity.utf8CodeUnitCount, bytes.begins(inAnyCase: identity, at: coding) else {
        return false
      }
    }
    guard let type = request.fields.contentType, bytes.begins(inAnyCase: wanted, at: type) else { return false }
    return type.count == wanted.utf8CodeUnitCount
      || bytes[type.lowerBound + wanted.utf8CodeUnitCount] == UInt8(ascii: ";")
  }

  /// The question in a gateway's header fields; nil if the ordinary route has to refuse it.
  private static func question(
    _ fields: PlainRequest.Fields, _ key: Range<Int>?, _ bytes: Span<UInt8>
  ) -> VerificationRequest? {
    var question = VerificationRequest(hash: key.map { SecretHash(of: bytes.extracting($0)) })
    if let field = fields.requiredScope {
      guard let scopes = Scope.list(in: bytes.text(field)) else { return nil }
      question.scopes = scopes
    }
    if let field = fields.scopeMatch {
      guard let match = ScopeMatch(named: bytes.text(field)) else { return nil }
      question.match = match
    }
    if let field = fields.resource {
      let resource = bytes.text(field)
      guard ResourceScopes.isValid(name: resource), !question.scopes.isEmpty else { return nil }
      question.resource = ByteText(resource)
    }
    if let field = fields.requiredPermission {
      guard let permissions = try? PermissionQuery(bytes.text(field)) else { return nil }
      question.permissions = permissions
    }
    if let field = fields.clientIP {
      guard let address = AddressBlock(bytes.text(field)), address.isSingleAddress else {
        return nil
      }
      question.clientIP = address
    }
    if let field = fields.creditCost {
      guard let cost = CreditCostField.parse(bytes.extracting(field)) else { return nil }
      question.creditCost = cost
    }
    if let uri = fields.originalURI {
      question.endpoint = VerificationRequest.endpoint(in: bytes, method: fields.originalMethod, target: uri)
    }
    return question
  }

  // MARK: Answers

  private func noteID(of request: PlainRequest, _ bytes: Span<UInt8>, _ scratch: inout Scratch) {
    scratch.requestID.removeAll(keepingCapacity: true)
    if forProxies == nil, let field = request.fields.requestID, RequestIdentity.isID(bytes.extracting(field)) {
      bytes.extracting(field).withUnsafeBufferPointer { scratch.requestID.append(contentsOf: $0) }
    } else {
      requestIDs.append(to: &scratch.requestID)
    }
  }

  private func write(_ verdict: Verdict, _ scratch: inout Scratch, at moment: Moment) {
    scratch.body.clear()
    scratch.body.object { $0.fields(of: verdict) }
    writeJSONHead(&scratch)
    if let limits = verdict.found?.limits { scratch.head.add(limits) }
    scratch.head.addCredits(of: verdict, isAuthorizing: false)
    endHead(&scratch, at: moment)
  }

  private func write(_ verdicts: [Verdict], _ scratch: inout Scratch, at moment: Moment) {
    scratch.body.clear()
    scratch.body.object { json in
      json.array("results", verdicts) { json, verdict in json.object { $0.fields(of: verdict) } }
    }
    writeJSONHead(&scratch)
    endHead(&scratch, at: moment)
  }

  private func writeJSONHead(_ scratch: inout Scratch) {
    scratch.head.removeAll(keepingCapacity: true)
    scratch.head.append("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nCache-Control: no-store")
    writeLength(&scratch)
  }

  /// Returns the status code.
  private func writeHead(authorizing verdict: Verdict, _ scratch: inout Scratch, at moment: Moment) -> Int {
    scratch.body.clear()
    scratch.head.removeAll(keepingCapacity: true)
    let status = verdict.authorizationStatus
    switch status {
    case .ok: scratch.head.append("HTTP/1.1 200 OK")
    case .unauthorized: scratch.head.append("HTTP/1.1 401 Unauthorized")
    case .forbidden: scratch.head.append("HTTP/1.1 403 Forbidden")
    default: scratch.head.append("HTTP/1.1 429 Too Many Requests")
    }
    scratch.head.append("\r\nX-Latchkey-Code: ")
    scratch.head.append(text: verdict.code.rawValue)
    if let (key, limits) = verdict.found {
      scratch.head.append("\r\nX-Latchkey-Key-Id: ")
      scratch.head.append(hex: key.id)
      scratch.head.append("\r\nX-Latchkey-Account-Id: ")
      scratch.head.append(hex: key.accountID)
      scratch.head.append("\r\nX-Latchkey-Scopes: ")
      for (index, scope) in key.scopes.enumerated() {
        if index > 0 { scratch.head.append(UInt8(ascii: " ")) }
        scratch.head.append(text: scope)
      }
      scratch.head.add(limits)
      scratch.head.addCredits(of: verdict, isAuthorizing: true)
    }
    if status == .unauthorized { scratch.head.append("\r\nWWW-Authenticate: Bearer realm=\"api\"") }
    writeLength(&scratch)
    endHead(&scratch, at: moment)
    return status.code
  }

  private func writeLength(_ scratch: inout Scratch) {
    scratch.head.append("\r\nContent-Length: ", decimal: scratch.body.bytes.count)
  }

  private func endHead(_ scratch: inout Scratch, at moment: Moment) {
    scratch.head.append("\r\nX-Request-Id: ")
    scratch.head.append(contentsOf: scratch.requestID)
    scratch.head.append("\r\nDate: ")
    scratch.head.append(contentsOf: scratch.date.bytes(at: Int(bounding: moment.date.timeIntervalSince1970)))
    scratch.head.append("\r\n\r\n")
  }
}
