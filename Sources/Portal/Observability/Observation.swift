package import Logging
import Metrics

/// All that is worth telling about the running portal, in one type: logs, metrics and the tests that wait for something
/// to happen listen to the same stream. No key, account or secret is ever part of it.
package enum Observation: Sendable, Equatable {
  case cacheHit
  case cacheMiss
  /// A look-up past the lease of the cache.
  case cacheStale
  case fillStored
  /// A fill that an invalidation had overtaken, or that could not be judged.
  case fillDiscarded
  case verified(Verdict.Code)
  case listening
  case synced
  case listenerFailed(String)
  case usageFlushed(counters: Int)
  case usageFlushFailed(String)
  case maintenanceFailed(String)
}

/// Where observations go.
package struct Observer: Sendable {
  package typealias Sink = @Sendable (Observation) -> Void

  private let sinks: [Sink]

  package init(_ sinks: [Sink]) { self.sinks = sinks }

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
      case .usageFlushFailed(let reason):
        logger.warning("usage could not be flushed and is kept", metadata: ["reason": "\(reason)"])
      case .maintenanceFailed(let reason):
        logger.warning("maintenance failed and will be tried again", metadata: ["reason": "\(reason)"])
      case .listening:
        logger.info("listening for invalidations")
      default:
        break
      }
    }
  }

  /// Counters by swift-metrics, under the names that `docs/ARCHITECTURE.md` lists.
  package static func metrics() -> Sink {
    let hits = Counter(label: "latchkey_cache_hits_total")
    let misses = Counter(label: "latchkey_cache_misses_total")
    let stale = Counter(label: "latchkey_cache_stale_total")
    let discarded = Counter(label: "latchkey_cache_fills_discarded_total")
    let syncs = Counter(label: "latchkey_listener_syncs_total")
    let failures = Counter(label: "latchkey_listener_failures_total")
    let flushed = Counter(label: "latchkey_usage_counters_flushed_total")
    let verdicts = Dictionary(
      uniqueKeysWithValues: Verdict.Code.allCases.map {
        ($0, Counter(label: "latchkey_verifications_total", dimensions: [("code", $0.rawValue)]))
      })
    return { observation in
      switch observation {
      case .cacheHit: hits.increment()
      case .cacheMiss: misses.increment()
      case .cacheStale: stale.increment()
      case .fillDiscarded: discarded.increment()
      case .synced: syncs.increment()
      case .listenerFailed: failures.increment()
      case .usageFlushed(let counters): flushed.increment(by: counters)
      case .verified(let code): verdicts[code]?.increment()
      case .fillStored, .listening, .usageFlushFailed, .maintenanceFailed: break
      }
    }
  }
}
