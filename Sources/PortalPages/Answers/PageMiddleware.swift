import HTTPTypes
package import Hummingbird
import Logging
import Portal
package import PortalHTTP
import PortalViews

/// Gives every answer to a request for a page its header fields, and turns errors into pages. It also answers browsers
/// that ask for a path that nothing is at. All other requests pass.
package struct PageMiddleware: RouterMiddleware {
  /// There is no exception for any page.
  package static let contentSecurityPolicy =
    "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; "
    + "frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"

  private let pages: RouteTable
  private let others: RouteTable
  private let cookie: SessionCookie

  /// `others` has the routes of the APIs, whose answers stay what they are.
  package init(pages: RouteTable, others: RouteTable, cookie: SessionCookie) {
    (self.pages, self.others, self.cookie) = (pages, others, cookie)
  }

  package func handle(
    _ request: Request, context: AppRequestContext,
    next: @concurrent (Request, AppRequestContext) async throws -> Response
  ) async throws -> Response {
    guard isForPage(request) else { return try await next(request, context) }
    var response: Response
    do { response = try await next(request, context) } catch {
      response = answer(to: error, request, context)
    }
    addFields(to: &response)
    return response
  }

  private func isForPage(_ request: Request) -> Bool {
    let path = request.uri.path
    // Programs get the problem document that they got when there were no pages.
    if path == "/" { return request.prefers("text/html") }
    if !pages.methods(at: path).isEmpty { return true }
    return request.prefers("text/html") && !path.hasPrefix("/v1/") && others.methods(at: path).isEmpty
  }

  private func addFields(to response: inout Response) {
    response.headers[.contentSecurityPolicy] = Self.contentSecurityPolicy
    // With no-referrer, browsers would send forms with the origin null.
    response.headers[.referrerPolicy] = "same-origin"
    response.headers[.xContentTypeOptions] = "nosniff"
    response.headers[.crossOriginOpenerPolicy] = "same-origin"
    response.headers[.crossOriginResourcePolicy] = "same-origin"
    response.headers[.permissionsPolicy] = "camera=(), geolocation=(), microphone=()"
    if response.headers[.cacheControl] == nil { response.headers[.cacheControl] = "no-store" }
    if cookie.origin.hasPrefix("https:") { response.headers[.strictTransportSecurity] = "max-age=31536000" }
  }

  // MARK: Errors

  private func answer(to error: any Error, _ request: Request, _ context: AppRequestContext) -> Response {
    let problem = problem(for: error, request)
    if problem.status.code >= 500 {
      context.logger.error(
        "request failed",
        metadata: ["status": "\(problem.status.code)", "path": "\(context.endpointPath ?? "")", "error": "\(error)"])
    }
    if problem.code == .unauthenticated {
      let hadSession = cookie.token(in: request) != nil
      return .seeOther(
        Link("/login", query: ["next": returnPath(of: request)]),
        headers: hadSession ? [.setCookie: cookie.clearingHeader] : [:])
    }
    var headers: HTTPFields = [:]
    for name in [HTTPField.Name.retryAfter, .allow] { headers[name] = problem.headers[name] }
    return Response(ProblemPage(problem, requestID: context.id), status: problem.status, headers: headers)
  }

  /// The framework also reports "not found" if only the method is wrong.
  private func problem(for error: any Error, _ request: Request) -> Problem {
    let methods = pages.methods(at: request.uri.path)
    if let error = error as? HTTPError, error.status == .notFound, !methods.isEmpty {
      let allowed = methods.map(\.rawValue).sorted().joined(separator: ", ")
      return Problem(
        .methodNotAllowed, .methodNotAllowed, "This page accepts \(allowed).", headers: [.allow: allowed])
    }
    return Problem(error) { RequestProblem(location: FieldWords.label($0.field), message: $0.message) }
  }

  /// The page to come back to after signing in: the one that was asked for, or the one that the form was on.
  private func returnPath(of request: Request) -> String? {
    let path = request.uri.path
    guard pages.route(at: path, .get) != nil, path != "/" else { return nil }
    let query = request.method == .post ? nil : request.uri.query
    return Link(returning: path + (query.map { "?" + $0 } ?? ""))?.text
  }
}
