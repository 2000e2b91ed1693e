package import Foundation
package import Logging
package import Metrics
package import Postgres
import Synchronization

/// All events of the running portal that are worth reporting, in one type: logs, metrics and the tests that wait for an
/// event use the same stream. No key, account or secret is ever part of it.
package enum Observation: Sendable, Equatable {
  case cacheHit
  case cacheMiss
  /// A look-up after the cache's lease has expired.
  case cacheStale
  case fillStored
  /// A fill that was overtaken by an invalidation, came from another history, or could not be judged.
  case fillDiscarded
  case verified(VerdictCode)
  /// An item of a batch is malformed.
  case verificationInvalid
  case listening
  case synced
  case listenerFailed(String)
  /// The database continues from a different history than the one that was followed, or it cannot be determined what
  /// was missed: the caches were emptied, or what was read was discarded.
  case historyBroken
  /// PostgreSQL's clock was set forward, or back if negative.
  case databaseClockSet(seconds: Double)
  case usageFlushed(counters: Int)
  case usageFlushFailed(String)
  /// The times at which service tokens were last used could not be written.
  case tokenUsesFailed(String)
  /// Counters that a dead process had left were written.
  case usageAdopted(counters: Int)
  /// The database had lost counters after their commit, and they were written again.
  case usageWrittenAgain(counters: Int)
  /// A file of the spool cannot be counted or cannot be written to disk.
  case usageSpoolFailed(String)
  /// Counters were damaged by a power failure.
  case usageDamaged(counters: Int)
  /// The instance published what it had admitted and read what the others had.
  case limitsExchanged(windows: Int)
  case limitExchangeFailed(String)
  /// PostgreSQL was asked for credits; the verdict, or "failed".
  case creditsAsked(String)
  /// Another instance waited for credits that this one had.
  case creditsRecalled
  /// Credits that verdicts took in the last second, of one bucket.
  case creditsSpent(credits: Int)
  /// What was spent could not be told to PostgreSQL, and will be told again.
  case creditsSettleFailed(String)
  /// Leases that a dead process had left were settled.
  case creditsAdopted(leases: Int)
  /// What a dead process has left cannot be adopted.
  case creditsSpoolFailed(String)
  /// Another process has adopted the files of this one, which begins anew.
  case creditsHolderClosed
  case jobFinished(String, count: Int)
  case jobFailed(String, String)
  /// Second factors that were encrypted under another key are now encrypted under `SECRET_KEY`.
  case secretsSealedAnew(secrets: Int)
  /// Nothing is encrypted under a key of `SECRET_KEY_PREVIOUS` any more.
  case previousKeyUnused
  /// Counters are in a default partition because their month has no partition.
  case usageUnplaced(counters: Int)
  case mailSent(MailKind)
  /// A mail could not be sent and will be tried again.
  case mailDeferred(MailKind, String)
  /// A mail could not be sent and was given up.
  case mailFailed(MailKind, String)
  /// The outbox could not be read or written.
  case outboxFailed(String)
  /// An event on a connection to PostgreSQL that no caller asked for.
  case postgres(PostgresEvent)
  /// There were too many HTTP connections, and some of them were closed. During a flood, only some of these events are
  /// logged.
  case connectionsClosed(connections: Int, isLogged: Bool)
  /// The certificate's files were reloaded, and new connections use them.
  case certificateLoaded(expiresAt: Date)
  /// The certificate's files could not be used; new connections keep using the previous ones.
  case certificateRefused(String)
  /// A TLS handshake failed or did not complete in time.
  case handshakeFailed
  /// The server is about to stop, and answers for `seconds` as before.
  case draining(seconds: Int)
  /// A trusted proxy sent a client address that is not valid. If there are many, only some are logged.
  case forwardedUnreadable(isLogged: Bool)
  /// A request was refused by a limit.
  case requestRefused(RequestRefusal)
  /// An account has its maximum number of concurrent reads, and another one waits for its turn.
  case accountWaits
  /// A request was answered; `route` is the route as declared, or "NotFound".
  case answered(route: String, method: String, status: Int, nanoseconds: Int64)
  /// A request to a standalone limit was decided.
  case limitDecided(LimitOutcome)
}

