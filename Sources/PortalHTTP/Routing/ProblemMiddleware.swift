import HTTPTypes
package import Hummingbird
import Logging
import Portal

/// Turns every error into a problem document, and adds the request id to every answer.
///
/// A path with an empty segment is not found. The router would treat it like the path without that segment, so that
/// `/metrics/` would get past a proxy that blocks `/metrics`.
package struct ProblemMiddleware: RouterMiddleware {
  private let routes: RouteTable
  private let place: FieldPlacing
  private let rootDetail: String?

  /// `rootDetail` tells a reader of `/`, where there is nothing, what there is elsewhere.
  package init(routes: RouteTable, placing place: @escaping FieldPlacing, rootDetail: String? = nil) {
    self.routes = routes
    self.place = place
    self.rootDetail = rootDetail
  }

  package func handle(
    _ request: Request, context: AppRequestContext,
    next: @concurrent (Request, AppRequestContext) async throws -> Response
  ) async throws -> Response {
    var response: Response
    do {
      if RouteTable.hasEmptySegment(request.uri.path) {
        context.coreContext.endpointPath.value = nil
        throw PortalError.notFound
      }
      response = try await next(request, context)
    } catch {
      let problem = self.problem(for: error, request)
      log(error, problem, context)
      response = problem.response(requestID: context.id)
    }
    response.headers[.xRequestID] = context.id
    // A body would be taken for the next answer.
    return request.method == .head ? response.withoutBody : response
  }

  /// The framework also reports "not found" if only the method is wrong.
  private func problem(for error: any Error, _ request: Request) -> Problem {
    if let error = error as? HTTPError, error.status == .notFound {
      let methods = routes.methods(at: request.uri.path)
      if !methods.isEmpty { return .methodNotAllowed(methods) }
    }
    let problem = Problem(error, placing: place)
    guard problem.code == .notFound, request.uri.path == "/", let rootDetail else { return problem }
    return Problem(.notFound, .notFound, rootDetail)
  }

  /// Logs what the client does not get to see.
  private func log(_ error: any Error, _ problem: Problem, _ context: AppRequestContext) {
    if error is ClientGone {
      context.logger.debug(
        "the client disconnected before its request was complete",
        metadata: ["code": "\(problem.code.rawValue)", "path": "\(context.endpointPath ?? "")"])
    }
    guard problem.status.code >= 500 else { return }
    context.logger.error(
      "request failed",
      metadata: ["status": "\(problem.status.code)", "path": "\(context.endpointPath ?? "")", "error": "\(error)"])
  }
}

extension Response {
  /// The answer to HEAD: the fields of the answer to GET (RFC 9110 9.3.2), so without a size if that has none (8.6).
  fileprivate var withoutBody: Response {
    Response(status: status, headers: headers, body: ResponseBody { try await $0.finish(nil) })
  }
}
