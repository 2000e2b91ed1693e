package import Foundation
package import Hummingbird
package import Portal

/// The context of every request.
package struct AppRequestContext: RequestContext {
  package var coreContext: CoreRequestContextStorage
  /// Where the request comes from: the peer's address, or what trusted proxies report; nil without a socket.
  package internal(set) var clientAddress: String?
  /// Set by the authentication of a route group, read by that group's context.
  package var member: MemberSession?
  package var memberToken: Secret?
  package var staff: StaffSession?
  package var token: ServiceToken?
  package var tokenSecret: Secret?
  /// The person that a backend acts for, in its own words; see ``OnBehalfMiddleware``.
  package var onBehalfOf: String?

  package init(source: ApplicationRequestContextSource) {
    coreContext = .init(source: source)
    clientAddress = source.channel.remoteAddress?.ipAddress
  }
}

/// The context of a person who is logged in, customer or staff.
package protocol PersonContext: RequestContext {
  associatedtype Session: PersonSession
  var session: Session { get }
  var caller: Caller { get }
}

/// The context of a customer who is logged in. It cannot be made without a session.
package struct MemberContext: ChildRequestContext, PersonContext {
  package var coreContext: CoreRequestContextStorage
  package let session: MemberSession
  /// The session's token.
  package let token: Secret
  package let caller: Caller

  package init(context: AppRequestContext) throws {
    guard let session = context.member, let token = context.memberToken else { throw PortalError.unauthenticated }
    coreContext = context.coreContext
    self.session = session
    self.token = token
    caller = session.caller(ip: context.clientAddress)
  }

  package var accountID: UUID { session.account.id }
}

/// The context of a staff member who is logged in.
package struct StaffContext: ChildRequestContext, PersonContext {
  package var coreContext: CoreRequestContextStorage
  package let session: StaffSession
  package let caller: Caller

  package init(context: AppRequestContext) throws {
    guard let session = context.staff else { throw PortalError.unauthenticated }
    coreContext = context.coreContext
    self.session = session
    caller = session.caller(ip: context.clientAddress)
  }

  package var member: StaffMember { session.member }
}

/// The context of a request with a valid service token.
package struct ServiceTokenContext: ChildRequestContext {
  package var coreContext: CoreRequestContextStorage
  package let token: ServiceToken
  package let secret: Secret
  package let caller: Caller

  package init(context: AppRequestContext) throws {
    guard let token = context.token, let secret = context.tokenSecret else { throw PortalError.unauthenticated }
    coreContext = context.coreContext
    self.token = token
    self.secret = secret
    caller = token.caller(ip: context.clientAddress, onBehalfOf: context.onBehalfOf)
  }
}

/// The context of a caller who acts for the company that runs the portal: a service token, or a staff member who is
/// logged in.
package struct CompanyContext: ChildRequestContext {
  package enum Holder: Sendable {
    case token(ServiceToken)
    case staff(StaffSession)
  }

  package var coreContext: CoreRequestContextStorage
  package let holder: Holder
  package let caller: Caller

  package init(context: AppRequestContext) throws {
    if let token = context.token {
      holder = .token(token)
      caller = token.caller(ip: context.clientAddress)
    } else if let session = context.staff {
      holder = .staff(session)
      caller = session.caller(ip: context.clientAddress)
    } else {
      throw PortalError.unauthenticated
    }
    coreContext = context.coreContext
  }

  package var isStaff: Bool { if case .staff = holder { true } else { false } }

  /// The id of the service token, or of the member of staff.
  package var holderID: UUID {
    switch holder {
    case .token(let token): token.id
    case .staff(let session): session.member.id
    }
  }
}

/// The context of a caller who lists accounts: a customer their own, a backend all.
package struct AccountListContext: ChildRequestContext {
  package enum Lister: Sendable {
    case member(MemberSession)
    case token(ServiceToken)
  }

  package var coreContext: CoreRequestContextStorage
  package let lister: Lister

  package init(context: AppRequestContext) throws {
    if let token = context.token {
      lister = .token(token)
    } else if let session = context.member {
      lister = .member(session)
    } else {
      throw PortalError.unauthenticated
    }
    coreContext = context.coreContext
  }

  /// The account of a customer's session.
  package var accountID: UUID? { if case .member(let session) = lister { session.account.id } else { nil } }
}