/// Passes observations to its sinks.
package struct Observer: Sendable {
  package typealias Sink = @Sendable (Observation) -> Void

  private let sinks: [Sink]

  package init(_ sinks: [Sink]) { self.sinks = sinks }

  package func adding(_ sink: @escaping Sink) -> Observer { Observer(sinks + [sink]) }

  package func observe(_ observation: Observation) {
    for sink in sinks { sink(observation) }
  }

  /// Logs what needs an operator's attention; the rest is for metrics.
  package static func logging(_ logger: Logger) -> Sink {
    { observation in
      switch observation {
      case .listenerFailed(let reason):
        logger.warning(
          "the invalidation listener lost its connection and will reconnect", metadata: ["reason": "\(reason)"])
      case .historyBroken:
        logger.warning(
          "the database continued from a different history; caches were emptied and connections are renewed")
      case .databaseClockSet(let seconds):
        logger.warning("PostgreSQL's clock was set; its new time is used", metadata: ["seconds": "\(seconds)"])
      case .usageFlushFailed(let reason):
        logger.warning("usage could not be flushed and is kept", metadata: ["reason": "\(reason)"])
      case .tokenUsesFailed(let reason):
        logger.warning(
          "last-used times of service tokens could not be written and are kept", metadata: ["reason": "\(reason)"])
      case .usageAdopted(let counters):
        logger.notice("counters left by a dead process were written", metadata: ["counters": "\(counters)"])
      case .usageWrittenAgain(let counters):
        logger.warning(
          "the database had lost counters; they were written again", metadata: ["counters": "\(counters)"])
      case .usageSpoolFailed(let reason):
        logger.error("the spool of counters has a problem", metadata: ["reason": "\(reason)"])
      case .usageDamaged(let counters):
        logger.error("the spool has damaged counters", metadata: ["counters": "\(counters)"])
      case .limitExchangeFailed(let reason):
        logger.warning(
          "limits could not be exchanged with the other instances", metadata: ["reason": "\(reason)"])
      case .creditsSettleFailed(let reason):
        logger.warning("what was spent of credits could not be settled and is kept", metadata: ["reason": "\(reason)"])
      case .creditsAdopted(let leases) where leases > 0:
        logger.notice("credits leased by a dead process were settled", metadata: ["leases": "\(leases)"])
      case .creditsSpoolFailed(let reason):
        logger.error("credits leased by a dead process cannot be settled", metadata: ["reason": "\(reason)"])
      case .creditsHolderClosed:
        logger.error("another process has settled this one's credits; it continues with new files")
      case .jobFinished(let job, let count) where count > 0:
        logger.debug("a job has finished", metadata: ["job": "\(job)", "count": "\(count)"])
      case .jobFailed(let job, let reason):
        logger.warning("a job failed and will be tried again", metadata: ["job": "\(job)", "reason": "\(reason)"])
      case .previousKeyUnused:
        logger.notice("SECRET_KEY_PREVIOUS is no longer needed; remove it once all instances have this SECRET_KEY")
      case .usageUnplaced(let counters):
        logger.warning(
          "counters are in a default partition; the job usage-partitions moves them",
          metadata: ["counters": "\(counters)"])
      case .mailDeferred(let kind, let reason):
        logger.warning(
          "a mail could not be sent and will be tried again",
          metadata: ["kind": "\(kind.rawValue)", "reason": "\(reason)"])
      case .mailFailed(let kind, let reason):
        logger.error("a mail was given up", metadata: ["kind": "\(kind.rawValue)", "reason": "\(reason)"])
      case .outboxFailed(let reason):
        logger.warning("the outbox cannot be reached", metadata: ["reason": "\(reason)"])
      case .connectionsClosed(let connections, isLogged: true):
        logger.warning(
          "the maximum number of HTTP connections is reached; the longest idle ones are closed",
          metadata: ["connections": "\(connections)"])
      case .forwardedUnreadable(isLogged: true):
        logger.warning(
          "a trusted proxy sent no valid client address; its requests count as its own; see FORWARDED_HEADER")
      case .certificateLoaded(let expiresAt):
        logger.notice(
          "the certificate was reloaded", metadata: ["expires": "\(expiresAt.ISO8601Format())"])
      case .certificateRefused(let reason):
        logger.error(
          "the certificate could not be reloaded; the previous one stays in use", metadata: ["reason": "\(reason)"])
      case .draining(let seconds):
        logger.notice("the server is about to stop and is draining", metadata: ["seconds": "\(seconds)"])
      case .listening:
        logger.info("listening for invalidations")
      case .postgres(let event):
        log(event, logger)
      default:
        break
      }
    }
  }

  private static func log(_ event: PostgresEvent, _ logger: Logger) {
    switch event {
    case .notice(let notice):
      let needsAttention = [.warning, .error, .fatal, .panic].contains(notice.severity)
      logger.log(
        level: needsAttention ? .warning : .debug, "PostgreSQL sent a notice",
        metadata: [
          "severity": "\(notice.severity.rawValue)", "sqlstate": "\(notice.sqlState)", "message": "\(notice.message)",
        ])
    case .sentAgain:
      logger.debug("statements that an ended connection had not carried out were sent on another one")
    case .condemned(let connections):
      logger.warning(
        "a connection to PostgreSQL ended without a message; the idle ones were closed",
        metadata: ["connections": "\(connections)"])
    case .commitLeft:
      logger.error("a commit outlasted its deadline and continues; is a synchronous standby down?")
    case .commitSettled(let isCommitted):
      logger.notice("a commit that outlasted its deadline has ended", metadata: ["committed": "\(isCommitted)"])
    }
  }

  /// Counters and request durations, under the names that `docs/OPERATIONS.md` lists.
  package static func metrics(_ factory: any MetricsFactory) -> Sink {
    func counter(_ name: String, _ labels: [(String, String)] = []) -> Counter {
      Counter(label: "latchkey_\(name)_total", dimensions: labels, factory: factory)
    }
    let (hits, misses) = (counter("cache_hits"), counter("cache_misses"))
    let bypasses = counter("cache_bypasses", [("reason", "lease_over")])
    let (stored, discarded) = (counter("cache_fills_stored"), counter("cache_fills_discarded"))
    let (syncs, failures) = (counter("listener_syncs"), counter("listener_failures"))
    let brokenHistories = counter("history_breaks")
    let (flushed, flushFailures) = (counter("usage_counters_flushed"), counter("usage_flush_failures"))
    let (adopted, writtenAgain) = (counter("usage_counters_adopted"), counter("usage_counters_written_again"))
    let clockJumps = counter("database_clock_jumps")
    let (spoolFailures, damaged) = (counter("usage_spool_failures"), counter("usage_counters_damaged"))
    let (exchanges, exchangedWindows) = (counter("limit_exchanges"), counter("limit_windows_exchanged"))
    let exchangeFailures = counter("limit_exchange_failures")
    let asks = Dictionary(
      uniqueKeysWithValues: ["ok", "pending", "refused", "changed", "overtaken", "gone", "closed", "failed"].map {
        ($0, counter("credit_asks", [("verdict", $0)]))
      })
    let (recalls, spentCredits) = (counter("credit_recalls"), counter("credits_spent"))
    let (settleFailures, adoptedLeases) = (counter("credit_settle_failures"), counter("credit_leases_adopted"))
    let creditSpoolFailures = counter("credit_spool_failures")
    let jobFailures: @Sendable (String) -> Counter = {
      Counter(label: "latchkey_job_failures_total", dimensions: [("job", $0)], factory: factory)
    }
    let sealedAnew = counter("second_factors_sealed_anew")
    let verdicts = Dictionary(
      uniqueKeysWithValues: VerdictCode.allCases.map { ($0, counter("verifications", [("code", $0.rawValue)])) })
    let invalid = counter("verifications", [("code", "INVALID_REQUEST")])
    let mails: @Sendable (String, MailKind) -> Counter = { name, kind in
      Counter(label: "latchkey_\(name)_total", dimensions: [("kind", kind.rawValue)], factory: factory)
    }
    let outboxFailures = counter("outbox_failures")
    let closedConnections = counter("http_connections_closed")
    let loadedCertificates = counter("tls_reloads", [("outcome", "loaded")])
    let refusedCertificates = counter("tls_reloads", [("outcome", "refused")])
    let failedHandshakes = counter("tls_handshake_failures")
    let unreadableForwards = counter("forwarded_unreadable")
    let refusals = Dictionary(
      uniqueKeysWithValues: RequestRefusal.allCases.map {
        ($0, counter("requests_refused", [("limit", $0.rawValue)]))
      })
    let accountWaits = counter("account_waits")
    let limitDecisions = Dictionary(
      uniqueKeysWithValues: LimitOutcome.allCases.map {
        ($0, counter("standalone_limits", [("outcome", $0.rawValue)]))
      })
    let postgres = PostgresCounters(counter)
    let durations = RequestDurations(factory)
    return { observation in
      switch observation {
      case .cacheHit: hits.increment()
      case .cacheMiss: misses.increment()
      case .cacheStale: bypasses.increment()
      case .fillStored: stored.increment()
      case .fillDiscarded: discarded.increment()
      case .synced: syncs.increment()
      case .listenerFailed: failures.increment()
      case .historyBroken: brokenHistories.increment()
      case .databaseClockSet: clockJumps.increment()
      case .usageFlushed(let counters): flushed.increment(by: counters)
      case .usageFlushFailed: flushFailures.increment()
      case .usageAdopted(let counters): adopted.increment(by: counters)
      case .usageWrittenAgain(let counters): writtenAgain.increment(by: counters)
      case .usageSpoolFailed: spoolFailures.increment()
      case .usageDamaged(let counters): damaged.increment(by: counters)
      case .limitsExchanged(let windows):
        exchanges.increment()
        exchangedWindows.increment(by: windows)
      case .limitExchangeFailed: exchangeFailures.increment()
      case .creditsAsked(let verdict): asks[verdict]?.increment()
      case .creditsRecalled: recalls.increment()
      case .creditsSpent(let credits): spentCredits.increment(by: credits)
      case .creditsSettleFailed: settleFailures.increment()
      case .creditsAdopted(let leases): adoptedLeases.increment(by: leases)
      case .creditsSpoolFailed, .creditsHolderClosed: creditSpoolFailures.increment()
      case .jobFailed(let job, _): jobFailures(job).increment()
      case .secretsSealedAnew(let secrets): sealedAnew.increment(by: secrets)
      case .verified(let code): verdicts[code]?.increment()
      case .verificationInvalid: invalid.increment()
      case .answered(let route, let method, let status, let nanoseconds):
        durations.timer(route, method, status).recordNanoseconds(nanoseconds)
      case .mailSent(let kind): mails("mails_sent", kind).increment()
      case .mailDeferred(let kind, _): mails("mails_deferred", kind).increment()
      case .mailFailed(let kind, _): mails("mails_failed", kind).increment()
      case .outboxFailed: outboxFailures.increment()
      case .connectionsClosed(let connections, _): closedConnections.increment(by: connections)
      case .certificateLoaded: loadedCertificates.increment()
      case .certificateRefused: refusedCertificates.increment()
      case .handshakeFailed: failedHandshakes.increment()
      case .forwardedUnreadable: unreadableForwards.increment()
      case .requestRefused(let refusal): refusals[refusal]?.increment()
      case .accountWaits: accountWaits.increment()
      case .limitDecided(let outcome): limitDecisions[outcome]?.increment()
      case .postgres(let event): postgres.count(event)
      case .listening, .jobFinished, .previousKeyUnused, .usageUnplaced, .tokenUsesFailed, .draining: break
      }
    }
  }
}

