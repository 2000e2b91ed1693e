import ArgumentParser
import Foundation

struct Verification: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "The cost of a verification, compared with nginx and with nginx with Lua and Redis.",
    discussion: """
      The main figure is the server's CPU time per verification, from /proc. The ratios are medians of the ratios in \
      each round. Requests per second and latencies are also measured: with each connection as fast as it is answered, \
      and at half of that rate, at random times. `late` is from when a request was due instead of when it was sent. \
      100,000 keys are verified by Zipf's law; 1 % of the requests are for unknown keys.

        nginx-verify, nginx-authorize   `return 200` to the same request, with as many bytes as Latchkey's answer
        nginx-lua                       each worker caches the hashes of good keys from Redis: no limits, no counts, \
      and a revoked key is good until its entry expires after 300 s
        async-…                         FAST_PATH=false
        fast-…                          the default settings
        batch                           a hundred keys per request; all figures except latencies are per key

      nginx has one worker, and Latchkey one thread for connections. Keys have limits that are never reached, for \
      which the benchmark's database has no constraints on limits.
      """)

  static let knownCount = 100_000
  static let unknownCount = 1_000
  static let batchSize = 100
  static let settleSeconds = 1.5

  @OptionGroup var settings: VerificationSettings
  @Option(help: "How often each candidate is measured, in turn with the others.") var rounds = 5
  @Option(help: "Seconds per measurement; each candidate has two per round, after a warm-up.") var seconds = 3.0
  @Option(help: "Connections, with one request at a time on each.") var connections = 64
  @Option(help: "Candidates to measure, separated by commas; ratios need the candidate in their name.") var only:
    String?
  @Flag(help: "Keep servers and generator on separate processors. Latchkey then has more threads than processors.")
  var pinned = false
  @Flag(help: "Count the system calls per verification with strace instead.") var syscalls = false

  func validate() throws {
    guard (1...100).contains(rounds), (0.1...60).contains(seconds), (1...1_024).contains(connections) else {
      throw ValidationError("1…100 rounds of 0.1…60 seconds on 1…1024 connections")
    }
  }

  func run() throws {
    try settings.withDatabase(pinned: pinned) { database, folder, cpus in
      // One database per server, so that the servers do not exchange limits.
      let other = try BenchmarkDatabase(
        url: try settings.url, latchkey: settings.binary, log: "\(folder)/migrate-other.log")
      let mix = KeyMix.zipf(
        knownCount: Self.knownCount, unknownCount: Self.unknownCount, unknownShare: 0.01, drawCount: 1 << 20)
      for database in [database, other] {
        try database.liftRateLimits()
        try database.insert(mix, rateLimitPerMinute: BenchmarkDatabase.unreachableRateLimit)
      }
      let stage = try VerificationStage(
        database: database, other: other, binary: settings.binary, mix: mix, cpus: cpus?.servers, folder: folder)
      defer { stage.stop() }
      let names = only.map { $0.split(separator: ",").map(String.init) }
      let unknown = (names ?? []).filter { name in !stage.candidates.contains { $0.name == name } }
      guard unknown.isEmpty else {
        throw ValidationError("unknown: \(unknown); there are \(stage.candidates.map(\.name).joined(separator: ", "))")
      }
      let candidates = stage.candidates.filter { names?.contains($0.name) ?? true }
      let bench = VerificationRounds(
        candidates: candidates, mix: mix, connections: connections, seconds: seconds, postmaster: database.postmaster,
        measurers: cpus?.measurers, folder: folder)
      if syscalls { try bench.printSystemCalls() } else { try bench.run(rounds) }
    }
  }
}

/// One way to verify.
struct VerificationCandidate {
  var name: String
  var port: Int
  var template: RequestTemplate
  /// All processes that take part, except PostgreSQL.
  var processes: [ServerProcess]
  /// The candidates with which it is compared.
  var nginx: String
  var route: String?

  var keyCount: Double { Double(template.keyOffsets.count) }

  func cpuSeconds() -> Double { processes.reduce(0) { $0 + ProcessTable.cpuSeconds(ofTree: $1.pid) } }
}

/// All servers, started, with all keys in their caches.
final class VerificationStage {
  let candidates: [VerificationCandidate]
  private let processes: [ServerProcess]

