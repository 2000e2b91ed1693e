import Hummingbird
import Portal
import PortalAPI
import PortalHTTP
import PortalPages

/// The router of the main port: the middleware that every route shares, and the routes of each API and of the pages.
/// `operations` is nil if health and metrics have a port of their own, and `pages` if there are none. The routes of
/// pages are in a table of their own, which no contract describes.
func makeRouter(
  _ api: APIRoutes, _ operations: OperationsRoutes?, _ pages: PageRoutes?, metrics: MetricsController,
  proxies: TrustedProxies, crossOrigins: CrossOrigins, limits: RequestLimits, table: RouteTable, pageTable: RouteTable
) -> Router<AppRequestContext> {
  let router = Router(context: AppRequestContext.self)
  let routes = RecordingRouter(router: router, table: table)
  routes.add(middleware: RequestIdentityMiddleware(proxies: proxies))
  routes.add(middleware: metrics)
  if !crossOrigins.isEmpty {
    routes.add(
      middleware: CrossOriginMiddleware(origins: crossOrigins, table: table, gatewayPaths: APIRoutes.gatewayPaths))
  }
  let operationsHint = operations == nil ? "" : " /readyz says whether this server is ready."
  routes.add(
    middleware: ProblemMiddleware(
      routes: table, placing: { RequestProblem($0) },
      rootDetail: "There is nothing here. /openapi.json and /openapi.yaml describe the API.\(operationsHint)"))
  if let pages { routes.add(middleware: pages.middleware(pageTable, others: table)) }
  routes.add(middleware: ClientAddressMiddleware(proxies: proxies, observer: metrics.observer))
  routes.add(middleware: UnmatchedLimitMiddleware(limits: limits))
  pages?.add(to: RecordingRouter(router: router, table: pageTable))
  operations?.add(to: PublicRoutes(routes.group()))
  api.add(to: routes)
  return router
}

/// The router of the separate port for health and metrics.
func makeOperationsRouter(
  _ operations: OperationsRoutes, metrics: MetricsController, proxies: TrustedProxies
) -> Router<AppRequestContext> {
  let router = Router(context: AppRequestContext.self)
  let table = RouteTable()
  let routes = RecordingRouter(router: router, table: table)
  routes.add(middleware: RequestIdentityMiddleware(proxies: proxies))
  routes.add(middleware: metrics)
  routes.add(middleware: ProblemMiddleware(routes: table, placing: { RequestProblem($0) }))
  let everybody = PublicRoutes(routes.group())
  operations.add(to: everybody)
  ProblemsController().addRoutes(to: everybody)
  return router
}