/// The counters of events on connections to PostgreSQL.
private struct PostgresCounters: Sendable {
  private let notices: [PostgresNotice.Severity: Counter]
  private let sentAgain, condemned, commitsLeft, commitsStood, commitsFailed: Counter

  init(_ counter: (String, [(String, String)]) -> Counter) {
    notices = Dictionary(
      uniqueKeysWithValues: PostgresNotice.Severity.allCases.map {
        ($0, counter("postgres_notices", [("severity", $0.rawValue.lowercased())]))
      })
    sentAgain = counter("postgres_sent_again", [])
    condemned = counter("postgres_connections_condemned", [])
    commitsLeft = counter("postgres_commits_left", [])
    commitsStood = counter("postgres_commits_settled", [("outcome", "committed")])
    commitsFailed = counter("postgres_commits_settled", [("outcome", "unknown")])
  }

  func count(_ event: PostgresEvent) {
    switch event {
    case .notice(let notice): notices[notice.severity]?.increment()
    case .sentAgain: sentAgain.increment()
    case .condemned(let connections): condemned.increment(by: connections)
    case .commitLeft: commitsLeft.increment()
    case .commitSettled(let isCommitted): (isCommitted ? commitsStood : commitsFailed).increment()
    }
  }
}

/// The timers of requests by their labels, kept because creating the text of the labels for each request would cost
/// more than counting it.
private final class RequestDurations: Sendable {
  private struct Labels: Hashable {
    var route: String
    var method: String
    var status: Int

    /// Does not hash the texts: there are few, and some are looked up every few microseconds.
    func hash(into hasher: inout Hasher) { hasher.combine(route.utf8.count << 16 ^ status) }
  }

  private let factory: any MetricsFactory
  private let timers = Mutex<[Labels: Timer]>([:])

  init(_ factory: any MetricsFactory) { self.factory = factory }

  func timer(_ route: String, _ method: String, _ status: Int) -> Timer {
    let labels = Labels(route: route, method: method, status: status)
    return timers.withLock { timers in
      if let timer = timers[labels] { return timer }
      let timer = Timer(
        label: "latchkey_request_duration_seconds",
        dimensions: [("route", route), ("method", method), ("status", "\(status)")], factory: factory)
      timers[labels] = timer
      return timer
    }
  }
}
