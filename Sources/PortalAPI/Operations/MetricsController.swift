import HTTPTypes
package import Hummingbird
package import Portal
import PortalHTTP

/// `/metrics` for Prometheus, and the middleware that measures requests for it. The middleware is the outermost, so
/// that a problem is measured with the status that the client received.
package struct MetricsController: RouterMiddleware {
  /// The methods that are labels of their own. Others share a label, so that clients cannot make up labels.
  private static let methods: Set<HTTPRequest.Method> = [.get, .head, .post, .put, .patch, .delete, .options]

  private let registry: PrometheusMetrics
  package let observer: Observer
  private let token: SecretHash?
  private let gauges: @Sendable () -> [PrometheusMetrics.Gauge]

  /// `token` is the hash of the token that Prometheus must present; nil if none is required. `gauges` is called for
  /// each request.
  package init(
    registry: PrometheusMetrics, observer: Observer, token: SecretHash?,
    gauges: @escaping @Sendable () -> [PrometheusMetrics.Gauge]
  ) {
    self.registry = registry
    self.observer = observer
    self.token = token
    self.gauges = gauges
  }

  func addRoutes(to routes: PublicRoutes) {
    routes.get("metrics", .anybody) { request, _ in
      if let token, request.bearer?.hash != token { throw PortalError.unauthenticated }
      return Response(
        status: .ok, headers: [.contentType: "text/plain; version=0.0.4; charset=utf-8", .cacheControl: "no-store"],
        body: ResponseBody(byteBuffer: ByteBuffer(string: registry.text(gauges()))))
    }
  }

  package func handle(
    _ request: Request, context: AppRequestContext,
    next: @concurrent (Request, AppRequestContext) async throws -> Response
  ) async throws -> Response {
    let start = ContinuousClock.now
    let response = try await next(request, context)
    let duration = ContinuousClock.now - start
    observer.observe(
      .answered(
        route: context.endpointPath ?? "NotFound",
        method: Self.methods.contains(request.method) ? request.method.rawValue : "other",
        status: response.status.code, nanoseconds: Int64(duration / .nanoseconds(1))))
    return response
  }
}
