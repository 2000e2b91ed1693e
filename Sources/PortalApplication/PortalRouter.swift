import Hummingbird
import Portal
import PortalAPI
import PortalHTTP

/// The router of the main port: the middleware that every route shares, and the routes of each API. Another API, or
/// pages, would add its routes to the same router. `operations` is nil if health and metrics have a port of their own.
func makeRouter(
  _ api: APIRoutes, _ operations: OperationsRoutes?, metrics: MetricsController, proxies: TrustedProxies,
  crossOrigins: CrossOrigins, limits: RequestLimits, table: RouteTable
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
  routes.add(middleware: ClientAddressMiddleware(proxies: proxies, observer: metrics.observer))
  routes.add(middleware: UnmatchedLimitMiddleware(limits: limits))
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
