package import HTTPTypes
package import Hummingbird
package import JSON
import Portal

/// An error as a client sees it: `application/problem+json` (RFC 9457) with a stable code.
package struct Problem: Error, Sendable {
  package enum Code: String, CaseIterable, Sendable {
    case invalidRequest = "invalid_request"
    case unauthenticated
    case invalidCredentials = "invalid_credentials"
    case secondFactorRequired = "second_factor_required"
    case secondFactorInvalid = "second_factor_invalid"
    case secondFactorEnabled = "second_factor_enabled"
    case secondFactorNotConfigured = "second_factor_not_configured"
    case enrolmentRequired = "second_factor_enrolment_required"
    case forbidden
    case scopeNotAllowed = "scope_not_allowed"
    case limitNotAllowed = "limit_not_allowed"
    case policyViolation = "policy_violation"
    case originNotAllowed = "origin_not_allowed"
    case notFound = "not_found"
    case methodNotAllowed = "method_not_allowed"
    case notAKey = "not_a_key"
    case keyCapReached = "key_cap_reached"
    case keyNotActive = "key_not_active"
    case tokenNotActive = "token_not_active"
    case preconditionFailed = "precondition_failed"
    case emailTaken = "email_taken"
    case lastOwner = "last_owner"
    case lastAdmin = "last_admin"
    case alreadyMember = "already_member"
    case emailVerified = "email_verified"
    case invalidToken = "invalid_token"
    case mailNotConfigured = "mail_not_configured"
    case bodyTooLarge = "body_too_large"
    case unsupportedMediaType = "unsupported_media_type"
    case unsupportedContentCoding = "unsupported_content_coding"
    case clientGone = "client_gone"
    case headersTooLarge = "headers_too_large"
    case tooManyRequests = "too_many_requests"
    case rateLimited = "rate_limited"
    case accountBusy = "account_busy"
    case unavailable
    case outcomeUnknown = "outcome_unknown"
    case internalError = "internal_error"
    case idempotencyConflict = "idempotency_conflict"
    case nameTaken = "name_taken"
    case inUse = "in_use"
    case protected
    case externalIDTaken = "external_id_taken"
    case capReached = "cap_reached"
    case creditsUnlimited = "credits_unlimited"
  }

  package var status: HTTPResponse.Status
  package var code: Code
  var detail: String
  package var errors: [RequestProblem] = []
  package var headers: HTTPFields = [:]

  package init(
    _ status: HTTPResponse.Status, _ code: Code, _ detail: String, errors: [RequestProblem] = [],
    headers: HTTPFields = [:]
  ) {
    assert(status.code == code.status.code, "the page of \(code) has another status")
    self.status = status
    self.code = code
    self.detail = detail
    self.errors = errors
    self.headers = headers
  }

  package func response(requestID: String) -> Response {
    var headers = headers
    headers[.contentType] = "application/problem+json"
    headers[.cacheControl] = "no-store"
    return Response(
      status: status, headers: headers,
      body: ResponseBody(byteBuffer: ByteBuffer(bytes: document(requestID: requestID).bytes)))
  }

  /// The head and the body, for code that responds without the framework. The head also closes the connection.
  package func rawResponse(requestID: String) -> (HTTPResponse, [UInt8]) {
    let body = document(requestID: requestID).bytes
    var headers = headers
    headers[.contentType] = "application/problem+json"
    headers[.contentLength] = "\(body.count)"
    headers[.connection] = "close"
    headers[.xRequestID] = requestID
    return (HTTPResponse(status: status, headerFields: headers), body)
  }

  private func document(requestID: String) -> JSONWriter {
    .object { json in
      json.field("type", code.pagePath)
      json.field("title", code.title)
      json.field("status", status.code)
      json.field("detail", detail)
      json.field("code", code.rawValue)
      json.field("requestId", requestID)
      if !errors.isEmpty {
        json.objects("errors", errors) { $0.fields(of: $1) }
      }
    }
  }
}

extension Response {
  /// A JSON response, which no cache may store.
  package init(status: HTTPResponse.Status = .ok, json: JSONWriter, headers: HTTPFields = [:]) {
    var headers = headers
    headers[.contentType] = "application/json"
    headers[.cacheControl] = "no-store"
    self.init(status: status, headers: headers, body: ResponseBody(byteBuffer: ByteBuffer(bytes: json.bytes)))
  }
}

/// Thrown to the reader of a request's body when the connection ends before the request is complete.
package struct ClientGone: Error {
  package init() {}
}

extension HTTPField.Name {
  // Safe: it is a valid name.
  // swift-format-ignore: NeverForceUnwrap
  static let xRequestID = HTTPField.Name("X-Request-Id")!
}
