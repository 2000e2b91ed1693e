import Hummingbird

enum Anybody {
  case anybody
}

/// The routes that take no credentials.
typealias PublicRoutes = GuardedRoutes<AppRequestContext, Anybody>

extension GuardedRoutes<AppRequestContext, Anybody> {
  init(_ group: RouterGroup<AppRequestContext>) {
    self.init(group, record: { _, _, _ in }, check: { _, _ in })
  }
}
