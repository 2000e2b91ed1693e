import Foundation

/// The results of a storm.
struct StormTally {
  struct Instance {
    /// The times from just before a revocation was sent to this server's first refusal.
    var delays: [Duration] = []
    var answerCount = 0
    var unavailableCount = 0
    /// Acceptances of questions that were sent after the commit was known.
    var acceptedAfterCount = 0
    var acceptedLatest: Duration = .zero
  }

  var instances = Array(repeating: Instance(), count: 3)
  var duration: Duration = .zero
  var revocationCount = 0
  var receiptCount = 0
  var receiptMillisecondsMax = 0
  var fullReceiptCount = 0
  /// Acceptances of questions that were sent after a receipt that every server had acknowledged.
  var acceptedAfterFullReceiptCount = 0
  var sweptCount = 0
  var tooLate: [Duration] = []
  var problems: [String] = []

  mutating func add(
    _ heard: [RevocationWorld.Heard], _ revocations: [RevocationWorld.Revocation], of indices: [Int]
  ) {
    revocationCount += revocations.count
    for (instance, heard) in zip(indices, heard) {
      instances[instance].answerCount += heard.answerCount
      instances[instance].unavailableCount += heard.unavailableCount
      problems += heard.problems
    }
    for (key, revocation) in revocations.enumerated() {
      // The first refusal of the key proves the commit.
      let knownAt = heard.compactMap { $0.refused[key] }.reduce(revocation.knownAt, min)
      for (instance, heard) in zip(indices, heard) {
        if let refused = heard.refused[key] { instances[instance].delays.append(refused - revocation.startedAt) }
        for askedAt in heard.accepted[key] where askedAt > knownAt {
          let age = askedAt - knownAt
          instances[instance].acceptedAfterCount += 1
          instances[instance].acceptedLatest = max(instances[instance].acceptedLatest, age)
          if age > FaultTests.lease { tooLate.append(age) }
        }
      }
    }
  }

  func report(_ faults: FaultLog) {
    print("faults: " + Fault.allCases.map { "\(faults.count(of: $0)) \($0.rawValue)" }.joined(separator: ", "))
    print(
      "\(revocationCount) revocations on 3 servers in \(duration.inMilliseconds); "
        + "\(tooLate.count) acceptances later than B after the commit; \(receiptCount) receipts, the slowest in "
        + "\(receiptMillisecondsMax) ms, \(fullReceiptCount) of them full, \(acceptedAfterFullReceiptCount) "
        + "acceptances after a full one; \(sweptCount) repeated questions about refused keys")
    for (number, instance) in instances.enumerated() {
      let delays = instance.delays.sorted()
      func at(_ share: Double) -> String {
        delays.isEmpty ? "-" : delays[min(delays.count - 1, Int(share * Double(delays.count)))].inMilliseconds
      }
      print(
        "server \(number + 1): commit to first refusal p50 \(at(0.5)), p99 \(at(0.99)), max \(at(1)); "
          + "accepted after the commit \(instance.acceptedAfterCount), the latest "
          + "\(instance.acceptedLatest.inMilliseconds) after it; \(instance.answerCount) answers, "
          + "\(instance.unavailableCount) of them 503")
    }
  }
}