  init(
    database: BenchmarkDatabase, other: BenchmarkDatabase, binary: String, mix: KeyMix, cpus: CPUs?, folder: String
  ) throws {
    // One thread for connections, like nginx.
    let routes = try LatchkeyServer(
      binary: binary, database: other, environment: ["FAST_PATH": "false", "HTTP_THREADS": "1"], cpus: cpus,
      folder: folder, name: "async")
    let fast = try LatchkeyServer(
      binary: binary, database: database, environment: ["HTTP_THREADS": "1"], cpus: cpus, folder: folder, name: "fast")
    for server in [routes, fast] {
      try server.verifyAll(of: mix)
      try server.waitUntilFlushed(mix.knownCount)
    }

    let verify = RequestTemplate.verify(token: fast.token)
    let authorize = RequestTemplate.authorize(token: fast.token)
    let (verifyLength, authorizeLength) = (
      try Self.answerLength(verify, mix, fast.port), try Self.answerLength(authorize, mix, fast.port)
    )
    report("answers of \(verifyLength) bytes to verify, \(authorizeLength) to authorize")
    let nginx = try Nginx.returning(
      ["/v1/verify": verifyLength, "/v1/authorize": authorizeLength], cpus: cpus, folder: folder, name: "nginx")
    let redis = try Redis(cpus: cpus, folder: folder)
    try redis.insertKeys(of: database)
    let lua = try Nginx.authorizing(redis: redis, cpus: cpus, folder: folder, name: "lua")
    try Self.authorizeAll(of: mix, authorize, port: lua.port)

    func candidate(
      _ name: String, _ port: Int, _ template: RequestTemplate, _ processes: [ServerProcess], nginx: String,
      route: String? = nil
    ) -> VerificationCandidate {
      VerificationCandidate(
        name: name, port: port, template: template, processes: processes, nginx: nginx, route: route)
    }
    let (nginxVerify, nginxAuthorize) = ("nginx-verify", "nginx-authorize")
    candidates = [
      candidate(
        nginxVerify, nginx.port, .verify(token: fast.token, answer: .fixed), [nginx.process], nginx: nginxVerify),
      candidate(
        nginxAuthorize, nginx.port, .authorize(token: fast.token, answer: .fixed), [nginx.process],
        nginx: nginxAuthorize),
      candidate("nginx-lua", lua.port, authorize, [lua.process, redis.process], nginx: nginxAuthorize),
      candidate(
        "async-verify", routes.port, .verify(token: routes.token), [routes.process], nginx: nginxVerify),
      candidate("fast-verify", fast.port, verify, [fast.process], nginx: nginxVerify, route: "async-verify"),
      candidate(
        "async-authorize", routes.port, .authorize(token: routes.token), [routes.process], nginx: nginxAuthorize),
      candidate(
        "fast-authorize", fast.port, authorize, [fast.process], nginx: nginxAuthorize, route: "async-authorize"),
      candidate(
        "batch", fast.port, .batch(of: Verification.batchSize, token: fast.token), [fast.process], nginx: nginxVerify,
        route: "async-verify"),
    ]
    processes = [routes.process, fast.process, nginx.process, lua.process, redis.process]
  }

  func stop() { for process in processes { process.stop() } }

  private static func request(_ template: RequestTemplate, _ mix: KeyMix, _ key: Int) -> [UInt8] {
    var bytes = template.bytes
    for offset in template.keyOffsets {
      bytes.replaceSubrange(
        offset..<(offset + KeyMix.keyLength), with: mix.texts[key * KeyMix.keyLength..<(key + 1) * KeyMix.keyLength])
    }
    return bytes
  }

  private static func answerLength(_ template: RequestTemplate, _ mix: KeyMix, _ port: Int) throws -> Int {
    try BlockingConnection(port: port).request(request(template, mix, 0)) { answer in
      guard answer.status == 200 else {
        throw ServerProcess.Failure(description: "HTTP \(answer.status) to a good key")
      }
      return answer.length
    }
  }

  private static func authorizeAll(of mix: KeyMix, _ template: RequestTemplate, port: Int) throws {
    let connection = try BlockingConnection(port: port)
    for key in 0..<mix.knownCount {
      let isValid = try connection.request(request(template, mix, key)) { $0.code?.equals("VALID") == true }
      guard isValid else { throw ServerProcess.Failure(description: "nginx-lua does not know key \(key)") }
    }
  }
}

