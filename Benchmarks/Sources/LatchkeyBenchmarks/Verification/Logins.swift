import ArgumentParser
import CBench
import Foundation
import Synchronization

struct Logins: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "The effect of a flood of logins on good keys.",
    discussion: """
      One instance answers a steady load of good keys, alternately with and without the flood. Every login is of \
      another user from another address, so that none is slowed down before its password is hashed, at the default \
      cost. Servers have one half of the processors, where hashing and answering compete; the generators and \
      PostgreSQL have the other half.
      """)

  @OptionGroup var settings: VerificationSettings
  @Option(help: "How often quiet and flood are measured, in turn.") var rounds = 5
  @Option(help: "Seconds that one measurement lasts.") var seconds = 10.0
  @Option(help: "Logins per second.") var floodRate = 500.0
  @Option(help: "Good keys per second.") var rate = 2_000.0
  @Option(help: "Connections of the good keys.") var connections = 32
  @Option(help: "Different good keys.") var goodKeys = 10_000
  @Flag(inversion: .prefixedNo, help: "Keep servers and generators on processors of their own.") var pinned = true

  func validate() throws {
    guard (1...100).contains(rounds), (1...600).contains(seconds), (1...10_000).contains(floodRate), rate > 0,
      (1...1_024).contains(connections), goodKeys > 0
    else {
      throw ValidationError("1…100 rounds of 1…600 s, 1…10000 logins per second, and rates and keys above zero")
    }
  }

  func run() throws {
    try settings.withDatabase(pinned: pinned) { database, folder, cpus in
      try database.liftRateLimits()
      let good = KeyMix.sequential(knownCount: goodKeys, unknownCount: 0)
      try database.insert(good, rateLimitPerMinute: BenchmarkDatabase.unreachableRateLimit)
      let server = try LatchkeyServer(
        binary: settings.binary, database: database, environment: ["TRUSTED_PROXIES": "127.0.0.1"],
        cpus: cpus?.servers, folder: folder, name: "logins")
      defer { server.process.stop() }
      try server.verifyAll(of: good)
      try server.waitUntilFlushed(goodKeys)
      let generator = try LoadGenerator(
        Load(
          port: server.port, template: .verify(token: server.token), mix: good, connections: connections, rate: rate,
          niceness: -10, cpus: cpus?.measurers))
      defer { generator.end() }
      Thread.sleep(forTimeInterval: 2)
      try measureRounds(server, generator, cpus?.measurers)
    }
  }

  private struct Measurement {
    var good: LoadResult
    var logins: [Int: Int]
    var seconds: Double
    var cpuSeconds: Double
  }

  private func measureRounds(_ server: LatchkeyServer, _ good: LoadGenerator, _ cpus: CPUs?) throws {
    var (quiet, flooded): ([Measurement], [Measurement]) = ([], [])
    report("                      good: p50 ms   p99 ms  late p99 | logins/s  hashed/s | CPU")
    for round in 1...rounds {
      quiet.append(try measure(server, good) { [:] })
      report(row("quiet, round \(round):", [quiet[round - 1]]))
      let flood = try LoginFlood(port: server.port, rate: floodRate, cpus: cpus)
      // Until the queue of logins that wait for a hashing thread is full.
      Thread.sleep(forTimeInterval: 2)
      _ = flood.take()
      flooded.append(try measure(server, good) { flood.take() })
      flood.end()
      report(row("flood, round \(round):", [flooded[round - 1]]))
      // Until the logins that still wait are hashed.
      Thread.sleep(forTimeInterval: 15)
    }
    print("medians of \(rounds):")
    print(row("quiet", quiet))
    print(row("flood", flooded))
    let statuses = flooded.reduce(into: [:]) { $0.merge($1.logins, uniquingKeysWith: +) }
    print("answers to the flood:", statuses.map { "\($0.value) HTTP \($0.key)" }.sorted().joined(separator: ", "))
    let ratio = median(
      zip(flooded, quiet).map { $0.good.service.percentile(0.99) / $1.good.service.percentile(0.99) })
    print(
      "aim: p99 of good keys in the flood at most 2 × quiet: \(column(ratio, 2, width: 0)), "
        + (ratio <= 2 ? "met" : "MISSED"))
  }

  private func measure(
    _ server: LatchkeyServer, _ good: LoadGenerator, _ finish: () -> [Int: Int]
  ) throws -> Measurement {
    _ = try good.take()
    let (start, cpu) = (ContinuousClock.now, ProcessTable.cpuSeconds(ofTree: server.process.pid))
    Thread.sleep(forTimeInterval: seconds)
    let (taken, logins) = (try good.take(), finish())
    guard taken.wrongCount == 0 else {
      throw ServerProcess.Failure(
        description: "\(taken.wrongCount) good keys were answered wrongly, such as: \(taken.wrongExample)")
    }
    return Measurement(
      good: taken, logins: logins, seconds: (ContinuousClock.now - start) / .seconds(1),
      cpuSeconds: ProcessTable.cpuSeconds(ofTree: server.process.pid) - cpu)
  }

  private func row(_ name: String, _ measurements: [Measurement]) -> String {
    func value(_ of: (Measurement) -> Double) -> Double { median(measurements.map(of)) }
    return [
      name.padding(toLength: 26, withPad: " ", startingAt: 0),
      column(value { $0.good.service.percentile(0.5) }, 2, width: 7),
      column(value { $0.good.service.percentile(0.99) }, 2, width: 8),
      column(value { $0.good.response.percentile(0.99) }, 2, width: 9), "|",
      column(value { Double($0.logins.values.reduce(0, +)) / $0.seconds }, 0, width: 8),
      column(value { Double($0.logins[401] ?? 0) / $0.seconds }, 1, width: 9), "|",
      column(value { 100 * $0.cpuSeconds / $0.seconds }, 0, width: 3) + "%",
    ].joined(separator: " ")
  }
}

