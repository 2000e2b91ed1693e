import HTTPTypes
import Hummingbird
import NIOCore
import NIOHTTP1
import Portal
import Postgres

/// The one place where what went wrong inside becomes what a client is told.
extension Problem {
  /// Seconds after which a client may try again when something is unavailable.
  private static let retryAfterSeconds = 1

  package init(_ error: any Error) {
    switch error {
    case let problem as Problem: self = problem
    case let error as InvalidRequest: self = .naming(error.problems, .badRequest, .invalidRequest)
    case let error as PortalError: self.init(error)
    case let error as PostgresError: self.init(error)
    case let error as HTTPError: self.init(error)
    case is NIOTooManyBytesError: self = .bodyTooLarge
    case is ClientGone: self = .clientGone
    case is HTTPParserError: self.init(.badRequest, .invalidRequest, "The body is not HTTP/1.1.")
    case is CancellationError: self = .unavailable
    default: self = .internalError
    }
  }

  private init(_ error: PortalError) {
    switch error {
    case .unauthenticated:
      self.init(
        .unauthorized, .unauthenticated, "A valid session or token is needed.",
        headers: [.wwwAuthenticate: "Bearer realm=\"latchkey\""])
    case .invalidCredentials:
      self.init(
        .unauthorized, .invalidCredentials, "The e-mail address or the password is wrong.",
        headers: [.wwwAuthenticate: "Bearer realm=\"latchkey\""])
    case .secondFactorRequired:
      self.init(
        .unauthorized, .secondFactorRequired, "Logging in takes a code of the second factor, in the field code.",
        headers: [.wwwAuthenticate: "Bearer realm=\"latchkey\""])
    case .secondFactorInvalid:
      self.init(
        .unauthorized, .secondFactorInvalid, "The code is wrong, or was used before.",
        headers: [.wwwAuthenticate: "Bearer realm=\"latchkey\""])
    case .secondFactorEnabled:
      self.init(.conflict, .secondFactorEnabled, "There is a second factor already; disable it first.")
    case .secondFactorNotConfigured:
      self.init(.conflict, .secondFactorNotConfigured, "This portal has no SECRET_KEY to keep a second factor under.")
    case .enrolmentRequired:
      self.init(
        .forbidden, .enrolmentRequired, "Staff need a second factor here; set one up at /v1/support/me/second-factor.")
    case .forbidden(let reason):
      self.init(.forbidden, .forbidden, reason)
    case .scopeNotAllowed(let errors):
      self = .naming(errors, .forbidden, .scopeNotAllowed)
    case .limitNotAllowed(let errors):
      self = .naming(errors, .forbidden, .limitNotAllowed)
    case .policyViolation(let errors):
      self = .naming(errors, .forbidden, .policyViolation)
    case .notFound:
      self.init(.notFound, .notFound, "There is no such thing here.")
    case .invalid(let errors):
      self = .naming(errors, .badRequest, .invalidRequest)
    case .notAKey:
      self.init(
        .badRequest, .notAKey,
        "This is no key of this portal, whoever's: it is mistyped, cut off, another secret, or something else.",
        errors: [RequestProblem(location: "body.key", message: "is no key of this portal")])
    case .keyCapReached(let cap):
      self.init(.conflict, .keyCapReached, "The account has \(cap) live keys, as many as its plan allows.")
    case .keyNotActive:
      self.init(.conflict, .keyNotActive, "The key is revoked, expired, disabled or rolled, so this cannot be done.")
    case .tokenNotActive:
      self.init(.conflict, .tokenNotActive, "The token is revoked, expired or rolled, so this cannot be done.")
    case .preconditionFailed:
      self.init(
        .preconditionFailed, .preconditionFailed, "It has been changed since; read it again for its present ETag.")
    case .emailTaken:
      self.init(.conflict, .emailTaken, "The e-mail address is taken.")
    case .alreadyMember:
      self.init(.conflict, .alreadyMember, "This person belongs to the account already.")
    case .lastOwner:
      self.init(.conflict, .lastOwner, "An account keeps an owner; make another member one first.")
    case .lastAdmin:
      self.init(
        .conflict, .lastAdmin, "An admin who may log in stays among staff; make another member of staff one first.")
    case .emailVerified:
      self.init(.conflict, .emailVerified, "The e-mail address is confirmed already.")
    case .invalidToken:
      self.init(.badRequest, .invalidToken, "The token was used, is over, or never was one. Ask for another.")
    case .mailNotConfigured:
      self.init(.forbidden, .mailNotConfigured, "This needs mail, and no mail is sent here. Ask the operator.")
    case .tooManyRequests(let seconds):
      self.init(
        .tooManyRequests, .tooManyRequests, "Too many attempts; try again in \(seconds) s.",
        headers: [.retryAfter: "\(seconds)"])
    case .rateLimited(let decision):
      let limit = decision.own.limit
      self.init(
        .tooManyRequests, .rateLimited,
        "Too many requests: the limit by \(limit.name) is \(limit.limit) in \(limit.windowSeconds) s.",
        headers: HTTPFields(decision))
    case .accountBusy:
      self.init(
        .tooManyRequests, .accountBusy, "Too many requests of this account are waiting; send fewer at once.",
        headers: [.retryAfter: "\(Self.retryAfterSeconds)"])
    case .unavailable:
      self = .unavailable
    case .idempotencyConflict:
      self.init(
        .conflict, .idempotencyConflict, "The Idempotency-Key was used for another request within the last day.")
    }
  }

