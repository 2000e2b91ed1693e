import HTTPTypes
import Hummingbird
import NIOCore
package import Portal
package import PortalHTTP
import PortalViews

/// The pages for browsers. Each group of routes has a context whose identity is not optional, as in the API.
package struct PageRoutes {
  /// The content of an asset is in its address.
  private static let assetCacheControl = "public, max-age=31536000, immutable"

  private let services: PortalServices
  private let cookie: SessionCookie
  private let isSignupOpen: Bool
  private let limits: RequestLimits
  private let turns: AccountTurns

  package init(
    _ services: PortalServices, cookie: SessionCookie, isSignupOpen: Bool, limits: RequestLimits, turns: AccountTurns
  ) {
    self.services = services
    self.cookie = cookie
    self.isSignupOpen = isSignupOpen
    self.limits = limits
    self.turns = turns
  }

  /// The middleware for the answers to these routes. `others` has the routes of the APIs.
  package func middleware(_ table: RouteTable, others: RouteTable) -> PageMiddleware {
    PageMiddleware(pages: table, others: others, cookie: cookie)
  }

  /// Adds the routes to a router that has the middleware that all routes share.
  package func add(to routes: RecordingRouter) {
    let signIn = SignInPages(
      accounts: services.accounts, sessions: services.sessions, credentials: services.credentials, cookie: cookie,
      isSignupOpen: isSignupOpen, table: routes.table)
    let members = MemberPages(
      members: services.members, invitations: services.invitations, clock: services.sessions.clock, cookie: cookie)
    let sameOrigin = SameOriginMiddleware(cookie: cookie)

    let everybody = PublicRoutes(
      routes.group().add(middleware: AddressLimitMiddleware(limits: limits)).add(middleware: sameOrigin))
    everybody.get("assets/{hash}/{name}", .anybody, query: nil) { _, context in
      try Self.asset(try context.parameters.require("name"), hash: try context.parameters.require("hash"))
    }
    signIn.addRoutes(to: everybody)
    MailedCodePages(credentials: services.credentials).addRoutes(to: everybody)
    members.addRoutes(to: everybody)

    let readers = MemberRoutes(
      routes.group()
        .add(middleware: MemberAuthentication(sessions: services.sessions, cookie: cookie, limits: limits))
        .add(middleware: sameOrigin)
        .group(context: MemberContext.self)
        .add(middleware: AccountTurnMiddleware(turns: turns) { $0.accountID }), table: routes.table)
    signIn.addRoutes(to: readers)
    AccountPages(keys: services.keys, usages: services.usages, audit: services.audit).addRoutes(to: readers)
    KeyPages(
      keys: services.keys, idempotency: services.idempotency, usages: services.usages, audit: services.audit,
      verifier: services.verifier
    ).addRoutes(to: readers)
    members.addRoutes(to: readers)
    MePages(sessions: services.sessions, members: services.members, cookie: cookie).addRoutes(to: readers)
  }

  /// While servers of two versions run, one may be asked for the other's file: it answers with its own, which nobody
  /// may keep under that address.
  private static func asset(_ name: String, hash: String) throws -> Response {
    guard let asset = Asset.all.first(where: { $0.name.utf8.elementsEqual(name.utf8) }) else {
      throw PortalError.notFound
    }
    return Response(
      status: .ok,
      headers: [
        .contentType: asset.type,
        .cacheControl: asset.hash.utf8.elementsEqual(hash.utf8) ? assetCacheControl : "no-store",
      ],
      body: ResponseBody(byteBuffer: ByteBuffer(bytes: asset.bytes)))
  }
}
