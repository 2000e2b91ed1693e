import Glibc

/// The number of descriptors that this process may open (getrlimit(2)).
enum DescriptorLimit {
  /// A server has no use for more, and some systems set no limit at all.
  private static let countMax = 1_048_576
  /// The default of most systems, for the case that getrlimit(2) fails.
  private static let countStandard = 1_024

  /// Raises the soft limit as far as the hard limit, and returns the limit then in effect. Shells and systemd leave the
  /// soft limit at 1024 for the sake of programs that use select(2), which this one does not.
  static func raise() -> Int {
    let resource = __rlimit_resource_t(RLIMIT_NOFILE.rawValue)
    var limit = rlimit()
    guard getrlimit(resource, &limit) == 0 else { return countStandard }
    var raised = limit
    raised.rlim_cur = min(limit.rlim_max, rlim_t(countMax))
    if raised.rlim_cur > limit.rlim_cur, setrlimit(resource, &raised) == 0 { limit = raised }
    return Int(min(limit.rlim_cur, rlim_t(countMax)))
  }
}
