package import Foundation
package import Logging
package import Metrics
package import Postgres
import Synchronization

/// All that is worth telling about the running portal, in one type: logs, metrics and the tests that wait for something
/// to happen listen to the same stream. No key, account or secret is ever part of it.
package enum Observation: Sendable, Equatable {
  case cacheHit
  case cacheMiss
  /// A look-up past the lease of the cache.
  case cacheStale
  case fillStored
  /// A fill that an invalidation had overtaken, of another history, or that could not be judged.
  case fillDiscarded
  case verified(VerdictCode)
  /// A question of a batch could not be understood.
  case verificationInvalid
  case listening
  case synced
  case listenerFailed(String)
  /// The database goes on from another history than the one that was followed, or what was missed cannot be told: the
  /// caches were emptied, or what was read was thrown away.
  case historyBroken
  /// PostgreSQL's clock was set forward, or back where it is negative.
  case databaseClockSet(seconds: Double)
  case usageFlushed(counters: Int)
  case usageFlushFailed(String)
  /// When service tokens were used could not be written.
  case tokenUsesFailed(String)
  /// What a dead process had left was written.
  case usageAdopted(counters: Int)
  /// The database had lost counters that it had, and they were written again.
  case usageWrittenAgain(counters: Int)
  /// A file of the spool cannot be counted, or not be written to the disk.
  case usageSpoolFailed(String)
  /// Counters that a power cut has torn.
  case usageDamaged(counters: Int)
  /// What this instance admitted was told to the others, and theirs heard.
  case limitsExchanged(windows: Int)
  case limitExchangeFailed(String)
  case jobFinished(String, count: Int)
  case jobFailed(String, String)
  /// Second factors stand under `SECRET_KEY` that stood under another key before.
  case secretsSealedAnew(secrets: Int)
  /// Nothing stands under a key of `SECRET_KEY_PREVIOUS`.
  case previousKeyUnused
  /// Counters stand in a default partition, because none was made for their month.
  case usageUnplaced(counters: Int)
  case mailSent(MailKind)
  /// It will be tried again.
  case mailDeferred(MailKind, String)
  /// It will not.
  case mailFailed(MailKind, String)
  /// The outbox could not be read or written.
  case outboxFailed(String)
  /// On a connection to PostgreSQL, without anybody having asked.
  case postgres(PostgresEvent)
  /// There were too many HTTP connections, and some of them were closed. Of a flood only some are logged.
  case connectionsClosed(connections: Int, isLogged: Bool)
  /// The files of the server's certificate were read again, and new connections have it.
  case certificateLoaded(expiresAt: Date)
  /// They could not be used; new connections have what there was before.
  case certificateRefused(String)
  /// A client and the server did not come to terms about TLS, or not in time.
  case handshakeFailed
  /// The server is about to end, and answers for so long as before.
  case draining(seconds: Int)
  /// A trusted proxy has said where a request comes from, and it is no address. Of many only some are logged.
  case forwardedUnreadable(isLogged: Bool)
  /// A request was one too many, and was refused.
  case requestRefused(RequestRefusal)
  /// As many reads of an account as may be are under way, and one more waits for its turn.
  case accountWaits
  /// A request was answered; `route` as it was declared, "NotFound" where there is none.
  case answered(route: String, method: String, status: Int, nanoseconds: Int64)
}

