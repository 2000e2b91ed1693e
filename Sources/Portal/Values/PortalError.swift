package import Foundation

/// Why a request is refused. What a client may see of it is decided in one place, `PortalError+HTTP.swift`.
package enum PortalError: Error, Sendable, Equatable {
  /// No session or token, or one that is unknown or has ended.
  case unauthenticated
  /// Wrong password or unknown address; deliberately one case.
  case invalidCredentials
  /// The password is right, but logging in requires a code as well.
  case secondFactorRequired
  /// A wrong code, or one that was used before.
  case secondFactorInvalid
  /// A second factor is enabled already; it has to be disabled first.
  case secondFactorEnabled
  /// The deployment has no key to encrypt secrets with.
  case secondFactorNotConfigured
  /// This deployment requires a second factor of staff, and this member has none.
  case enrolmentRequired
  /// The role or the token's permissions do not allow it; `reason` is for the client.
  case forbidden(reason: String)
  // The next three are refusals by the rules for an account's keys. The first rule that refuses reports all its
  // problems.

  /// Scopes that the account's plan does not cover.
  case scopeNotAllowed([FieldProblem])
  /// Limits beyond what the account's plan allows.
  case limitNotAllowed([FieldProblem])
  /// Settings that the account's own policy for its keys forbids.
  case policyViolation([FieldProblem])
  /// Does not exist, or is another tenant's: the answer is the same.
  case notFound
  /// Input that breaks the contract.
  case invalid([FieldProblem])
  /// The text that was searched for cannot be a key of this portal.
  case notAKey
  /// The account has as many live keys as its plan allows.
  case keyCapReached(cap: Int)
  /// A revoked key cannot be changed; an expired or already rolled one cannot be rolled.
  case keyNotActive
  /// A revoked, expired or already rolled service token cannot be rolled.
  case tokenNotActive
  /// The resource is no longer at the version that the client has seen.
  case preconditionFailed
  case emailTaken
  /// Another account has this external id.
  case externalIDTaken
  /// The invited person is already a member of the account.
  case alreadyMember
  /// An account must keep an owner.
  case lastOwner
  /// At least one staff admin must remain.
  case lastAdmin
  /// The address is already verified.
  case emailVerified
  /// A one-time token that was used, has expired, or never existed.
  case invalidToken
  /// Needs mail, and none is sent in this deployment.
  case mailNotConfigured
  case tooManyRequests(retryAfterSeconds: Int)
  /// More requests within a minute than the session, the address or the token may send.
  case rateLimited(RateLimitDecision.Standing)
  /// More concurrent reads of one account than may wait.
  case accountBusy
  /// PostgreSQL is unavailable, or too many requests are waiting. `reason` is for the log only.
  case unavailable(reason: String)
  /// Another thing of the catalog of the same kind has the slug or the name.
  case nameTaken
  /// A thing of the catalog that is used cannot be deleted; `reason` says by what, for the client.
  case inUse(reason: String)
  /// A protected api cannot be deleted.
  case protected
  /// The Idempotency-Key was used before with another request.
  case idempotencyConflict
  /// Usage of the month may still arrive: it is final once usage is complete through `finalAt`.
  case monthNotFinal(finalAt: Date, completeThrough: Date)
  /// There are as many things of a kind as there may be; `reason` says of which, for the client.
  case capReached(reason: String)
  /// A change that needs a balance, of a key or an account without credits.
  case creditsUnlimited

  package static func invalid(_ field: FieldProblem.Field, _ message: String) -> PortalError {
    .invalid([FieldProblem(field, message)])
  }
}

/// A problem with one field of a request. Each API refers to fields in its own way.
package struct FieldProblem: Sendable, Equatable {
  /// The fields whose values may be refused.
  package indirect enum Field: Sendable, Hashable {
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
    case api
    case apiIDs
    /// One of the apis that a service token is bound to, by its index.
    case apiID(Int)
    /// One of a role's permissions, by its index.
    case permission(Int)
    /// One of the roles or permissions that a key is to get or to lose, by its index.
    case adding
    case added(Int)
    case removed(Int)
    case role
    /// The account that a key is for or moves to, by its id or its external id.
    case account
    case externalID
    /// A field of one of the rows of an import, by its index.
    case row(Int, Field)
    /// The hash of an imported key, and whether it was salted.
    case hash
    case salted
    /// The key itself, as it was presented.
    case key
    /// A moment that is asked about.
    case at
    case resources
    /// One of the scopes for a resource, by the resource's name and its index.
    case resource(String, Int)
    /// One of the roles of a plan, by its index.
    case roleID(Int)
    /// The number of credits in a change.
    case creditValue

    /// The list that an entry belongs to, or the field itself.
    var whole: Field {
      switch self {
      case .scope: .scopes
      case .resource: .resources
      default: self
      }
    }
  }

  /// The object that the field belongs to.
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
