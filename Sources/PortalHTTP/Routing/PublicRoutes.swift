import Hummingbird

package enum Anybody {
  case anybody
}

/// The routes that take no credentials.
package typealias PublicRoutes = GuardedRoutes<AppRequestContext, Anybody>

extension GuardedRoutes<AppRequestContext, Anybody> {
  package init(_ group: RouterGroup<AppRequestContext>) {
    self.init(group, record: { _, _, _ in }, check: { _, _ in })
  }
}
