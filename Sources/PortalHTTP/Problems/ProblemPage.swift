package import HTTPTypes

/// The page about a kind of problem. It is served at ``pagePath``, which is the `type` of the problem's documents.
extension Problem.Code {
  /// The kinds that clients can receive: all but `client_gone`, which no client reads.
  package static var published: [Self] { allCases.filter { $0 != .clientGone } }

  /// A relative reference, so that it leads to the server that responded.
  var pagePath: String { "/problems/" + rawValue }

  var title: String {
    let words = rawValue.replacing("_", with: " ")
    return words.prefix(1).uppercased() + words.dropFirst()
  }

  /// The page as plain text: nothing in it needs to be escaped, and it is as readable in a terminal as in a browser.
  package var page: String {
    """
    \(title)

    Code:   \(rawValue)
    Status: \(status.code) \(status.reasonPhrase)

    What it means

    \(meaning)

    What you can do

    \(remedy)

    """
  }

  /// The status of all problems of this kind.
  package var status: HTTPResponse.Status {
    switch self {
    case .invalidRequest, .notAKey, .invalidToken: .badRequest
    case .unauthenticated, .invalidCredentials, .secondFactorRequired, .secondFactorInvalid: .unauthorized
    case .forbidden, .enrolmentRequired, .scopeNotAllowed, .limitNotAllowed, .policyViolation, .originNotAllowed,
      .mailNotConfigured:
      .forbidden
    case .notFound: .notFound
    case .methodNotAllowed: .methodNotAllowed
    case .secondFactorEnabled, .secondFactorNotConfigured, .keyCapReached, .keyNotActive, .tokenNotActive, .emailTaken,
      .externalIDTaken, .lastOwner, .lastAdmin, .alreadyMember, .emailVerified, .idempotencyConflict, .nameTaken,
      .inUse, .protected, .capReached, .creditsUnlimited:
      .conflict
    case .preconditionFailed: .preconditionFailed
    case .bodyTooLarge: .contentTooLarge
    case .unsupportedMediaType, .unsupportedContentCoding: .unsupportedMediaType
    case .tooManyRequests, .rateLimited, .accountBusy: .tooManyRequests
    case .headersTooLarge: .requestHeaderFieldsTooLarge
    case .clientGone: .init(code: 499, reasonPhrase: "Client Closed Request")
    case .internalError: .internalServerError
    case .unavailable, .outcomeUnknown: .serviceUnavailable
    }
  }

  private var meaning: String {
    switch self {
    case .invalidRequest:
      """
      The request is not one that the operation accepts. "errors" lists each invalid member of the body, parameter of
      the query or header. Without "errors", the request itself could not be read.
      """
    case .unauthenticated:
      "The request has no credentials, or they are unknown, expired, revoked, or not of a kind that the route accepts."
    case .invalidCredentials:
      "The e-mail address or the password is wrong. The response does not say which."
    case .secondFactorRequired:
      "The password is right, and this person has a second factor: a code is required."
    case .secondFactorInvalid:
      "The code is wrong or was already used. Each code is accepted once."
    case .secondFactorEnabled:
      "A second factor is already enabled. There can be only one."
    case .secondFactorNotConfigured:
      "The server has no SECRET_KEY, so it cannot store second factors."
    case .enrolmentRequired:
      "The server requires staff to have a second factor, and this person has none yet."
    case .forbidden:
      """
      The credentials are valid, but they do not allow this. "detail" says what is missing: a role, a permission, or an
      account that is not suspended.
      """
    case .scopeNotAllowed:
      "The account's plan does not cover a scope of the key. \"errors\" lists the scopes."
    case .limitNotAllowed:
      "A value is beyond what the account may have. \"errors\" lists the values and their bounds."
    case .policyViolation:
      "The account has a policy for its own keys, and this key would violate it. \"errors\" lists the rules."
    case .originNotAllowed:
      """
      The request authenticates with the session cookie, and it does not come from a page of the portal itself. This
      check protects members from other sites that send requests in their name.
      """
    case .notFound:
      "There is no such path, or the resource does not exist, was deleted, or belongs to another account."
    case .methodNotAllowed:
      "The path exists, but not with this method. The header Allow lists the methods that it accepts."
    case .notAKey:
      "The text cannot be a key of this portal: it is mistyped, cut off, another kind of secret, or something else."
    case .keyCapReached:
      "The account has reached its plan's limit of live keys."
    case .keyNotActive:
      "The key is revoked, expired, disabled or rolled, so it cannot be changed in this way."
    case .tokenNotActive:
      "The service token is revoked, expired or rolled, so it cannot be rolled."
    case .preconditionFailed:
      "The resource has changed since the version in If-Match. The request changed nothing."
    case .emailTaken:
      "The e-mail address is already in use."
    case .externalIDTaken:
      "Another account has this external id. An external id is unique among the accounts that are not deleted."
    case .lastOwner:
      "The member is the only owner of the account. An account always has an owner."
    case .lastAdmin:
      "This is the only admin among staff who can log in. There must always be one."
    case .alreadyMember:
      "This person is already a member of the account."
    case .emailVerified:
      "The e-mail address is already confirmed."
    case .invalidToken:
      "The token from the mail is invalid, expired, already used, or replaced by a newer one."
    case .mailNotConfigured:
      "The operation requires mail, and this server is not configured to send mail."
    case .bodyTooLarge:
      "The body is larger than the route accepts."
    case .unsupportedMediaType:
      "The body is not declared as JSON."
    case .unsupportedContentCoding:
      "The body is compressed, or has another content coding. No coding is accepted."
    case .clientGone:
      "The connection ended before the request was complete."
    case .headersTooLarge:
      "The header fields of the request are larger than 32 KiB. The connection is closed."
    case .tooManyRequests:
      """
      There were too many attempts to prove an identity, such as passwords, codes and sign-ups, or too many exports.
      Attempts are limited to prevent guessing.
      """
    case .rateLimited:
      """
      The session, the service token or the address has sent more requests than its limit allows. The headers
      RateLimit-Policy and RateLimit name the limit. The refused request is not counted.
      """
    case .accountBusy:
      "Too many reads of this account are in progress, and too many others are waiting."
    case .unavailable:
      "The server cannot respond now, for example because it cannot reach the database. The request changed nothing."
    case .outcomeUnknown:
      "A change was started, and the server does not know whether it was made: the connection to the database was lost."
    case .internalError:
      "The server failed. Its log has the reason, with the id of the request."
    case .nameTaken:
      "Another api, permission or role has this slug or name. Each is unique within its kind."
    case .inUse:
      "An api, a permission or a role is deleted only when nothing uses it. \"detail\" says what does."
    case .protected:
      "The api is protected from being deleted."
    case .creditsUnlimited:
      "The key or the account has no credits: it may be used without end. There is no number to change, or to refill."
    case .idempotencyConflict:
      "The Idempotency-Key was used for a different request within the last 24 hours. The request changed nothing."
    case .capReached:
      "There are as many things of this kind as there may be. \"detail\" says of which. The request changed nothing."
    }
  }

