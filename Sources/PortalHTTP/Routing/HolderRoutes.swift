package import Hummingbird

package enum Holder {
  case holder
}

/// The routes for the holder of a key, who needs nothing but the key.
package typealias HolderRoutes = GuardedRoutes<HeldKeyContext, Holder>

extension GuardedRoutes<HeldKeyContext, Holder> {
  package init(_ group: RouterGroup<HeldKeyContext>) {
    self.init(group, record: { _, _, _ in }, check: { _, _ in })
  }
}
