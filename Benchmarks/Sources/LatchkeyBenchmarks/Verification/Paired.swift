import ArgumentParser
import Foundation

struct Paired: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Compare what a verification costs with an earlier commit.",
    discussion: """
      Runs the release builds of both commits at the same time, each with databases of its own, and measures them in \
      turn: base, new, new, base. A round gives one ratio: the processor time of the new build per key, divided by \
      that of the base. The machine's speed and its other load cancel out as far as they change slowly.

      Printed are the median of the ratios and its range: the order statistics that contain the true median with a \
      probability of 95 % or more, whatever the distribution is. A bound is broken if the lower end of the range is \
      beyond it; the command then fails.

      scripts/bench builds the commit that --base names and passes its binary on.
      """)

  @OptionGroup var settings: VerificationSettings
  @Option(help: "The commit to compare with. scripts/bench reads it.") var base: String
  @Option(help: "The base's latchkey, built for release. scripts/bench sets it.") var baseBinary: String
  @Option(help: "Rounds; each measures every candidate twice with either build.") var rounds = 12
  @Option(help: "Seconds that one measurement lasts, after a warm-up of 0.3 s.") var seconds = 1.5
  @Option(help: "Connections, with one request at a time on each.") var connections = 32
  @Option(help: "Keys, requested by Zipf's law.") var keys = 50_000
  @Option(help: "Percent that the new build may cost more.") var bound = 3.0
  @Flag(help: "Keep servers and generator on processors of their own.") var pinned = false

  func validate() throws {
    guard (10...100).contains(rounds), (0.1...60).contains(seconds), (1...1_024).contains(connections),
      (1_000...1_000_000).contains(keys), (0...100).contains(bound)
    else {
      throw ValidationError("10…100 rounds of 0.1…60 s on 1…1024 connections with 1,000…1,000,000 keys, 0…100 %")
    }
  }

  func run() throws {
    guard FileManager.default.isExecutableFile(atPath: baseBinary) else {
      throw ValidationError("there is no \(baseBinary); run make bench ARGS='paired --base COMMIT'")
    }
    try settings.withDatabase(pinned: pinned) { database, folder, cpus in
      let mix = KeyMix.zipf(knownCount: keys, unknownCount: keys / 100, unknownShare: 0.01, drawCount: 1 << 20)
      var servers: [LatchkeyServer] = []
      defer { for server in servers { server.process.stop() } }
      func start(_ build: String, _ binary: String, fastPath: Bool) throws -> LatchkeyServer {
        let name = "\(build)-\(fastPath ? "fast" : "async")"
        // A database each: the servers' schemas differ, and no server reports admissions to another.
        let own = try BenchmarkDatabase(url: try settings.url, latchkey: binary, log: "\(folder)/migrate-\(name).log")
        try own.liftRateLimits()
        try own.insert(mix, rateLimitPerMinute: BenchmarkDatabase.unreachableRateLimit)
        let server = try LatchkeyServer(
          binary: binary, database: own, environment: ["FAST_PATH": "\(fastPath)", "HTTP_THREADS": "1"],
          cpus: cpus?.servers, folder: folder, name: name)
        servers.append(server)
        try server.verifyAll(of: mix)
        try server.waitUntilFlushed(mix.knownCount)
        return server
      }
      let fast = (
        base: try start("base", baseBinary, fastPath: true), new: try start("new", settings.binary, fastPath: true)
      )
      let ordinary = (
        base: try start("base", baseBinary, fastPath: false), new: try start("new", settings.binary, fastPath: false)
      )
      func pair(
        _ name: String, _ servers: (base: LatchkeyServer, new: LatchkeyServer),
        _ template: (_ token: String) -> RequestTemplate
      ) -> Pair {
        Pair(
          name: name, base: (servers.base, template(servers.base.token)),
          new: (servers.new, template(servers.new.token)))
      }
      var pairs = [
        pair("fast-verify", fast) { .verify(token: $0) }, pair("fast-authorize", fast) { .authorize(token: $0) },
        pair("batch", fast) { .batch(of: Verification.batchSize, token: $0) },
        pair("async-verify", ordinary) { .verify(token: $0) },
      ]
      for round in 1...rounds {
        for index in pairs.indices {
          let name = pairs[index].name.padding(toLength: 15, withPad: " ", startingAt: 0)
          let ratio = try pairs[index].measure { server, template in
            try microseconds(server, template, mix, measurers: cpus?.measurers)
          }
          report("round \(round): \(name) \(column(ratio, 4, width: 7))")
        }
      }
      try conclude(pairs)
    }
  }

  /// One operation, measured with both builds.
  private struct Pair {
    var name: String
    var base: (server: LatchkeyServer, template: RequestTemplate)
    var new: (server: LatchkeyServer, template: RequestTemplate)
    var ratios: [Double] = []
    var microseconds: (base: [Double], new: [Double]) = ([], [])

    /// Measures base, new, new, base, so that a steady drift of the machine's speed affects both equally.
    mutating func measure(_ cost: (LatchkeyServer, RequestTemplate) throws -> Double) throws -> Double {
      let first = try cost(base.server, base.template)
      let new = (try cost(new.server, new.template) + cost(new.server, new.template)) / 2
      let base = (first + (try cost(base.server, base.template))) / 2
      microseconds.base.append(base)
      microseconds.new.append(new)
      ratios.append(new / base)
      return new / base
    }
  }

  /// Processor microseconds of the server for each key.
  private func microseconds(
    _ server: LatchkeyServer, _ template: RequestTemplate, _ mix: KeyMix, measurers: CPUs?
  ) throws -> Double {
    let load = Load(port: server.port, template: template, mix: mix, connections: connections, cpus: measurers)
    var cpu = 0.0
    let (result, _) = try LoadGenerator.measure(load, seconds: seconds, warmUp: 0.3) {
      cpu = ProcessTable.scheduledSeconds(of: server.process.pid)
    } finish: {
      cpu = ProcessTable.scheduledSeconds(of: server.process.pid) - cpu
    }
    guard result.requests > 0, result.wrongCount == 0 else {
      throw ServerProcess.Failure(
        description: "\(result.wrongCount) of \(result.requests) answers are wrong: \(result.wrongExample)")
    }
    return cpu * 1e6 / (Double(result.requests) * Double(template.keyOffsets.count))
  }

  private func conclude(_ pairs: [Pair]) throws {
    let rank = medianRank(of: rounds)
    print("\n\(rounds) rounds, base \(base):   CPU-µs base     new    new / base: median and range")
    var broken: [String] = []
    for pair in pairs {
      let sorted = pair.ratios.sorted()
      let (low, high) = (sorted[rank - 1], sorted[rounds - rank])
      let isBroken = low > 1 + bound / 100
      if isBroken { broken.append(pair.name) }
      print(
        "  " + pair.name.padding(toLength: 25, withPad: " ", startingAt: 0),
        column(median(pair.microseconds.base), 3, width: 14), column(median(pair.microseconds.new), 3, width: 7),
        column(median(pair.ratios), 4, width: 13), "(\(column(low, 4, width: 0))…\(column(high, 4, width: 0)))",
        isBroken ? "BROKEN" : "within \(column(bound, 1, width: 0)) %")
    }
    guard broken.isEmpty else { throw ExitCode.failure }
  }
}

/// The largest rank r such that the r-th smallest and the r-th largest of `count` values contain the median of their
/// distribution with a probability of 95 % or more (the sign test's interval: the number of values below the median is
/// binomial); at least 1.
func medianRank(of count: Int) -> Int {
  var term = pow(0.5, Double(count))
  var below = term
  var rank = 1
  // `below` is the probability that fewer than `rank` values are below the median.
  while rank < (count + 1) / 2 {
    term *= Double(count - rank + 1) / Double(rank)
    guard below + term <= 0.025 else { break }
    below += term
    rank += 1
  }
  return rank
}