  private var remedy: String {
    switch self {
    case .invalidRequest:
      """
      Correct what "errors" lists. Unknown members and parameters are refused, too, so check their spelling. The
      request fails in the same way until it is changed.
      """
    case .unauthenticated:
      "Log in again, or send the kind of credentials that the operation requires, in the header that it requires."
    case .invalidCredentials:
      "Check both. Members who have forgotten their password can request a reset token by mail."
    case .secondFactorRequired:
      "Repeat the request with the current code of the authenticator, or with a recovery code, in \"code\"."
    case .secondFactorInvalid:
      "Wait for the next code, or send a recovery code. If no code is accepted, check the clock of the device."
    case .secondFactorEnabled:
      "To set up another second factor, disable this one first."
    case .secondFactorNotConfigured:
      "Ask the operator of the server to set SECRET_KEY."
    case .enrolmentRequired:
      "Set up a second factor: POST /v1/support/me/second-factor, then POST /v1/support/me/second-factor/confirm."
    case .forbidden:
      "Ask an owner of the account or the operator, who can do it or give you the role or the permission."
    case .scopeNotAllowed:
      "Leave these scopes out, or ask the operator for a plan that covers them."
    case .limitNotAllowed:
      "Choose values within the bounds, or ask the operator for a plan with higher ones."
    case .policyViolation:
      "Follow the rules that \"errors\" lists, or ask an admin of the account to change the policy."
    case .originNotAllowed:
      "Send the request from the portal's own pages, or authenticate with a bearer token instead of the cookie."
    case .notFound:
      "Check the path and the id. If they are right, check that the credentials belong to the right account."
    case .methodNotAllowed:
      "Use one of the methods in Allow."
    case .notAKey:
      "Paste the whole key again, with its prefix and nothing around it."
    case .keyCapReached:
      "Revoke keys that are no longer needed, or ask the operator for a plan with more keys."
    case .keyNotActive:
      "Read the key to see its status. Enable a disabled key, or create a new one."
    case .tokenNotActive:
      "Create a new service token."
    case .preconditionFailed:
      "Read the resource again, look at what has changed, and repeat the change with the new ETag."
    case .emailTaken:
      "Log in with the address, or use another one."
    case .externalIDTaken:
      "Use the account that has the id: GET /v1/accounts?externalId=… finds it."
    case .lastOwner:
      "Make another member an owner first. To end the account, delete it."
    case .lastAdmin:
      "Make another member of staff an admin first."
    case .alreadyMember:
      "No action is needed. To change the role, update the member."
    case .emailVerified:
      "No action is needed."
    case .invalidToken:
      "Request a new token, and use the one from the most recent mail."
    case .mailNotConfigured:
      "Ask the operator of the server to configure mail, or to do it for you."
    case .bodyTooLarge:
      "Send smaller batches or shorter values."
    case .unsupportedMediaType:
      "Send the body as JSON with the header Content-Type: application/json."
    case .unsupportedContentCoding:
      "Send the body as it is, without Content-Encoding."
    case .clientGone:
      "Keep the connection open until the response is complete."
    case .headersTooLarge:
      "Send fewer or shorter header fields. Cookies are the usual cause."
    case .tooManyRequests:
      "Wait for the seconds in the header Retry-After before the next attempt."
    case .rateLimited:
      "Wait for the seconds in the header Retry-After, and send fewer requests per minute."
    case .accountBusy:
      "Repeat the request after the seconds in the header Retry-After, and send fewer concurrent requests."
    case .unavailable:
      "Repeat the request after the seconds in the header Retry-After."
    case .outcomeUnknown:
      """
      Read the resource again to see whether it has changed, or repeat the request if it had an Idempotency-Key or is
      safe to repeat.
      """
    case .internalError:
      "Report the problem to the operator of the server, with its \"requestId\"."
    case .nameTaken:
      "Choose another slug or name, or change the one that exists."
    case .inUse:
      "Take it from what uses it, or revoke the keys that have it, and repeat the request."
    case .protected:
      "Set \"isProtected\" of the api to false first, if it is really to be deleted."
    case .creditsUnlimited:
      "Set the credits first, if the key or the account is to have a limited number of them."
    case .idempotencyConflict:
      "Use a new Idempotency-Key for each new request, and the same key only to repeat a request unchanged."
    case .capReached:
      "Delete what is no longer needed, or use what exists, and repeat the request."
    }
  }
}
