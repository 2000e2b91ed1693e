package import Metrics
import Synchronization

/// The backend of swift-metrics that `/metrics` shows: counters and histograms, in Prometheus' text format ("Exposition
/// formats", version 0.0.4). Not the process's global one, so that tests can run in parallel.
package final class PrometheusMetrics: MetricsFactory {
  /// A value that is read on demand.
  package struct Gauge: Sendable {
    package var name: String
    package var labels: [(String, String)]
    package var value: Double

    package init(_ name: String, _ value: Double, labels: [(String, String)] = []) {
      self.name = name
      self.labels = labels
      self.value = value
    }
  }

  private enum Series {
    case counter(PrometheusCounter)
    case histogram(PrometheusHistogram)
  }

  /// By name, then by the text of the labels.
  private let families = Mutex<[String: [String: Series]]>([:])

  package init() {}

  /// All metrics, sorted by name; `gauges` of one name are grouped.
  package func text(_ gauges: [Gauge] = []) -> String {
    var lines: [String] = []
    for (name, family) in families.withLock({ $0 }).sorted(by: { $0.key < $1.key }) {
      let series = family.sorted { $0.key < $1.key }
      if case .counter? = series.first?.value {
        lines += Self.head(name, "counter")
      } else {
        lines += Self.head(name, "histogram")
      }
      for (labels, one) in series {
        switch one {
        case .counter(let counter): lines.append("\(name)\(Self.braced(labels)) \(counter.count)")
        case .histogram(let histogram): lines += histogram.lines(name, labels)
        }
      }
    }
    for (name, gauges) in Dictionary(grouping: gauges, by: \.name).sorted(by: { $0.key < $1.key }) {
      lines += Self.head(name, "gauge")
      lines += gauges.map { "\(name)\(Self.braced(Self.text(of: $0.labels))) \($0.value)" }
    }
    return lines.joined(separator: "\n") + "\n"
  }

  // MARK: MetricsFactory

  package func makeCounter(label: String, dimensions: [(String, String)]) -> any CounterHandler {
    series(label, dimensions) {
      if case .counter(let counter)? = $0 { return (counter, nil) }
      let made = PrometheusCounter()
      return (made, .counter(made))
    }
  }

  /// A histogram of seconds, because nothing else is recorded here.
  package func makeTimer(label: String, dimensions: [(String, String)]) -> any TimerHandler {
    histogram(label, dimensions)
  }

  package func makeRecorder(
    label: String, dimensions: [(String, String)], aggregate: Bool
  ) -> any RecorderHandler {
    histogram(label, dimensions)
  }

  package func destroyCounter(_ handler: any CounterHandler) {}
  package func destroyTimer(_ handler: any TimerHandler) {}
  package func destroyRecorder(_ handler: any RecorderHandler) {}

  private func histogram(_ name: String, _ labels: [(String, String)]) -> PrometheusHistogram {
    series(name, labels) {
      if case .histogram(let histogram)? = $0 { return (histogram, nil) }
      let made = PrometheusHistogram()
      return (made, .histogram(made))
    }
  }

  private func series<Handler>(
    _ name: String, _ labels: [(String, String)], _ find: (Series?) -> (Handler, new: Series?)
  ) -> Handler {
    let labels = Self.text(of: labels)
    return families.withLock { families in
      let (handler, new) = find(families[name]?[labels])
      if let new { families[name, default: [:]][labels] = new }
      return handler
    }
  }

  /// The lines before the samples of a metric.
  private static func head(_ name: String, _ type: String) -> [String] {
    (help[name].map { ["# HELP \(name) \($0)"] } ?? []) + ["# TYPE \(name) \(type)"]
  }

  /// `code="VALID",method="GET"`
  private static func text(of labels: [(String, String)]) -> String {
    labels.map { name, value in
      let escaped = value.replacing("\\", with: "\\\\").replacing("\"", with: "\\\"").replacing("\n", with: "\\n")
      return "\(name)=\"\(escaped)\""
    }.joined(separator: ",")
  }

  fileprivate static func braced(_ labels: String) -> String { labels.isEmpty ? "" : "{\(labels)}" }
}

private final class PrometheusCounter: CounterHandler {
  private let value = Atomic<Int64>(0)
  var count: Int64 { value.load(ordering: .relaxed) }
  func increment(by amount: Int64) { value.wrappingAdd(amount, ordering: .relaxed) }
  func reset() { value.store(0, ordering: .relaxed) }
}

private final class PrometheusHistogram: TimerHandler, RecorderHandler {
  /// Upper bounds in seconds: a good answer takes half a millisecond, and nobody waits for five seconds.
  private static let bounds = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5]

  private struct State {
    /// One for each bound, and one for values above all bounds.
    var counts = [Int](repeating: 0, count: PrometheusHistogram.bounds.count + 1)
    var sum = 0.0
  }

  private let state = Mutex(State())

  func recordNanoseconds(_ duration: Int64) { record(Double(duration) / 1e9) }
  func record(_ value: Int64) { record(Double(value)) }

  func record(_ value: Double) {
    let index = Self.bounds.firstIndex { value <= $0 } ?? Self.bounds.count
    state.withLock { state in
      state.counts[index] += 1
      state.sum += value
    }
  }

  func lines(_ name: String, _ labels: String) -> [String] {
    let (counts, sum) = state.withLock { ($0.counts, $0.sum) }
    let prefix = labels.isEmpty ? "" : labels + ","
    var total = 0
    var lines: [String] = []
    for (bound, count) in zip(Self.bounds.map { "\($0)" } + ["+Inf"], counts) {
      total += count
      lines.append("\(name)_bucket{\(prefix)le=\"\(bound)\"} \(total)")
    }
    return lines + [
      "\(name)_sum\(PrometheusMetrics.braced(labels)) \(sum)",
      "\(name)_count\(PrometheusMetrics.braced(labels)) \(total)",
    ]
  }
}
