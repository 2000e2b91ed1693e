import Foundation

/// The result of one measurement of one candidate.
struct Measurement {
  var operations = 0
  /// Wall-clock seconds.
  var seconds = 0.0
  /// CPU seconds of the client, in user and kernel mode.
  var clientSeconds = 0.0

  var perSecond: Double { Double(operations) / seconds }
  /// Client CPU in microseconds per operation.
  var clientMicroseconds: Double { clientSeconds * 1e6 / Double(operations) }
}

/// Repeats `operation` in `concurrency` tasks for `seconds`, after a warm-up.
func measure(
  seconds: Double, concurrency: Int, on executor: (any TaskExecutor)? = nil,
  _ operation: @escaping @Sendable (_ task: Int) async throws -> Void
) async throws -> Measurement {
  for task in 0..<concurrency { try await operation(task) }
  let (start, cpu) = (ContinuousClock.now, cpuSeconds(of: RUSAGE_SELF))
  let deadline = start + .seconds(seconds)
  let operations = try await withThrowingTaskGroup(of: Int.self) { group in
    for task in 0..<concurrency {
      group.addTask(executorPreference: executor) {
        var count = 0
        while .now < deadline {
          try await operation(task)
          count += 1
        }
        return count
      }
    }
    return try await group.reduce(0, +)
  }
  return Measurement(
    operations: operations, seconds: (ContinuousClock.now - start) / .seconds(1),
    clientSeconds: cpuSeconds(of: RUSAGE_SELF) - cpu)
}

/// The user and system time of this process, or of its ended children.
func cpuSeconds(of who: __rusage_who) -> Double {
  var usage = rusage()
  getrusage(who.rawValue, &usage)
  return [usage.ru_utime, usage.ru_stime].reduce(0) { $0 + Double($1.tv_sec) + Double($1.tv_usec) / 1e6 }
}

/// One of several ways to do the same, to be compared.
struct Candidate {
  var name: String
  var measure: () async throws -> Measurement
}

/// Measures the candidates in turn, round by round, so that a slower machine affects all of them. Prints each
/// measurement, the medians, and the ratio of each median to the first candidate's.
func compare(_ candidates: [Candidate], rounds: Int, unit: String) async throws {
  var all = [[Measurement]](repeating: [], count: candidates.count)
  for round in 1...rounds {
    for (index, candidate) in candidates.enumerated() {
      let measurement = try await candidate.measure()
      all[index].append(measurement)
      print("round \(round): \(row(candidate.name, measurement.perSecond, measurement.clientMicroseconds, unit))")
    }
  }
  print("medians of \(rounds):")
  let first = median(all[0].map(\.perSecond))
  for (candidate, measurements) in zip(candidates, all) {
    let perSecond = median(measurements.map(\.perSecond))
    let text = row(candidate.name, perSecond, median(measurements.map(\.clientMicroseconds)), unit)
    print(text + String(format: "   %.2f × %@", perSecond / first, candidates[0].name))
  }
}

private func row(_ name: String, _ perSecond: Double, _ microseconds: Double, _ unit: String) -> String {
  name.padding(toLength: 28, withPad: " ", startingAt: 0)
    + String(format: "%9.0f %@/s  %7.1f client CPU-µs each", perSecond, unit, microseconds)
}
