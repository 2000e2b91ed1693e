import HTTPTypes
import Hummingbird
import NIOCore
import NIOHTTP1
package import Portal
import Postgres

/// The only place where errors become the problems that clients read.
extension Problem {
  /// The `Retry-After` of temporary problems, in seconds.
  private static let retryAfterSeconds = 1

  /// `place` gives the fields that the domain refused their locations.
  package init(_ error: any Error, placing place: (FieldProblem) -> RequestProblem) {
    switch error {
    case let problem as Problem: self = problem
    case let error as InvalidRequest: self = .naming(error.problems, .badRequest, .invalidRequest)
    case let error as PortalError: self.init(error, place)
    case let error as PostgresError: self.init(error, place)
    case let error as HTTPError: self.init(error, place)
    case is NIOTooManyBytesError: self = .bodyTooLarge
    case is ClientGone: self = .clientGone
    case is HTTPParserError: self.init(.badRequest, .invalidRequest, "The body is not HTTP/1.1.")
    case is CancellationError: self = .unavailable
    default: self = .internalError
    }
  }

  private init(_ error: PortalError, _ place: (FieldProblem) -> RequestProblem) {
    switch error {
    case .unauthenticated:
      self.init(
        .unauthorized, .unauthenticated, "A valid session or token is required.",
        headers: [.wwwAuthenticate: "Bearer realm=\"latchkey\""])
    case .invalidCredentials:
      self.init(
        .unauthorized, .invalidCredentials, "The e-mail address or the password is wrong.",
        headers: [.wwwAuthenticate: "Bearer realm=\"latchkey\""])
    case .secondFactorRequired:
      self.init(
        .unauthorized, .secondFactorRequired, "A code of the second factor is required, in the field code.",
        headers: [.wwwAuthenticate: "Bearer realm=\"latchkey\""])
    case .secondFactorInvalid:
      self.init(
        .unauthorized, .secondFactorInvalid, "The code is wrong or was already used.",
        headers: [.wwwAuthenticate: "Bearer realm=\"latchkey\""])
    case .secondFactorEnabled:
      self.init(.conflict, .secondFactorEnabled, "A second factor is already enabled; disable it first.")
    case .secondFactorNotConfigured:
      self.init(
        .conflict, .secondFactorNotConfigured, "Second factors are not available: the server has no SECRET_KEY.")
    case .enrolmentRequired:
      self.init(
        .forbidden, .enrolmentRequired, "Staff must have a second factor; set one up at /v1/support/me/second-factor.")
    case .forbidden(let reason):
      self.init(.forbidden, .forbidden, reason)
    case .scopeNotAllowed(let errors):
      self = .naming(errors.map(place), .forbidden, .scopeNotAllowed)
    case .limitNotAllowed(let errors):
      self = .naming(errors.map(place), .forbidden, .limitNotAllowed)
    case .policyViolation(let errors):
      self = .naming(errors.map(place), .forbidden, .policyViolation)
    case .notFound:
      self.init(.notFound, .notFound, "Not found.")
    case .invalid(let errors):
      self = .naming(errors.map(place), .badRequest, .invalidRequest)
    case .notAKey:
      self.init(
        .badRequest, .notAKey,
        "The text cannot be a key of this portal. It may be mistyped, cut off, or another kind of secret.",
        errors: [place(FieldProblem(.key, "cannot be a key of this portal"))])
    case .keyCapReached(let cap):
      self.init(.conflict, .keyCapReached, "The account has reached its plan's limit of \(cap) live keys.")
    case .keyNotActive:
      self.init(
        .conflict, .keyNotActive,
        "The key is revoked, expired, disabled or rolled, so it cannot be changed in this way.")
    case .tokenNotActive:
      self.init(.conflict, .tokenNotActive, "The token is revoked, expired or rolled, so it cannot be rolled.")
    case .preconditionFailed:
      self.init(
        .preconditionFailed, .preconditionFailed,
        "The resource has changed since the version in If-Match; read it again for its current ETag.")
    case .emailTaken:
      self.init(.conflict, .emailTaken, "The e-mail address is taken.")
    case .externalIDTaken:
      self.init(.conflict, .externalIDTaken, "Another account has this external id.")
    case .alreadyMember:
      self.init(.conflict, .alreadyMember, "This person is already a member of the account.")
    case .lastOwner:
      self.init(.conflict, .lastOwner, "An account must have an owner; make another member an owner first.")
    case .lastAdmin:
      self.init(
        .conflict, .lastAdmin, "Staff must have an admin who can log in; make another member of staff an admin first.")
    case .emailVerified:
      self.init(.conflict, .emailVerified, "The e-mail address is already confirmed.")
    case .invalidToken:
      self.init(.badRequest, .invalidToken, "The token is invalid, expired or already used. Request a new one.")
    case .mailNotConfigured:
      self.init(
        .forbidden, .mailNotConfigured,
        "This requires mail, and the server is not configured to send mail. Ask the operator.")
    case .tooManyRequests(let seconds):
      self.init(
        .tooManyRequests, .tooManyRequests, "Too many attempts; try again in \(seconds) s.",
        headers: [.retryAfter: "\(seconds)"])
    case .rateLimited(let standing):
      let limit = standing.limit
      self.init(
        .tooManyRequests, .rateLimited,
        "Too many requests: the \(limit.name) limit is \(limit.limit) requests in \(limit.windowSeconds) s.",
        headers: HTTPFields(RateLimitDecision(standing)))
    case .accountBusy:
      self.init(
        .tooManyRequests, .accountBusy, "Too many reads of this account are waiting; send fewer concurrent requests.",
        headers: [.retryAfter: "\(Self.retryAfterSeconds)"])
    case .unavailable:
      self = .unavailable
    case .nameTaken:
      self.init(.conflict, .nameTaken, "The slug or name is taken.")
    case .inUse(let reason):
      self.init(.conflict, .inUse, reason)
    case .protected:
      self.init(.conflict, .protected, "The api is protected; remove its protection first.")
    case .idempotencyConflict:
      self.init(
        .conflict, .idempotencyConflict,
        "The Idempotency-Key was used for a different request within the last 24 hours.")
    case .capReached(let reason):
      self.init(.conflict, .capReached, reason)
    case .creditsUnlimited:
      self.init(.conflict, .creditsUnlimited, "There are no credits to change: the use is unlimited. Set them first.")
    }
  }

