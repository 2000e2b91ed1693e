import NIOCore

/// How a server's file descriptors are divided: those that everything else needs are kept back, and HTTP connections
/// get the rest. A library that cannot get a descriptor may end the process, and PostgreSQL could no longer be reached.
package struct DescriptorBudget: Equatable, Sendable {
  /// With fewer HTTP connections than this a server does not start.
  package static let connectionCountMin = 16
  /// The most HTTP connections, unless configured otherwise.
  package static let connectionCountStandard = 20_000
  /// Fewer HTTP connections than this are worth a warning.
  private static let connectionCountFew = 1_000

  /// Descriptors that are kept back.
  private enum Kept {
    /// For each connection of a pool: the connection itself, one that waits outside the pool for a commit, and one that
    /// requests a cancellation or, before that, looks up the host name.
    static let perPoolConnection = 3
    /// The `epoll` and `eventfd` of its thread.
    static let perPool = 2
    /// The listening connection, a request to cancel it, and its successor.
    static let listener = 3
    /// `epoll`, `eventfd` and `timerfd`.
    static let perEventLoop = 3
    /// The connection, the look-up of the host name, what wakes the thread, and the file of certificates.
    static let perMailThread = 8
    /// The listening socket, connections accepted at the same time, and those that are closed or counted later.
    static let accepting = 1 + 4 + ConnectionLimit.surplusMax
    /// Locks of this process's folder and of those of dead processes, and a file being created.
    static let spool = 16
    /// libdispatch's own descriptors, and those with which it reads `/proc`.
    static let dispatch = 16
    /// Standard input and output, inherited descriptors, files of certificates, name look-ups, and whatever was
    /// forgotten.
    static let margin = 35
  }

  /// The process's limit on descriptors.
  package var limit: Int
  /// The most connections to PostgreSQL, for each pool.
  package var poolSizes: [Int]
  /// Threads that serve HTTP connections.
  package var eventLoopCount: Int
  /// Mails sent at the same time.
  package var mailThreadCount: Int
  /// Descriptors of the separate port for health and metrics, if there is one.
  package var operationsCount = 0

  package init(limit: Int, poolSizes: [Int], eventLoopCount: Int, mailThreadCount: Int) {
    self.limit = limit
    self.poolSizes = poolSizes
    self.eventLoopCount = eventLoopCount
    self.mailThreadCount = mailThreadCount
  }

  /// The default number of event loops: one per processor.
  package static var eventLoopCountStandard: Int { NIOSingletons.groupLoopCountSuggestion }

  /// Descriptors for everything but HTTP connections.
  package var keptBackCount: Int {
    poolSizes.reduce(0) { $0 + $1 * Kept.perPoolConnection + Kept.perPool } + Kept.listener
      + eventLoopCount * Kept.perEventLoop + mailThreadCount * Kept.perMailThread + Kept.accepting + Kept.spool
      + Kept.dispatch + Kept.margin + operationsCount
  }

  /// The number of HTTP connections that the descriptors allow.
  package var connectionCountAllowed: Int { max(0, limit - keptBackCount) }

  /// The most HTTP connections. `wanted` is the configured number; nil for the default.
  package func connectionCountMax(_ wanted: Int?) -> Int {
    min(wanted ?? Self.connectionCountStandard, connectionCountAllowed)
  }

  /// Why a server does not start with this limit; nil if it does start.
  package var refusal: String? {
    guard connectionCountAllowed < Self.connectionCountMin else { return nil }
    return """
      the limit of \(limit) descriptors is too low: \(keptBackCount) are reserved, and HTTP connections need \
      \(Self.connectionCountMin) more; \(Self.remedy), or lower DATABASE_POOL_SIZE
      """
  }

  /// A warning to operators about a low limit; nil if it is not low.
  package var warning: String? {
    guard connectionCountAllowed < Self.connectionCountFew else { return nil }
    return """
      the limit of \(limit) descriptors allows only \(connectionCountAllowed) HTTP connections; \(Self.remedy)
      """
  }

  private static let remedy =
    "raise it (LimitNOFILE= in systemd, ulimit -n in a shell, --ulimit nofile= in docker)"
}