/// Logins of unknown users at a steady rate, from enough threads for all that wait for their responses.
private final class LoginFlood: Sendable {
  private static let threadCount = 128

  private let port: Int
  private let interval: Duration
  private let start = ContinuousClock.now
  private let next = Atomic<Int>(0)
  private let isEnding = Atomic(false)
  private let ended = DispatchSemaphore(value: 0)
  private let statuses = Mutex<[Int: Int]>([:])

  init(port: Int, rate: Double, cpus: CPUs?) throws {
    self.port = port
    interval = .seconds(1 / rate)
    for _ in 0..<Self.threadCount {
      let connection = SendableConnection(try BlockingConnection(port: port))
      Thread.detachNewThread { [self] in
        cpus?.pinThread()
        // Otherwise, time that the generator of the good keys waits for this thread would count as the server's.
        bench_run_last()
        logIn(connection.value)
        ended.signal()
      }
    }
  }

  func take() -> [Int: Int] {
    statuses.withLock { statuses in
      defer { statuses = [:] }
      return statuses
    }
  }

  func end() {
    isEnding.store(true, ordering: .releasing)
    for _ in 0..<Self.threadCount { ended.wait() }
  }

  private func logIn(_ connection: BlockingConnection) {
    while !isEnding.load(ordering: .acquiring) {
      let number = next.add(1, ordering: .relaxed).oldValue
      let wait = start + interval * number - .now
      if wait > .zero { Thread.sleep(forTimeInterval: wait / .seconds(1)) }
      let body = #"{"email":"\#(UUID().uuidString.lowercased())@example.com","password":"correct horse battery"}"#
      let address = "10.\(number >> 16 & 255).\(number >> 8 & 255).\(number & 255)"
      let head =
        "POST /v1/login HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Forwarded-For: \(address)\r\n"
        + "Content-Type: application/json\r\nContent-Length: \(body.utf8.count)\r\n\r\n"
      guard let status = try? connection.request(Array((head + body).utf8), { $0.status }) else { return }
      statuses.withLock { $0[status, default: 0] += 1 }
    }
  }
}

/// Safe: it is passed to one thread and used only there.
private struct SendableConnection: @unchecked Sendable {
  let value: BlockingConnection

  init(_ value: BlockingConnection) { self.value = value }
}
