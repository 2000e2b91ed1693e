import HTTPTypes
import Hummingbird
package import Portal

/// What the routes are made of.
package struct PortalServices: Sendable {
  package var accounts: Accounts
  package var members: Members
  package var invitations: Invitations
  package var sessions: Sessions
  package var credentials: Credentials
  package var keys: Keys
  package var policies: KeyPolicies
  package var plans: Plans
  package var verifier: Verifier
  package var tokens: ServiceTokenCheck
  package var serviceTokens: ServiceTokens
  package var usages: Usages
  package var analytics: Analytics
  package var audit: AuditEvents
  package var desk: SupportDesk
  package var staff: StaffMembers
  package var deletion: AccountDeletion
  package var readiness: Readiness

  package init(
    accounts: Accounts, members: Members, invitations: Invitations, sessions: Sessions, credentials: Credentials,
    keys: Keys, policies: KeyPolicies, plans: Plans, verifier: Verifier,
    tokens: ServiceTokenCheck, serviceTokens: ServiceTokens, usages: Usages, analytics: Analytics, audit: AuditEvents,
    desk: SupportDesk, staff: StaffMembers, deletion: AccountDeletion,
    readiness: Readiness
  ) {
    self.accounts = accounts
    self.members = members
    self.invitations = invitations
    self.sessions = sessions
    self.credentials = credentials
    self.keys = keys
    self.policies = policies
    self.plans = plans
    self.verifier = verifier
    self.tokens = tokens
    self.serviceTokens = serviceTokens
    self.usages = usages
    self.analytics = analytics
    self.audit = audit
    self.desk = desk
    self.staff = staff
    self.deletion = deletion
    self.readiness = readiness
  }
}

/// The routes of a port for health and metrics alone.
func makeOperationsRouter(_ readiness: Readiness, metrics: MetricsController) -> Router<AppRequestContext> {
  let router = Router(context: AppRequestContext.self, options: .autoGenerateHeadEndpoints)
  let table = RouteTable()
  let routes = RecordingRouter(router: router, table: table)
  routes.add(middleware: metrics)
  routes.add(middleware: ProblemMiddleware(routes: table))
  let everybody = PublicRoutes(routes.group())
  HealthController(readiness: readiness).addRoutes(to: everybody)
  metrics.addRoutes(to: everybody)
  return router
}

/// All routes, those of health and metrics only if `hasOperations`. Each group has a context in which its identity is
/// not optional.
func makeRouter(
  _ services: PortalServices, metrics: MetricsController, proxies: TrustedProxies, cookie: SessionCookie,
  crossOrigins: CrossOrigins, isSignupOpen: Bool, needsStaffSecondFactor: Bool, hasOperations: Bool, table: RouteTable
) -> Router<AppRequestContext> {
  let router = Router(context: AppRequestContext.self, options: .autoGenerateHeadEndpoints)
  let routes = RecordingRouter(router: router, table: table)
  routes.add(middleware: metrics)
  if !crossOrigins.isEmpty { routes.add(middleware: CrossOriginMiddleware(origins: crossOrigins, table: table)) }
  routes.add(middleware: ProblemMiddleware(routes: table))
  routes.add(middleware: ClientAddressMiddleware(proxies: proxies, observer: metrics.observer))

  let sessions = SessionsController(
    accounts: services.accounts, members: services.members, sessions: services.sessions,
    credentials: services.credentials, cookie: cookie, isSignupOpen: isSignupOpen)
  let credentials = CredentialsController(credentials: services.credentials)
  let invitations = InvitationsController(invitations: services.invitations)
  let support = SupportController(desk: services.desk, sessions: services.sessions)
  let keys = KeysController(keys: services.keys)
  let usage = UsageController(usages: services.usages)

  let everybody = PublicRoutes(routes.group())
  if hasOperations {
    HealthController(readiness: services.readiness).addRoutes(to: everybody)
    metrics.addRoutes(to: everybody)
  }
  sessions.addRoutes(to: everybody)
  credentials.addRoutes(to: everybody)
  invitations.addRoutes(to: everybody)
  support.addRoutes(to: everybody)

  let customers = MemberRoutes(
    routes.group()
      .add(middleware: CustomerAuthentication(sessions: services.sessions, cookie: cookie))
      .group(context: CustomerContext.self), table: table)
  sessions.addRoutes(to: customers)
  credentials.addRoutes(to: customers)
  PersonController<CustomerContext>(path: "v1/me", sessions: services.sessions, cookie: cookie)
    .addRoutes(to: customers)
  AccountController(sessions: services.sessions, deletion: services.deletion, cookie: cookie).addRoutes(to: customers)
  keys.addRoutes(to: customers)
  KeyPolicyController(policies: services.policies).addRoutes(to: customers)
  usage.addRoutes(to: customers)
  AuditController(events: services.audit).addRoutes(to: customers)
  MembersController(members: services.members).addRoutes(to: customers)
  invitations.addRoutes(to: customers)

  let staff = StaffRoutes(
    routes.group()
      .add(middleware: StaffAuthentication(sessions: services.sessions))
      .group(context: StaffContext.self), needsSecondFactor: needsStaffSecondFactor, table: table)
  PersonController<StaffContext>(path: "v1/support/me", sessions: services.sessions, cookie: nil)
    .addRoutes(to: staff)
  support.addRoutes(to: staff)
  ConfirmationsController(desk: services.desk).addRoutes(to: staff)
  PlansController(plans: services.plans).addRoutes(to: staff)
  ServiceTokensController(tokens: services.serviceTokens).addRoutes(to: staff)
  StaffController(staff: services.staff).addRoutes(to: staff)

  let analysts = AnalystRoutes(
    routes.group()
      .add(middleware: AnalystAuthentication(tokens: services.tokens, sessions: services.sessions))
      .group(context: AnalystContext.self), needsStaffSecondFactor: needsStaffSecondFactor, table: table)
  AnalyticsController(analytics: services.analytics).addRoutes(to: analysts)

  func tokenRoutes(header: HTTPField.Name? = nil) -> TokenRoutes {
    TokenRoutes(
      routes.group()
        .add(middleware: GatewayAuthentication(tokens: services.tokens, header: header))
        .group(context: GatewayContext.self), table: table)
  }
  let gateways = tokenRoutes()
  let verification = VerificationController(verifier: services.verifier)
  verification.addRoutes(to: gateways)
  verification.addHeaderRoutes(to: tokenRoutes(header: .xLatchkeyToken))
  usage.addRoutes(to: gateways)
  keys.addRoutes(to: gateways)
  return router
}
