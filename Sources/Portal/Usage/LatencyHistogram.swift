import Foundation
import JSON

/// Latencies in buckets whose bounds grow by a constant factor, so that a percentile is off by 5 % at most, and
/// histograms of any keys, days and instances can be added up (C. Masson et al., "DDSketch", VLDB 2019).
///
/// The buckets cover 0.1 ms to 60 s; latencies outside are counted in the first or last bucket.
package struct LatencyHistogram: Sendable, Equatable {
  package static let relativeError = 0.05
  package static let millisecondsMin = 0.1
  package static let millisecondsMax = 60_000.0
  private static let growth = (1 + relativeError) / (1 - relativeError)
  private static let logGrowth = log(growth)
  package static let bucketCountMax = index(of: millisecondsMax) + 1

  /// Counts, without trailing zeros.
  package private(set) var buckets: [Int]

  /// Counts as they were stored. Counts beyond the last bucket are ignored.
  package init(buckets: [Int] = []) { self.buckets = Array(buckets.prefix(Self.bucketCountMax)) }

  /// The numbers of the buckets that are not empty, starting from 1, and their counts. Numbers that no bucket has are
  /// ignored.
  init(places: [Int], counts: [Int]) {
    let filled = zip(places, counts).filter { (1...Self.bucketCountMax).contains($0.0) }
    buckets = Array(repeating: 0, count: filled.map { $0.0 }.max() ?? 0)
    for (place, count) in filled { buckets[place - 1] = count }
  }

  package mutating func add(milliseconds: Double) {
    let index = Self.index(of: milliseconds)
    if index >= buckets.count { buckets += Array(repeating: 0, count: index + 1 - buckets.count) }
    buckets[index] += 1
  }

  package mutating func merge(_ other: LatencyHistogram) {
    if other.buckets.count > buckets.count {
      buckets += Array(repeating: 0, count: other.buckets.count - buckets.count)
    }
    for (index, count) in other.buckets.enumerated() { buckets[index] = buckets[index].addingBounded(count) }
  }

  /// The latency, in milliseconds, that the share `quantile` (0…1) of the requests did not exceed; nil if the histogram
  /// is empty.
  package func percentile(_ quantile: Double) -> Double? {
    let total = buckets.reduce(0) { $0.addingBounded($1) }
    guard total > 0 else { return nil }
    let rank = max(1, Int(bounding: (quantile * Double(total)).rounded(.up)))
    var seen = 0
    for (index, count) in buckets.enumerated() {
      seen = seen.addingBounded(count)
      if seen >= rank { return Self.value(of: index) }
    }
    return nil
  }

  private static func index(of milliseconds: Double) -> Int {
    let bounded = min(max(milliseconds, millisecondsMin), millisecondsMax)
    return max(0, Int(bounding: (log(bounded / millisecondsMin) / logGrowth).rounded(.up)))
  }

  /// The value whose relative distance to both bounds of the bucket is the same.
  private static func value(of index: Int) -> Double {
    millisecondsMin * 2 * pow(growth, Double(index)) / (growth + 1)
  }
}