/// The measurements of one candidate in one round.
private struct VerificationMeasurement {
  /// CPU microseconds of the servers per key.
  var microseconds: Double
  /// CPU microseconds of PostgreSQL per key.
  var databaseMicroseconds: Double
  /// Keys per second.
  var perSecond: Double
  /// Latencies at full load.
  var full: LatencyHistogram
  /// Latencies at half load, from when each request was sent.
  var half: LatencyHistogram
  /// Latencies at half load, from when each request was due.
  var halfResponse: LatencyHistogram
}

struct VerificationRounds {
  let candidates: [VerificationCandidate]
  let mix: KeyMix
  let connections: Int
  let seconds: Double
  let postmaster: pid_t
  let measurers: CPUs?
  let folder: String

  func run(_ rounds: Int) throws {
    var all: [String: [VerificationMeasurement]] = [:]
    var codes: [String: [String: Int]] = [:]
    for round in 1...rounds {
      for candidate in candidates {
        let (measurement, counted) = try measure(candidate)
        all[candidate.name, default: []].append(measurement)
        codes[candidate.name, default: [:]].merge(counted, uniquingKeysWith: +)
        report("round \(round): \(row(candidate, [measurement], all))")
      }
    }
    print(
      """

      medians of \(rounds) rounds, \(connections) connections:
                          CPU-µs  × nginx  × async    keys/s   p50 ms   p99 ms  | half load: p50    p99  late p99  \
      | PostgreSQL CPU-µs
      """)
    for candidate in candidates { print("         " + row(candidate, all[candidate.name] ?? [], all)) }
    print("\nverdicts at full load:")
    for candidate in candidates {
      let counts = (codes[candidate.name] ?? [:]).sorted { $0.value > $1.value }.map { "\($0.value) \($0.key)" }
      print("  \(candidate.name): \(counts.joined(separator: ", "))")
    }
    printAims(all)
  }

  private func measure(_ candidate: VerificationCandidate) throws -> (VerificationMeasurement, [String: Int]) {
    // Until the counters of the previous candidate are written.
    Thread.sleep(forTimeInterval: Verification.settleSeconds)
    var load = Load(
      port: candidate.port, template: candidate.template, mix: mix, connections: connections, cpus: measurers)
    var (cpu, databaseCPU) = (0.0, 0.0)
    let (full, elapsed) = try LoadGenerator.measure(load, seconds: seconds, warmUp: min(1, seconds)) {
      cpu = candidate.cpuSeconds()
      databaseCPU = ProcessTable.cpuSeconds(ofTree: postmaster)
    } finish: {
      cpu = candidate.cpuSeconds() - cpu
      databaseCPU = ProcessTable.cpuSeconds(ofTree: postmaster) - databaseCPU
    }
    try check(full, candidate)
    load.rate = Double(full.requests) / elapsed / 2
    let (half, _) = try LoadGenerator.measure(load, seconds: seconds, warmUp: min(0.5, seconds))
    try check(half, candidate)
    let keys = Double(full.requests) * candidate.keyCount
    return (
      VerificationMeasurement(
        microseconds: cpu * 1e6 / keys, databaseMicroseconds: databaseCPU * 1e6 / keys, perSecond: keys / elapsed,
        full: full.service, half: half.service, halfResponse: half.response), full.codes
    )
  }

  private func check(_ result: LoadResult, _ candidate: VerificationCandidate) throws {
    guard result.requests > 0 else { throw ServerProcess.Failure(description: "\(candidate.name) answered nothing") }
    guard result.wrongCount == 0 else {
      throw ServerProcess.Failure(
        description: """
          \(result.wrongCount) of \(result.requests) answers of \(candidate.name) are wrong (\(result.codes)), such as:
          \(result.wrongExample)
          """)
    }
  }

