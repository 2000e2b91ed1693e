/// What became of a request to a standalone limit, for metrics.
package enum LimitOutcome: String, Sendable, CaseIterable {
  case allowed, refused
  /// It would have fit, but another request that was to be decided with it did not.
  case withheld
}
