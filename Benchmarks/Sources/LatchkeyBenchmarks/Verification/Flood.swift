import ArgumentParser
import Foundation

struct Flood: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "The effect of a flood of unknown keys on good keys.",
    discussion: """
      One instance answers a steady load of good keys, alternately with and without the flood. Every unknown key is \
      well formed and is sent once, so that each needs the database. Servers have one half of the processors. The two \
      generators and PostgreSQL have the other half, where the generator of the good keys has the highest priority, \
      and the flood's the lowest.
      """)

  @OptionGroup var settings: VerificationSettings
  @Option(help: "How often quiet and flood are measured, in turn.") var rounds = 5
  @Option(help: "Unknown keys in all rounds together.") var unknownKeys = 1_000_000
  @Option(help: "Unknown keys per second; 0 for as fast as they are answered.") var floodRate = 10_000.0
  @Option(help: "Connections of the flood.") var floodConnections = 256
  @Option(help: "Good keys per second.") var rate = 2_000.0
  @Option(help: "Connections of the good keys.") var connections = 32
  @Option(help: "Different good keys.") var goodKeys = 10_000
  @Flag(inversion: .prefixedNo, help: "Keep servers and generators on processors of their own.") var pinned = true

  func validate() throws {
    guard (1...100).contains(rounds), unknownKeys >= rounds, floodRate >= 0, rate > 0,
      (1...1_024).contains(floodConnections), (1...1_024).contains(connections), goodKeys > 0
    else { throw ValidationError("1…100 rounds, 1…1024 connections, and rates and keys above zero") }
  }

  func run() throws {
    try settings.withDatabase(pinned: pinned) { database, folder, cpus in
      try database.liftRateLimits()
      let good = KeyMix.sequential(knownCount: goodKeys, unknownCount: 0)
      try database.insert(good, rateLimitPerMinute: BenchmarkDatabase.unreachableRateLimit)
      let server = try LatchkeyServer(
        binary: settings.binary, database: database, cpus: cpus?.servers, folder: folder, name: "flooded")
      defer { server.process.stop() }
      try server.verifyAll(of: good)
      try server.waitUntilFlushed(goodKeys)
      let steady = Load(
        port: server.port, template: .verify(token: server.token), mix: good, connections: connections, rate: rate,
        niceness: -10, cpus: cpus?.measurers)
      let flood = Load(
        port: server.port, template: .verify(token: server.token),
        mix: .sequential(knownCount: 0, unknownCount: unknownKeys), connections: floodConnections,
        rate: floodRate > 0 ? floodRate : nil, requestCount: unknownKeys / rounds, niceness: 19,
        cpus: cpus?.measurers)
      try FloodRounds(server: server, database: database, steady: steady, flood: flood).run(rounds)
    }
  }
}

private struct FloodMeasurement {
  var good: LoadResult
  var unknown = LoadResult()
  var seconds: Double
  /// The statements that PostgreSQL ran, and those among them that looked up keys.
  var statements: Double
  var lookups: Double
  var misses: Double
  var cpuSeconds: Double
  var databaseCPUSeconds: Double
}

private struct FloodRounds {
  let server: LatchkeyServer
  let database: BenchmarkDatabase
  let steady: Load
  let flood: Load

  func run(_ rounds: Int) throws {
    let good = try LoadGenerator(steady)
    defer { good.end() }
    Thread.sleep(forTimeInterval: 2)
    var (quiet, flooded): ([FloodMeasurement], [FloodMeasurement]) = ([], [])
    print(
      "                      good: p50 ms   p99 ms  late p99 | unknown/s  statements/s  look-ups/s | CPU  PostgreSQL's")
    for round in 0..<rounds {
      flooded.append(
        try measure(good) {
          var load = flood
          load.firstDraw = round * (flood.requestCount ?? 0)
          let generator = try LoadGenerator(load)
          generator.waitUntilDone()
          generator.end()
          return try generator.take()
        })
      report(row("flood, round \(round + 1):", [flooded[round]]))
      // Measured for as long as the flood, after the work that the flood left has been done.
      Thread.sleep(forTimeInterval: Verification.settleSeconds)
      quiet.append(
        try measure(good) {
          Thread.sleep(forTimeInterval: flooded[round].seconds)
          return LoadResult()
        })
      report(row("quiet, round \(round + 1):", [quiet[round]]))
    }
    print("medians of \(rounds):")
    print(row("flood", flooded))
    print(row("quiet", quiet))
    try printRest(quiet, flooded)
  }

