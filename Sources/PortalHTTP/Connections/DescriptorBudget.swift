import NIOCore

/// How the descriptors of a server are divided: what everything else needs is kept back, and HTTP connections have the
/// rest. A library that gets no descriptor when it needs one may end the process, and PostgreSQL could not be reached
/// any more.
package struct DescriptorBudget: Equatable, Sendable {
  /// With fewer HTTP connections than this a server does not start.
  package static let connectionCountMin = 16
  /// HTTP connections at most, where nothing else was asked for.
  package static let connectionCountStandard = 20_000
  /// Fewer HTTP connections than this are worth a warning.
  private static let connectionCountFew = 1_000

  /// What is kept back, in descriptors.
  private enum Kept {
    /// Of a pool for each of its connections: itself, one that waits outside for a commit, and one that asks to cancel,
    /// or the look-up of the host's name before.
    static let perPoolConnection = 3
    /// Its thread's `epoll` and `eventfd`.
    static let perPool = 2
    /// The connection that listens, a request to cancel, and the one that follows it.
    static let listener = 3
    /// `epoll`, `eventfd` and `timerfd`.
    static let perEventLoop = 3
    /// The connection, the look-up of the host's name, what wakes its thread, and the file of certificates.
    static let perMailThread = 8
    /// The socket that listens, those that were accepted beside each other, and those that are closed or counted later.
    static let accepting = 1 + 4 + ConnectionLimit.surplusMax
    /// Locks of this process's folder and of those of dead ones, and a file that is being made.
    static let spool = 16
    /// libdispatch's own, and what it reads of `/proc`.
    static let dispatch = 16
    /// Standard input and output, what was inherited, files of certificates and name look-ups, and what was forgotten.
    static let margin = 35
  }

  /// Descriptors that the process may have.
  package var limit: Int
  /// Connections to PostgreSQL at most, of each pool.
  package var poolSizes: [Int]
  /// Threads that serve HTTP connections.
  package var eventLoopCount: Int
  /// Mails that are sent at once.
  package var mailThreadCount: Int
  /// Of the port that health and metrics have to themselves, where there is one.
  package var operationsCount = 0

  package init(limit: Int, poolSizes: [Int], eventLoopCount: Int, mailThreadCount: Int) {
    self.limit = limit
    self.poolSizes = poolSizes
    self.eventLoopCount = eventLoopCount
    self.mailThreadCount = mailThreadCount
  }

  /// Event loops that there are if nobody says how many: one a processor.
  package static var eventLoopCountStandard: Int { NIOSingletons.groupLoopCountSuggestion }

  /// Descriptors for all but HTTP connections.
  package var keptBackCount: Int {
    poolSizes.reduce(0) { $0 + $1 * Kept.perPoolConnection + Kept.perPool } + Kept.listener
      + eventLoopCount * Kept.perEventLoop + mailThreadCount * Kept.perMailThread + Kept.accepting + Kept.spool
      + Kept.dispatch + Kept.margin + operationsCount
  }

  /// HTTP connections that the descriptors allow.
  package var connectionCountAllowed: Int { max(0, limit - keptBackCount) }

  /// HTTP connections at most, where so many were asked for; nil for the standard.
  package func connectionCountMax(_ wanted: Int?) -> Int {
    min(wanted ?? Self.connectionCountStandard, connectionCountAllowed)
  }

  /// Why a server does not start with this limit; nil if it does.
  package var refusal: String? {
    guard connectionCountAllowed < Self.connectionCountMin else { return nil }
    return """
      the limit of \(limit) descriptors is too low: \(keptBackCount) are kept back for all but HTTP connections, which \
      need \(Self.connectionCountMin) more; \(Self.remedy), or lower DATABASE_POOL_SIZE
      """
  }

  /// What an operator should know of a limit that is low; nil if it is not.
  package var warning: String? {
    guard connectionCountAllowed < Self.connectionCountFew else { return nil }
    return """
      the limit of \(limit) descriptors allows \(connectionCountAllowed) HTTP connections; \(Self.remedy)
      """
  }

  private static let remedy =
    "raise it: LimitNOFILE= of systemd, ulimit -n of the shell, or --ulimit nofile= of docker"
}
