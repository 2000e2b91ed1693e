/// Why a request is refused. What a client may see of it is decided in one place, `PortalError+HTTP.swift`.
package enum PortalError: Error, Sendable, Equatable {
  /// No session or token, or one that is unknown or over.
  case unauthenticated
  /// Wrong password or unknown address; deliberately one case.
  case invalidCredentials
  /// The password is right, and logging in takes a code as well.
  case secondFactorRequired
  /// A wrong code, or one that was used before.
  case secondFactorInvalid
  /// There is one already; it has to be disabled first.
  case secondFactorEnabled
  /// The deployment has no key to keep secrets under.
  case secondFactorNotConfigured
  /// Staff must have a second factor here, and this member has none.
  case enrolmentRequired
  /// The role or the token's permissions do not allow it; `reason` is for the client.
  case forbidden(reason: String)
  // What the rules for an account's keys refuse, all of it, by the first rule that does.

  /// Scopes that the account's plan does not cover.
  case scopeNotAllowed([FieldProblem])
  /// Beyond what the account's plan allows.
  case limitNotAllowed([FieldProblem])
  /// What the account itself does not want of its keys.
  case policyViolation([FieldProblem])
  /// Not there, or another tenant's: the same answer.
  case notFound
  /// Input that breaks the contract.
  case invalid([FieldProblem])
  /// What was looked for can be no key of this portal.
  case notAKey
  /// The account has as many live keys as its plan allows.
  case keyCapReached(cap: Int)
  /// A revoked key cannot be changed, an expired or already rolled one not rolled.
  case keyNotActive
  /// A service token that is revoked, expired or rolled is not rolled.
  case tokenNotActive
  /// It is another version by now than the one that the client has seen.
  case preconditionFailed
  case emailTaken
  /// Whoever was invited belongs to the account already.
  case alreadyMember
  /// An account has an owner.
  case lastOwner
  /// Somebody among staff may do whatever staff do.
  case lastAdmin
  /// The address is known to reach its owner already.
  case emailVerified
  /// A one-time token that was used, is over, or never was.
  case invalidToken
  /// What needs mail, where none is sent.
  case mailNotConfigured
  case tooManyRequests(retryAfterSeconds: Int)
  /// More requests within a minute than the session, the address or the token may send.
  case rateLimited(RateLimitDecision)
  /// More reads of one account at once than may wait.
  case accountBusy
  /// PostgreSQL cannot be asked, or too much is waiting. `reason` is for the log alone.
  case unavailable(reason: String)
  /// The Idempotency-Key came before with another request.
  case idempotencyConflict

  package static func invalid(_ field: FieldProblem.Field, _ message: String) -> PortalError {
    .invalid([FieldProblem(field, message)])
  }
}

/// One thing that is wrong with what was asked. Each API has its own place for a field.
package struct FieldProblem: Sendable, Equatable {
  /// What verbs refuse values of.
  package enum Field: Sendable, Hashable {
    case scopes
    /// One of the scopes, by its index.
    case scope(Int)
    case rateLimitPerMinute
    case expiresAt
    case allowedIPs
    case environment
    case email
    case password
    case plan

    /// The list that an entry belongs to, or the field itself.
    var whole: Field { if case .scope = self { .scopes } else { self } }
  }

  /// Whose field it is.
  package enum Owner: Sendable {
    case request
    /// The key that the request is about.
    case key
  }

  package var field: Field
  package var message: String
  package var owner: Owner

  package init(_ field: Field, _ message: String, of owner: Owner = .request) {
    self.field = field
    self.message = message
    self.owner = owner
  }
}
