/// Counts of durations in nanoseconds, exact to one part in 64.
struct LatencyHistogram: Sendable {
  private var counts = [Int](repeating: 0, count: 64 * 40)
  private(set) var total = 0

  mutating func add(_ nanoseconds: Int) {
    counts[min(Self.bucket(max(0, nanoseconds)), counts.count - 1)] += 1
    total += 1
  }

  mutating func add(_ other: LatencyHistogram) {
    for (bucket, count) in other.counts.enumerated() { counts[bucket] += count }
    total += other.total
  }

  /// In milliseconds, rounded up to the end of the bucket; NaN if nothing was counted.
  func percentile(_ share: Double) -> Double {
    guard total > 0 else { return .nan }
    var left = max(1, Int((Double(total) * share).rounded(.up)))
    for (bucket, count) in counts.enumerated() {
      left -= count
      if left <= 0 { return Double(Self.end(of: bucket)) / 1e6 }
    }
    return .nan
  }

  /// 64 buckets of one nanosecond, then 64 for each doubling.
  private static func bucket(_ value: Int) -> Int {
    let shift = max(0, Int.bitWidth - value.leadingZeroBitCount - 7)
    return value < 64 ? value : 64 * shift + (value >> shift)
  }

  private static func end(of bucket: Int) -> Int {
    let shift = max(0, bucket / 64 - 1)
    return (bucket - 64 * shift + 1) << shift
  }
}