  private func measure(_ good: LoadGenerator, _ body: () throws -> LoadResult) throws -> FloodMeasurement {
    let before = try counts()
    _ = try good.take()
    let start = ContinuousClock.now
    let unknown = try body()
    let taken = try good.take()
    let elapsed = (ContinuousClock.now - start) / .seconds(1)
    let change = zip(try counts(), before).map { $0 - $1 }
    guard taken.wrongCount == 0 else {
      throw ServerProcess.Failure(
        description: "\(taken.wrongCount) good keys were answered wrongly, such as: \(taken.wrongExample)")
    }
    return FloodMeasurement(
      good: taken, unknown: unknown, seconds: elapsed, statements: change[0], lookups: change[1], misses: change[2],
      cpuSeconds: change[3], databaseCPUSeconds: change[4])
  }

  /// Statements, look-ups of keys, misses, and CPU seconds of the server and of PostgreSQL.
  private func counts() throws -> [Double] {
    let statements = try database.rows(
      """
      select coalesce(sum(calls), 0), coalesce(sum(calls) filter (where query like '%key_hash%'), 0)
      from pg_stat_statements join pg_database on pg_database.oid = dbid where datname = current_database()
      """)[0]
    return [
      Double(statements[0]) ?? 0, Double(statements[1]) ?? 0, try server.metric("latchkey_cache_misses_total"),
      ProcessTable.cpuSeconds(ofTree: server.process.pid), ProcessTable.cpuSeconds(ofTree: database.postmaster),
    ]
  }

  private func row(_ name: String, _ measurements: [FloodMeasurement]) -> String {
    func value(_ of: (FloodMeasurement) -> Double) -> Double { median(measurements.map(of)) }
    return [
      name.padding(toLength: 26, withPad: " ", startingAt: 0),
      column(value { $0.good.service.percentile(0.5) }, 2, width: 7),
      column(value { $0.good.service.percentile(0.99) }, 2, width: 8),
      column(value { $0.good.response.percentile(0.99) }, 2, width: 9), "|",
      column(value { Double($0.unknown.requests) / $0.seconds }, 0, width: 9),
      column(value { $0.statements / $0.seconds }, 1, width: 13),
      column(value { $0.lookups / $0.seconds }, 1, width: 11), "|",
      column(value { 100 * $0.cpuSeconds / $0.seconds }, 0, width: 3) + "%",
      column(value { 100 * $0.databaseCPUSeconds / $0.seconds }, 0, width: 12) + "%",
    ].joined(separator: " ")
  }

  private func printRest(_ quiet: [FloodMeasurement], _ flooded: [FloodMeasurement]) throws {
    let unknownCount = flooded.reduce(0) { $0 + $1.unknown.requests }
    let misses = flooded.reduce(0) { $0 + $1.misses }
    let codes = flooded.reduce(into: [:]) { $0.merge($1.unknown.codes, uniquingKeysWith: +) }
    print("answers to the flood:", codes.map { "\($0.value) \($0.key)" }.sorted().joined(separator: ", "))
    let lookups = flooded.reduce(0) { $0 + $1.lookups }
    print("keys to a look-up: \(column(misses / lookups, 1, width: 0))")
    print("misses during the flood: \(Int(misses)), for \(unknownCount) unknown keys")
    let before = try server.metric("latchkey_cache_misses_total")
    try server.verifyAll(of: steady.mix)
    let after = try server.metric("latchkey_cache_misses_total")
    print("good keys that were not in the cache at the end: \(Int(after - before)) of \(steady.mix.knownCount)")
    let ratio = median(
      zip(flooded, quiet).map { $0.good.service.percentile(0.99) / $1.good.service.percentile(0.99) })
    print(
      "aim: p99 of good keys in the flood at most 2 × quiet: \(column(ratio, 2, width: 0)), "
        + (ratio <= 2 ? "met" : "MISSED"))
  }
}