  private init(_ error: PostgresError) {
    // Who was erased while the request was under way has no session any more.
    guard !error.violates("audit_events_actor_present") else {
      self.init(PortalError.unauthenticated)
      return
    }
    self =
      if error.code == .commitUnknown {
        .outcomeUnknown
      } else {
        error.isUnavailable || error.code == .cancelled ? .unavailable : .internalError
      }
  }

  /// What the framework itself threw.
  private init(_ error: HTTPError) {
    switch error.status {
    case .notFound: self.init(PortalError.notFound)
    case .contentTooLarge: self = .bodyTooLarge
    case .unsupportedMediaType: self = .unsupportedMediaType
    case .serviceUnavailable: self = .unavailable
    default:
      self =
        error.status.kind == .clientError
        ? Problem(.badRequest, .invalidRequest, "The request could not be read.") : .internalError
    }
  }

  private static func naming(_ errors: [FieldProblem], _ status: HTTPResponse.Status, _ code: Code) -> Problem {
    naming(errors.map { RequestProblem($0) }, status, code)
  }

  private static func naming(_ errors: [RequestProblem], _ status: HTTPResponse.Status, _ code: Code) -> Problem {
    let first = errors.first.map { "\($0.location) \($0.message)" } ?? "The request is not valid"
    return Problem(status, code, first + ".", errors: errors)
  }

  static let bodyTooLarge = Problem(.contentTooLarge, .bodyTooLarge, "The body is larger than this route takes.")

  static let unsupportedMediaType = Problem(
    .unsupportedMediaType, .unsupportedMediaType, "The body must be application/json.")

  /// Says what to send instead (RFC 9110 12.5.3).
  static let unsupportedContentCoding = Problem(
    .unsupportedMediaType, .unsupportedContentCoding,
    "The body must come as it is, not compressed: no Content-Encoding is taken but identity.",
    headers: [.acceptEncoding: "identity"])

  /// Nobody reads this answer. It is for the metrics, with the status that nginx logs in such a case.
  static let clientGone = Problem(
    .init(code: 499, reasonPhrase: "Client Closed Request"), .clientGone,
    "The connection ended before the request had come in whole.")

  package static let unavailable = Problem(
    .serviceUnavailable, .unavailable, "The service cannot answer right now.",
    headers: [.retryAfter: "\(retryAfterSeconds)"])

  /// Without `Retry-After`: to repeat it blindly might do it twice.
  static let outcomeUnknown = Problem(
    .serviceUnavailable, .outcomeUnknown,
    "The change was begun, and whether it stands is not known yet. Read what you wanted to change after a while; "
      + "or repeat the request, if it had an Idempotency-Key or does no harm when it is done twice.")

  static let internalError = Problem(
    .internalServerError, .internalError, "Something went wrong on our side; the request id helps to find out what.")

  static func methodNotAllowed(_ methods: [HTTPRequest.Method]) -> Problem {
    let allow = methods.map(\.rawValue).sorted().joined(separator: ", ")
    return Problem(
      .methodNotAllowed, .methodNotAllowed, "This path takes \(allow).", headers: [.allow: allow])
  }
}
