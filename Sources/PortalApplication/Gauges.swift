import Foundation
import Portal
import PortalHTTP
import Postgres

extension PortalApplication {
  /// Gauges read when the metrics are requested.
  static func gauges(
    _ pools: [(name: String, pool: PostgresPool)], _ cache: CoherentCache<VerifiableKey>, _ instance: Instance,
    _ usage: UsageRecorder.Holdings
  ) -> [PrometheusMetrics.Gauge] {
    [
      .init("latchkey_cache_entries", Double(cache.count)),
      .init("latchkey_cache_fresh_seconds", cache.freshFor(at: .now) / .seconds(1)),
      .init("latchkey_listener_applied_seq", Double(instance.appliedSeq ?? 0)),
      .init("latchkey_usage_spool_bytes", Double(usage.fileByteCount)),
      .init("latchkey_usage_unprotected", usage.failure == nil ? 0 : 1),
      .init("latchkey_usage_lost_verdicts", Double(usage.lostCount)),
    ]
      + (instance.clock.machineOffsetSeconds.map { [.init("latchkey_clock_offset_seconds", $0)] } ?? [])
      + pools.flatMap { name, pool in
        let connections = pool.gauges
        return [
          PrometheusMetrics.Gauge(
            "latchkey_pool_connections", Double(connections.leased), labels: [("pool", name), ("state", "in_use")]),
          PrometheusMetrics.Gauge(
            "latchkey_pool_connections", Double(connections.open - connections.leased),
            labels: [("pool", name), ("state", "idle")]),
          PrometheusMetrics.Gauge(
            "latchkey_pool_connections", Double(pool.pendingCommitCount),
            labels: [("pool", name), ("state", "committing")]),
          PrometheusMetrics.Gauge("latchkey_pool_waiters", Double(connections.waiting), labels: [("pool", name)]),
        ]
      }
  }

  static func gauges(_ credits: CreditLedger.Holdings) -> [PrometheusMetrics.Gauge] {
    [
      .init("latchkey_credit_blocks", Double(credits.blockCount)),
      .init("latchkey_credit_spool_bytes", Double(credits.fileByteCount)),
      .init("latchkey_credits_unprotected", credits.failure == nil ? 0 : 1),
    ]
  }

  static func gauges(_ connections: ConnectionLimit, _ tls: ServerTLS?) -> [PrometheusMetrics.Gauge] {
    [
      .init("latchkey_http_connections", Double(connections.count)),
      .init("latchkey_http_connections_max", Double(connections.countMax)),
    ]
      + (tls.map {
        [.init("latchkey_tls_certificate_expiry_timestamp_seconds", $0.expiresAt.timeIntervalSince1970)]
      } ?? [])
  }

  /// The same on every instance, whichever ran the jobs.
  static func gauges(_ report: JobReport) -> [PrometheusMetrics.Gauge] {
    let records = report.records.sorted { $0.key < $1.key }
    return [.init("latchkey_usage_unplaced_counters", Double(report.unplacedUsageCount))]
      + records.compactMap { name, record in
        record.succeededAt.map {
          .init("latchkey_job_last_success_timestamp_seconds", $0.timeIntervalSince1970, labels: [("job", name)])
        }
      }
      + records.compactMap { name, record in
        record.durationMilliseconds.map {
          .init("latchkey_job_duration_seconds", $0 / 1_000, labels: [("job", name)])
        }
      }
  }
}
