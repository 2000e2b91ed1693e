import Hummingbird
import JSON
import Portal
package import PortalHTTP

/// `/problems/{code}`: what the `type` of a problem document refers to.
package struct ProblemsController {
  private static let pages = Dictionary(
    uniqueKeysWithValues: Problem.Code.published.map {
      ($0, FixedDocument(Array($0.page.utf8), type: "text/plain; charset=utf-8"))
    })

  package init() {}

  package func addRoutes(to routes: PublicRoutes) {
    routes.get("problems/{code}", .anybody) { request, context in
      guard let code = Problem.Code(named: try context.parameters.require("code")), let page = Self.pages[code] else {
        throw PortalError.notFound
      }
      return page.response(to: request)
    }
  }
}
