import Glibc

/// How many descriptors this process may have (getrlimit(2)).
enum DescriptorLimit {
  /// More are of no use to a server, and some systems set no limit at all.
  private static let countMax = 1_048_576
  /// What most systems begin with; for the case that this one does not tell.
  private static let countStandard = 1_024

  /// Raises the soft limit as far as the hard one, and returns what holds then. Shells and systemd leave the soft limit
  /// at 1024 for the sake of programs that use select(2); this one does not.
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