  private init(_ error: PostgresError, _ place: (FieldProblem) -> RequestProblem) {
    // The person was erased while the request was in progress, so the session no longer exists.
    guard !error.violates("audit_events_actor_present") else {
      self.init(PortalError.unauthenticated, place)
      return
    }
    self =
      if error.code == .commitUnknown {
        .outcomeUnknown
      } else {
        error.isUnavailable || error.code == .cancelled ? .unavailable : .internalError
      }
  }

  /// An error that the framework itself threw.
  private init(_ error: HTTPError, _ place: (FieldProblem) -> RequestProblem) {
    switch error.status {
    case .notFound: self.init(PortalError.notFound, place)
    case .contentTooLarge: self = .bodyTooLarge
    case .unsupportedMediaType: self = .unsupportedMediaType
    case .serviceUnavailable: self = .unavailable
    default:
      self =
        error.status.kind == .clientError
        ? Problem(.badRequest, .invalidRequest, "The request could not be read.") : .internalError
    }
  }

  private static func naming(_ errors: [RequestProblem], _ status: HTTPResponse.Status, _ code: Code) -> Problem {
    let first = errors.first.map { "\($0.location) \($0.message)" } ?? "The request is not valid"
    return Problem(status, code, first + ".", errors: errors)
  }

  static let bodyTooLarge = Problem(.contentTooLarge, .bodyTooLarge, "The body is larger than this route accepts.")

  static let unsupportedMediaType = Problem(
    .unsupportedMediaType, .unsupportedMediaType,
    "The body must be JSON, with the header Content-Type: application/json.")

  /// `Accept-Encoding` says what to send instead (RFC 9110 12.5.3).
  static let unsupportedContentCoding = Problem(
    .unsupportedMediaType, .unsupportedContentCoding,
    "The body must not be compressed: no Content-Encoding other than identity is accepted.",
    headers: [.acceptEncoding: "identity"])

  /// No client reads this response. It exists for the metrics, with the status that nginx logs in this case.
  static let clientGone = Problem(
    .init(code: 499, reasonPhrase: "Client Closed Request"), .clientGone,
    "The connection ended before the request was complete.")

  package static let unavailable = Problem(
    .serviceUnavailable, .unavailable, "The service is temporarily unavailable; repeat the request later.",
    headers: [.retryAfter: "\(retryAfterSeconds)"])

  /// There is no `Retry-After`: an automatic retry might make the change twice.
  static let outcomeUnknown = Problem(
    .serviceUnavailable, .outcomeUnknown,
    "The change was started, and it is not known whether it was made. Read the resource again after a while, "
      + "or repeat the request if it had an Idempotency-Key or is safe to repeat.")

  static let internalError = Problem(
    .internalServerError, .internalError, "The server failed; report the requestId to its operator.")

  static func methodNotAllowed(_ methods: [HTTPRequest.Method]) -> Problem {
    let allow = methods.map(\.rawValue).sorted().joined(separator: ", ")
    return Problem(
      .methodNotAllowed, .methodNotAllowed, "The method is not allowed; this path accepts \(allow).",
      headers: [.allow: allow])
  }
}
