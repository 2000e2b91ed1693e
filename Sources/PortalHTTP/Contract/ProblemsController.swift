import Hummingbird
import Portal

/// `/problems/{code}`: what the `type` of a problem document refers to.
struct ProblemsController {
  private static let pages = Dictionary(
    uniqueKeysWithValues: Problem.Code.published.map {
      ($0.rawValue, FixedDocument(Array($0.page.utf8), type: "text/plain; charset=utf-8"))
    })

  func addRoutes(to routes: PublicRoutes) {
    routes.get("problems/{code}", .anybody) { request, context in
      guard let page = Self.pages[try context.parameters.require("code")] else { throw PortalError.notFound }
      return page.response(to: request)
    }
  }
}
