import Foundation
import HTTPTypes
import Hummingbird
package import Portal
package import PortalHTTP

/// The routes of `/v1`, with the description of this API and the pages about its problems. Each group of routes has a
/// context whose identity is not optional.
package struct APIRoutes {
  /// The paths that gateways use. Some of their requests are answered before the HTTP decoder.
  package static let gatewayPaths = Set(HotRoute.allCases.map(\.path))

  private let services: PortalServices
  private let keyPlaces: KeyPlaces
  private let cookie: SessionCookie
  private let isSignupOpen: Bool
  private let needsStaffSecondFactor: Bool
  private let limits: RequestLimits
  private let turns: AccountTurns

  package init(
    _ services: PortalServices, keyPlaces: KeyPlaces, cookie: SessionCookie, isSignupOpen: Bool,
    needsStaffSecondFactor: Bool, limits: RequestLimits, turns: AccountTurns
  ) {
    self.services = services
    self.keyPlaces = keyPlaces
    self.cookie = cookie
    self.isSignupOpen = isSignupOpen
    self.needsStaffSecondFactor = needsStaffSecondFactor
    self.limits = limits
    self.turns = turns
  }

  /// Adds the routes to a router that has the middleware that all routes share.
  package func add(to routes: RecordingRouter) {
    let sessions = SessionsController(
      accounts: services.accounts, sessions: services.sessions, credentials: services.credentials, cookie: cookie,
      isSignupOpen: isSignupOpen)
    let credentials = CredentialsController(credentials: services.credentials)
    let invitations = InvitationsController(invitations: services.invitations)
    let support = SupportController(
      desk: services.desk, explanations: services.explanations, sessions: services.sessions)
    let keys = KeysController(keys: services.keys, idempotency: services.idempotency)
    let usage = UsageController(usages: services.usages)
    let accounts = AccountsController(
      members: services.members, accounts: services.managedAccounts, invitations: services.invitations,
      deletion: services.deletion, idempotency: services.idempotency)
    let people = PeopleController(
      sessions: services.sessions, exports: services.exports, erasures: services.erasures, cookie: cookie)

    let everybody = PublicRoutes(routes.group().add(middleware: AddressLimitMiddleware(limits: limits)))
    sessions.addRoutes(to: everybody)
    credentials.addRoutes(to: everybody)
    invitations.addRoutes(to: everybody)
    support.addRoutes(to: everybody)
    ContractController().addRoutes(to: everybody)
    ProblemsController().addRoutes(to: everybody)

    let memberAuthentication = MemberAuthentication(sessions: services.sessions, cookie: cookie, limits: limits)
    let members = MemberRoutes(
      routes.group()
        .add(middleware: memberAuthentication)
        .group(context: MemberContext.self)
        .add(middleware: AccountTurnMiddleware(turns: turns) { $0.accountID }), table: routes.table)
    sessions.addRoutes(to: members)
    credentials.addRoutes(to: members)
    PersonController<MemberContext>(path: "v1/me", sessions: services.sessions, cookie: cookie)
      .addRoutes(to: members)
    AccountController(sessions: services.sessions, deletion: services.deletion, cookie: cookie).addRoutes(to: members)
    people.addRoutes(to: members)
    keys.addRoutes(to: members)
    KeyPolicyController(policies: services.policies).addRoutes(to: members)
    usage.addRoutes(to: members)
    let audit = AuditController(events: services.audit)
    audit.addRoutes(to: members)
    MembersController(members: services.members).addRoutes(to: members)
    invitations.addRoutes(to: members)

    SelfController(held: services.heldKeys)
      .addRoutes(
        to: HolderRoutes(
          routes.group()
            .add(middleware: HeldKeyAuthentication(held: services.heldKeys, limits: limits))
            .group(context: HeldKeyContext.self)
            .add(middleware: AccountTurnMiddleware(turns: turns) { $0.held.key.accountID })))

    let staff = StaffRoutes(
      routes.group()
        .add(middleware: StaffAuthentication(sessions: services.sessions, limits: limits))
        .group(context: StaffContext.self), needsSecondFactor: needsStaffSecondFactor, table: routes.table)
    PersonController<StaffContext>(path: "v1/support/me", sessions: services.sessions, cookie: nil)
      .addRoutes(to: staff)
    support.addRoutes(to: staff)
    ConfirmationsController(desk: services.desk).addRoutes(to: staff)
    PlansController(plans: services.plans).addRoutes(to: staff)
    ServiceTokensController(tokens: services.serviceTokens).addRoutes(to: staff)
    StaffController(staff: services.staff).addRoutes(to: staff)
    people.addRoutes(to: staff)

    let company = CompanyRoutes(
      routes.group()
        .add(
          middleware: CompanyAuthentication(tokens: services.tokens, sessions: services.sessions, limits: limits)
        )
        .group(context: CompanyContext.self), needsStaffSecondFactor: needsStaffSecondFactor, table: routes.table)
    AnalyticsController(analytics: services.analytics).addRoutes(to: company)
    CatalogAPIsController(apis: services.apis).addRoutes(to: company)
    CatalogPermissionsController(permissions: services.permissions).addRoutes(to: company)
    CatalogRolesController(roles: services.roles).addRoutes(to: company)
    KeyGrantsController(grants: services.grants).addRoutes(to: company)
    LimitNamespacesController(namespaces: services.namespaces, overrides: services.overrides).addRoutes(to: company)
    CreditsController(credits: services.credits, idempotency: services.idempotency).addRoutes(to: company)

    func tokenAuthentication(header: HTTPField.Name? = nil, _ limit: RequestLimit<UUID>?) -> ServiceTokenAuthentication
    { ServiceTokenAuthentication(tokens: services.tokens, header: header, limits: limits, limit: limit) }
    func tokenRoutes(_ group: RouterGroup<AppRequestContext>) -> ServiceTokenRoutes {
      ServiceTokenRoutes(
        group.group(context: ServiceTokenContext.self)
          // The `{id}` of all these routes is an account's.
          .add(middleware: AccountTurnMiddleware(turns: turns) { try? $0.pathID }), table: routes.table)
    }
    let verification = VerificationController(verifier: services.verifier, keyPlaces: keyPlaces)
    verification.addRoutes(
      to: tokenRoutes(routes.group().add(middleware: tokenAuthentication(limits.verification))))
    verification.addHeaderRoutes(
      to: tokenRoutes(
        routes.group().add(middleware: tokenAuthentication(header: .xLatchkeyToken, limits.verification))))
    StandaloneLimitsController(limits: services.standaloneLimits).addRoutes(
      to: tokenRoutes(
        routes.group().add(middleware: tokenAuthentication(limits.verification)).add(middleware: OnBehalfMiddleware())))
    let machines = tokenRoutes(
      routes.group().add(middleware: tokenAuthentication(limits.token)).add(middleware: OnBehalfMiddleware()))
    usage.addRoutes(to: machines)
    keys.addRoutes(to: machines)
    accounts.addRoutes(to: machines)
    audit.addRoutes(to: machines)
    APIKeysController(
      apis: services.apis, accounts: services.managedAccounts, keys: services.keys, idempotency: services.idempotency
    )
    .addRoutes(to: machines)
    KeyMovesController(moves: services.keyMoves).addRoutes(to: machines)
    KeyTransfersController(imports: services.keyImports, exports: services.keyExports).addRoutes(to: machines)
    accounts.addRoutes(
      to: AccountListRoutes(
        routes.group()
          .add(
            middleware: AccountListAuthentication(
              tokens: tokenAuthentication(limits.token), members: memberAuthentication)
          )
          .group(context: AccountListContext.self)
          .add(middleware: AccountTurnMiddleware(turns: turns) { $0.accountID }), table: routes.table))
  }
}

/// The routes for health and metrics.
package struct OperationsRoutes {
  private let readiness: Readiness
  private let metrics: MetricsController

  package init(_ readiness: Readiness, metrics: MetricsController) {
    self.readiness = readiness
    self.metrics = metrics
  }

  package func add(to routes: PublicRoutes) {
    HealthController(readiness: readiness).addRoutes(to: routes)
    metrics.addRoutes(to: routes)
  }
}
