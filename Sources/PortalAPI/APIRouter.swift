import HTTPTypes
import Hummingbird
package import Portal
import PortalHTTP

/// The routes of the separate port for health and metrics.
package func makeOperationsRouter(
  _ readiness: Readiness, metrics: MetricsController, proxies: TrustedProxies
) -> Router<AppRequestContext> {
  let router = Router(context: AppRequestContext.self, options: .autoGenerateHeadEndpoints)
  let table = RouteTable()
  let routes = RecordingRouter(router: router, table: table)
  routes.add(middleware: RequestIdentityMiddleware(proxies: proxies))
  routes.add(middleware: metrics)
  routes.add(middleware: ProblemMiddleware(routes: table))
  let everybody = PublicRoutes(routes.group())
  HealthController(readiness: readiness).addRoutes(to: everybody)
  metrics.addRoutes(to: everybody)
  ProblemsController().addRoutes(to: everybody)
  return router
}

/// All routes; those of health and metrics only if `hasOperations`. Each group has a context whose identity is not
/// optional.
package func makeRouter(
  _ services: PortalServices, metrics: MetricsController, proxies: TrustedProxies, keyPlaces: KeyPlaces,
  cookie: SessionCookie, crossOrigins: CrossOrigins, isSignupOpen: Bool, needsStaffSecondFactor: Bool,
  hasOperations: Bool, limits: RequestLimits, turns: AccountTurns, table: RouteTable
) -> Router<AppRequestContext> {
  let router = Router(context: AppRequestContext.self, options: .autoGenerateHeadEndpoints)
  let routes = RecordingRouter(router: router, table: table)
  routes.add(middleware: RequestIdentityMiddleware(proxies: proxies))
  routes.add(middleware: metrics)
  if !crossOrigins.isEmpty {
    routes.add(
      middleware: CrossOriginMiddleware(
        origins: crossOrigins, table: table, gatewayPaths: Set(HotRoute.allCases.map(\.path))))
  }
  routes.add(middleware: ProblemMiddleware(routes: table))
  routes.add(middleware: ClientAddressMiddleware(proxies: proxies, observer: metrics.observer))
  routes.add(middleware: UnmatchedLimitMiddleware(limits: limits))

  let sessions = SessionsController(
    accounts: services.accounts, members: services.members, sessions: services.sessions,
    credentials: services.credentials, cookie: cookie, isSignupOpen: isSignupOpen)
  let credentials = CredentialsController(credentials: services.credentials)
  let invitations = InvitationsController(invitations: services.invitations)
  let support = SupportController(desk: services.desk, sessions: services.sessions)
  let keys = KeysController(keys: services.keys, idempotency: services.idempotency)
  let usage = UsageController(usages: services.usages)
  let people = PeopleController(
    sessions: services.sessions, exports: services.exports, erasures: services.erasures, cookie: cookie)

  if hasOperations {
    let operators = PublicRoutes(routes.group())
    HealthController(readiness: services.readiness).addRoutes(to: operators)
    metrics.addRoutes(to: operators)
  }
  let everybody = PublicRoutes(routes.group().add(middleware: AddressLimitMiddleware(limits: limits)))
  sessions.addRoutes(to: everybody)
  credentials.addRoutes(to: everybody)
  invitations.addRoutes(to: everybody)
  support.addRoutes(to: everybody)
  ContractController().addRoutes(to: everybody)
  ProblemsController().addRoutes(to: everybody)

  let customers = MemberRoutes(
    routes.group()
      .add(middleware: MemberAuthentication(sessions: services.sessions, cookie: cookie, limits: limits))
      .group(context: MemberContext.self)
      .add(middleware: AccountTurnMiddleware(turns: turns) { $0.accountID }), table: table)
  sessions.addRoutes(to: customers)
  credentials.addRoutes(to: customers)
  PersonController<MemberContext>(path: "v1/me", sessions: services.sessions, cookie: cookie)
    .addRoutes(to: customers)
  AccountController(sessions: services.sessions, deletion: services.deletion, cookie: cookie).addRoutes(to: customers)
  people.addRoutes(to: customers)
  keys.addRoutes(to: customers)
  KeyPolicyController(policies: services.policies).addRoutes(to: customers)
  usage.addRoutes(to: customers)
  AuditController(events: services.audit).addRoutes(to: customers)
  MembersController(members: services.members).addRoutes(to: customers)
  invitations.addRoutes(to: customers)

  let staff = StaffRoutes(
    routes.group()
      .add(middleware: StaffAuthentication(sessions: services.sessions, limits: limits))
      .group(context: StaffContext.self), needsSecondFactor: needsStaffSecondFactor, table: table)
  PersonController<StaffContext>(path: "v1/support/me", sessions: services.sessions, cookie: nil)
    .addRoutes(to: staff)
  support.addRoutes(to: staff)
  ConfirmationsController(desk: services.desk).addRoutes(to: staff)
  PlansController(plans: services.plans).addRoutes(to: staff)
  ServiceTokensController(tokens: services.serviceTokens).addRoutes(to: staff)
  StaffController(staff: services.staff).addRoutes(to: staff)
  people.addRoutes(to: staff)

  let analysts = AnalystRoutes(
    routes.group()
      .add(
        middleware: AnalystAuthentication(tokens: services.tokens, sessions: services.sessions, limits: limits)
      )
      .group(context: AnalystContext.self), needsStaffSecondFactor: needsStaffSecondFactor, table: table)
  AnalyticsController(analytics: services.analytics).addRoutes(to: analysts)

  func tokenRoutes(header: HTTPField.Name? = nil, _ limit: RequestLimit<UUID>?) -> ServiceTokenRoutes {
    ServiceTokenRoutes(
      routes.group()
        .add(
          middleware: ServiceTokenAuthentication(tokens: services.tokens, header: header, limits: limits, limit: limit)
        )
        .group(context: ServiceTokenContext.self)
        // The `{id}` of all these routes is an account's.
        .add(middleware: AccountTurnMiddleware(turns: turns) { try? $0.pathID }), table: table)
  }
  let verification = VerificationController(verifier: services.verifier, keyPlaces: keyPlaces)
  verification.addRoutes(to: tokenRoutes(limits.verification))
  verification.addHeaderRoutes(to: tokenRoutes(header: .xLatchkeyToken, limits.verification))
  let machines = tokenRoutes(limits.token)
  usage.addRoutes(to: machines)
  keys.addRoutes(to: machines)
  return router
}