  private func row(
    _ candidate: VerificationCandidate, _ measurements: [VerificationMeasurement],
    _ all: [String: [VerificationMeasurement]]
  ) -> String {
    func value(_ of: (VerificationMeasurement) -> Double) -> Double { median(measurements.map(of)) }
    let isOne = measurements.count == 1
    func ratio(_ other: String?) -> Double {
      guard let others = other.flatMap({ all[$0] }) else { return .nan }
      return median(zip(isOne ? others.suffix(1) : others, measurements).map { $0.microseconds / $1.microseconds })
    }
    return [
      candidate.name.padding(toLength: 15, withPad: " ", startingAt: 0),
      column(value(\.microseconds), 2, width: 8), column(ratio(candidate.nginx), 2, width: 8),
      column(ratio(candidate.route), 2, width: 8), column(value(\.perSecond), 0, width: 9),
      column(value { $0.full.percentile(0.5) }, 2, width: 8), column(value { $0.full.percentile(0.99) }, 2, width: 8),
      " |" + column(value { $0.half.percentile(0.5) }, 2, width: 14),
      column(value { $0.half.percentile(0.99) }, 2, width: 6),
      column(value { $0.halfResponse.percentile(0.99) }, 2, width: 9),
      " |" + column(value(\.databaseMicroseconds), 2, width: 6),
    ].joined(separator: " ")
  }

  private func printAims(_ all: [String: [VerificationMeasurement]]) {
    func ratio(_ name: String, _ other: String) -> Double {
      median(zip(all[other] ?? [], all[name] ?? []).map { $0.microseconds / $1.microseconds })
    }
    let worstP99 =
      ["fast-verify", "fast-authorize"].map { name in
        median((all[name] ?? []).map { $0.half.percentile(0.99) })
      }.max() ?? .nan
    let batchPerCPUSecond = median((all["batch"] ?? []).map { 1e6 / $0.microseconds })
    print("\naims:")
    for (aim, value, isMet) in [
      ("authorize at least 0.5 × nginx", ratio("fast-authorize", "nginx-authorize"), { $0 >= 0.5 }),
      ("verify at least 0.5 × nginx", ratio("fast-verify", "nginx-verify"), { $0 >= 0.5 }),
      ("authorize at least 2 × the async route", ratio("fast-authorize", "async-authorize"), { $0 >= 2 }),
      ("verify at least 2 × the async route", ratio("fast-verify", "async-verify"), { $0 >= 2 }),
      ("batch at least 500,000 keys per CPU-second", batchPerCPUSecond, { $0 >= 500_000 }),
      ("p99 at half load at most 1 ms", worstP99, { $0 <= 1 }),
    ] as [(String, Double, (Double) -> Bool)] where value.isFinite {
      print("  \(isMet(value) ? "met   " : "MISSED")  \(aim): \(column(value, value > 1_000 ? 0 : 2, width: 0))")
    }
  }

  /// Runs each candidate's processes under strace for a while.
  func printSystemCalls() throws {
    for candidate in candidates {
      let load = Load(
        port: candidate.port, template: candidate.template, mix: mix, connections: connections, cpus: measurers)
      let generator = try LoadGenerator(load)
      defer { generator.end() }
      Thread.sleep(forTimeInterval: min(1, seconds))
      let log = "\(folder)/strace.log"
      let pids = candidate.processes.flatMap { [$0.pid] + ProcessTable.children(of: $0.pid) }
      let tracer = try ServerProcess(
        ["strace", "-c", "-f", "-q", "-U", "name,calls"] + pids.flatMap { ["-p", "\($0)"] }, cpus: measurers, log: log)
      try tracer.waitUntil("strace") { pids.allSatisfy(ProcessTable.isTraced) }
      _ = try generator.take()
      Thread.sleep(forTimeInterval: seconds)
      let result = try generator.take()
      tracer.interrupt()
      let keys = Double(result.requests) * candidate.keyCount
      let calls = try String(contentsOfFile: log, encoding: .utf8).split(separator: "\n").compactMap { line in
        let words = line.split(separator: " ")
        return words.count == 2 ? Double(words[1]).map { (name: String(words[0]), perKey: $0 / keys) } : nil
      }.filter { $0.name != "total" }
      let text = calls.sorted { $0.perKey > $1.perKey }.prefix(6).map {
        "\($0.name) \(column($0.perKey, 3, width: 0))"
      }
      let name = candidate.name.padding(toLength: 15, withPad: " ", startingAt: 0)
      report(
        "\(name) \(column(calls.reduce(0) { $0 + $1.perKey }, 2, width: 6)) a key: \(text.joined(separator: ", "))")
    }
  }
}