/// Where observations go.
package struct Observer: Sendable {
  package typealias Sink = @Sendable (Observation) -> Void

  private let sinks: [Sink]

  package init(_ sinks: [Sink]) { self.sinks = sinks }

  package func adding(_ sink: @escaping Sink) -> Observer { Observer(sinks + [sink]) }

  package func observe(_ observation: Observation) {
    for sink in sinks { sink(observation) }
  }

  /// Tells an operator what needs attention; the rest is for metrics.
  package static func logging(_ logger: Logger) -> Sink {
    { observation in
      switch observation {
      case .listenerFailed(let reason):
        logger.warning(
          "the invalidation listener lost its connection and will reconnect", metadata: ["reason": "\(reason)"])
      case .historyBroken:
        logger.warning(
          "the database's history is not the one that was followed; caches are emptied and connections renewed")
      case .databaseClockSet(let seconds):
        logger.warning("PostgreSQL's clock was set, and is followed", metadata: ["seconds": "\(seconds)"])
      case .usageFlushFailed(let reason):
        logger.warning("usage could not be flushed and is kept", metadata: ["reason": "\(reason)"])
      case .tokenUsesFailed(let reason):
        logger.warning(
          "when service tokens were used could not be written and is kept", metadata: ["reason": "\(reason)"])
      case .usageAdopted(let counters):
        logger.notice("counters that a dead process left were written", metadata: ["counters": "\(counters)"])
      case .usageWrittenAgain(let counters):
        logger.warning(
          "the database had lost counters, and they were written again", metadata: ["counters": "\(counters)"])
      case .usageSpoolFailed(let reason):
        logger.error("something is wrong with the spool of counters", metadata: ["reason": "\(reason)"])
      case .usageDamaged(let counters):
        logger.error("counters in the spool are damaged", metadata: ["counters": "\(counters)"])
      case .limitExchangeFailed(let reason):
        logger.warning(
          "limits could not be exchanged with the other instances", metadata: ["reason": "\(reason)"])
      case .jobFinished(let job, let count) where count > 0:
        logger.debug("a job is done", metadata: ["job": "\(job)", "count": "\(count)"])
      case .jobFailed(let job, let reason):
        logger.warning("a job failed and will be tried again", metadata: ["job": "\(job)", "reason": "\(reason)"])
      case .previousKeyUnused:
        logger.notice("SECRET_KEY_PREVIOUS opens nothing any more; where all instances have this SECRET_KEY, remove it")
      case .usageUnplaced(let counters):
        logger.warning(
          "counters stand in a default partition; the job usage-partitions moves them",
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
          "there are as many HTTP connections as there may be; those that were idle for longest are closed",
          metadata: ["connections": "\(connections)"])
      case .forwardedUnreadable(isLogged: true):
        logger.warning(
          "a trusted proxy names no address for its client, whose requests count as its own; see FORWARDED_HEADER")
      case .certificateLoaded(let expiresAt):
        logger.notice(
          "the certificate was read again", metadata: ["expires": "\(expiresAt.ISO8601Format())"])
      case .certificateRefused(let reason):
        logger.error(
          "the certificate could not be read again, and stays what it was", metadata: ["reason": "\(reason)"])
      case .draining(let seconds):
        logger.notice("the server is about to end, and drains", metadata: ["seconds": "\(seconds)"])
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
        level: needsAttention ? .warning : .debug, "PostgreSQL said something",
        metadata: [
          "severity": "\(notice.severity.rawValue)", "sqlstate": "\(notice.sqlState)", "message": "\(notice.message)",
        ])
    case .sentAgain:
      logger.debug("what an ended connection had not carried out was sent on another one")
    case .condemned(let connections):
      logger.warning(
        "a connection to PostgreSQL ended without a word; the idle ones were closed",
        metadata: ["connections": "\(connections)"])
    case .commitLeft:
      logger.error("a commit outlasted its deadline and goes on; is a synchronous standby away?")
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
      case .postgres(let event): postgres.count(event)
      case .listening, .jobFinished, .previousKeyUnused, .usageUnplaced, .tokenUsesFailed, .draining: break
      }
    }
  }
}

/// The counters of what happens on connections to PostgreSQL.
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

/// The timers of requests, kept, because making the text of the labels anew would cost each request more than counting
/// it.
private final class RequestDurations: Sendable {
  private struct Labels: Hashable {
    var route: String
    var method: String
    var status: Int

    /// Not of the texts, of which there are few, and some of them every few microseconds.
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
