import HTTPTypes
import Hummingbird
import Logging
import Portal
import Postgres

/// Outermost: turns every error into a problem document, and puts the request id on every answer.
///
/// A path with an empty segment is not found. The router would take it for the one without, so that `/metrics/` would
/// get past a proxy that keeps `/metrics` to itself.
package struct ProblemMiddleware: RouterMiddleware {
  package let routes: RouteTable

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
    // What follows would be taken for the next answer.
    return request.method == .head ? response.createHeadResponse() : response
  }

  /// The framework says "not found" also where only the method is wrong.
  private func problem(for error: any Error, _ request: Request) -> Problem {
    if let error = error as? HTTPError, error.status == .notFound {
      let methods = routes.methods(at: request.uri.path)
      if !methods.isEmpty { return .methodNotAllowed(methods) }
    }
    return Problem(error)
  }

  /// What the client is not told goes into the log.
  private func log(_ error: any Error, _ problem: Problem, _ context: AppRequestContext) {
    if error is ClientGone {
      context.logger.debug(
        "the client went away before its request had come in whole",
        metadata: ["code": "\(problem.code.rawValue)", "path": "\(context.endpointPath ?? "")"])
    }
    guard problem.status.code >= 500 else { return }
    context.logger.error(
      "request failed",
      metadata: ["status": "\(problem.status.code)", "path": "\(context.endpointPath ?? "")", "error": "\(error)"])
  }
}
