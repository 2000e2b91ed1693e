import Foundation
import PostgresTesting
import Testing

@testable import Portal

@Suite("LatencyHistogram")
struct LatencyHistogramTests {
  private func histogram(_ latencies: [Double]) -> LatencyHistogram {
    latencies.reduce(into: LatencyHistogram()) { $0.add(milliseconds: $1) }
  }

  /// Latencies from 0.1 ms to 60 s, most of them short.
  private func randomLatencies(_ count: Int, _ random: inout SeededGenerator) -> [Double] {
    (0..<count).map { _ in 0.1 * exp(Double.random(in: 0...log(600_000), using: &random)) }
  }

  @Test("an empty histogram has no percentiles")
  func empty() {
    #expect(LatencyHistogram().percentile(0.5) == nil)
    #expect(LatencyHistogram(buckets: [0, 0]).percentile(0.5) == nil)
    #expect(LatencyHistogram().buckets == [])
  }

  @Test("every percentile is within 5 % of the exact one, for any latencies", arguments: 0..<10)
  func percentiles(_ seed: Int) throws {
    var random = SeededGenerator(seed: UInt64(seed))
    let latencies = randomLatencies([1, 2, 7, 100, 2_000][seed % 5], &random).sorted()
    let histogram = histogram(latencies.shuffled(using: &random))
    for quantile in [0, 0.001, 0.25, 0.5, 0.9, 0.95, 0.99, 0.999, 1] {
      let rank = max(1, Int((quantile * Double(latencies.count)).rounded(.up)))
      let exact = latencies[rank - 1]
      let value = try #require(histogram.percentile(quantile))
      #expect(
        abs(value - exact) <= exact * (LatencyHistogram.relativeError + 1e-9), "\(quantile): \(value), not \(exact)")
    }
  }

  @Test(
    "every percentile of a single latency is within 5 % of it",
    arguments: [0.1, 0.11, 1, 49.9, 50, 1_000, 59_999, 60_000])
  func single(_ latency: Double) throws {
    for quantile in [0, 0.5, 1] {
      let value = try #require(histogram([latency]).percentile(quantile))
      #expect(abs(value - latency) <= latency * (LatencyHistogram.relativeError + 1e-9))
    }
  }

  @Test("percentiles never decrease as the quantile grows")
  func monotonic() {
    var random = SeededGenerator(seed: 5)
    let histogram = histogram(randomLatencies(500, &random))
    let values = (0...1_000).compactMap { histogram.percentile(Double($0) / 1_000) }
    #expect(values.count == 1_001 && values == values.sorted())
  }

  @Test("latencies out of range count in the first or last bucket, and never grow the histogram beyond its bound")
  func outside() {
    #expect(histogram([0, -1, 0.05, 0.1, .leastNonzeroMagnitude]).buckets == [5])
    let slow = histogram([60_000, 60_001, 86_400_000, .greatestFiniteMagnitude, .infinity])
    #expect(slow.buckets.count == LatencyHistogram.bucketCountMax)
    #expect(slow.buckets.last == 5)
    #expect(LatencyHistogram.bucketCountMax < 150)
  }

  @Test("any counts in a row add up without overflow, and a percentile is the value of a bucket")
  func typedCounts() {
    let extremes = [0, 1, -1, .max, .min, .max - 1]
    var random = SeededGenerator(seed: 8)
    for _ in 0..<200 {
      let count = Int.random(in: 0...400, using: &random)
      var one = LatencyHistogram(buckets: (0..<count).map { _ in extremes.randomElement(using: &random) ?? 0 })
      #expect(one.buckets.count == min(count, LatencyHistogram.bucketCountMax))
      one.merge(LatencyHistogram(buckets: Array(repeating: .max, count: 3)))
      one.merge(LatencyHistogram(buckets: Array(repeating: .min, count: 5)))
      for quantile in [0, 0.5, 1] {
        let value = one.percentile(quantile) ?? 0
        #expect(value >= 0 && value <= LatencyHistogram.millisecondsMax * 1.06)
      }
    }
    #expect(LatencyHistogram(buckets: [.max, .max, .max]).percentile(0) != nil)
  }

  @Test("numbered buckets get their counts, and numbers that no bucket has are ignored")
  func places() {
    #expect(LatencyHistogram(places: [3, 1], counts: [7, 9]).buckets == [9, 0, 7])
    #expect(LatencyHistogram(places: [], counts: []).buckets == [])
    #expect(LatencyHistogram(places: [1, 2], counts: [5]).buckets == [5])
    let outside = [0, -1, .min, .max, Int(Int32.min), Int(Int32.max), LatencyHistogram.bucketCountMax + 1]
    #expect(LatencyHistogram(places: outside + [2], counts: Array(1...8)).buckets == [0, 8])
    let last = LatencyHistogram.bucketCountMax
    #expect(LatencyHistogram(places: [last], counts: [1]).buckets.count == last)
  }

  @Test("merging adds counts in any order, and an empty histogram is the neutral element")
  func merging() {
    var random = SeededGenerator(seed: 7)
    let parts =
      [0, 3, 40, 200].map { histogram(randomLatencies($0, &random)) } + [histogram([0.2]), histogram([50_000])]
    let whole = LatencyHistogram(
      buckets: (0..<LatencyHistogram.bucketCountMax).map { index in
        parts.reduce(0) { $0 + ($1.buckets.indices.contains(index) ? $1.buckets[index] : 0) }
      })
    for order in parts.permutations.prefix(100) {
      var merged = LatencyHistogram()
      for part in order { merged.merge(part) }
      #expect(whole.buckets.starts(with: merged.buckets))
      #expect(merged.buckets.reduce(0, +) == 245)
    }
    var one = parts[2]
    one.merge(LatencyHistogram())
    #expect(one == parts[2])
    var none = LatencyHistogram()
    none.merge(parts[2])
    #expect(none == parts[2])
  }
}
