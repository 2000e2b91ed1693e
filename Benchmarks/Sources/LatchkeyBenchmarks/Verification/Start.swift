import ArgumentParser
import Foundation

struct Start: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "How long a server takes to start, and what it costs without requests.",
    discussion: """
      The time from the start of the process until /readyz answers 200, with an empty cache and with keys that are \
      read into the cache first (CACHE_PRELOAD). Then the CPU time per second of a server without any request, by \
      thread, from /proc/PID/task/TID/schedstat, and that of PostgreSQL.
      """)

  @OptionGroup var settings: VerificationSettings
  @Option(help: "How often each start is measured.") var rounds = 5
  @Option(help: "How many keys are read into the cache.") var keys = 200_000
  @Option(help: "Seconds without requests.") var seconds = 20.0

  func validate() throws {
    guard (1...100).contains(rounds), (1_000...8_000_000).contains(keys), (1...600).contains(seconds) else {
      throw ValidationError("1…100 rounds, 1,000…8,000,000 keys, 1…600 seconds")
    }
  }

  func run() throws {
    try settings.withDatabase(pinned: false) { database, folder, _ in
      let mix = KeyMix.sequential(knownCount: keys, unknownCount: 0)
      try database.insert(mix, rateLimitPerMinute: 60)
      // Which keys are read depends on when they were last used.
      try database.execute(
        """
        insert into key_activity (account_id, key_id, last_used_at) select account_id, id, now() from api_keys
        """)
      try database.execute("analyze")
      try measure("with an empty cache", [:], database, folder, aimMilliseconds: 300)
      try measure(
        "with \(keys) keys", ["CACHE_ENTRIES": "\(keys + keys / 5)", "CACHE_PRELOAD": "\(keys)"], database, folder,
        aimMilliseconds: 2_000)
      try measureIdle(database, folder)
    }
  }

  private func measure(
    _ name: String, _ environment: [String: String], _ database: BenchmarkDatabase, _ folder: String,
    aimMilliseconds: Double
  ) throws {
    var (times, cpu, databaseCPU): ([Double], [Double], [Double]) = ([], [], [])
    var count = 0.0
    for _ in 0..<rounds {
      let before = ProcessTable.cpuSeconds(ofTree: database.postmaster)
      let start = ContinuousClock.now
      let server = try LatchkeyServer(
        binary: settings.binary, database: database, environment: environment, cpus: nil, folder: folder, name: "start")
      times.append((ContinuousClock.now - start) / .milliseconds(1))
      cpu.append(ProcessTable.cpuSeconds(ofTree: server.process.pid) * 1_000)
      databaseCPU.append((ProcessTable.cpuSeconds(ofTree: database.postmaster) - before) * 1_000)
      count = try server.metric("latchkey_cache_entries")
      server.process.stop()
    }
    let list = times.map { column($0, 0, width: 0) }.joined(separator: ", ")
    report(
      """
      ready \(name): median \(column(median(times), 0, width: 0)) ms (\(list)), \
      \(column(median(cpu), 0, width: 0)) ms of CPU, \(column(median(databaseCPU), 0, width: 0)) ms of PostgreSQL's; \
      \(Int(count)) keys in the cache; aim \(column(aimMilliseconds, 0, width: 0)) ms: \
      \(median(times) <= aimMilliseconds ? "met" : "MISSED")
      """)
  }

  private func measureIdle(_ database: BenchmarkDatabase, _ folder: String) throws {
    let server = try LatchkeyServer(
      binary: settings.binary, database: database, cpus: nil, folder: folder, name: "idle")
    defer { server.process.stop() }
    // Until everything that happens once after the start has happened.
    Thread.sleep(forTimeInterval: 5)
    try database.execute("select pg_stat_statements_reset()")
    let before = ProcessTable.scheduledSecondsByThread(of: server.process.pid)
    let databaseBefore = ProcessTable.cpuSeconds(ofTree: database.postmaster)
    Thread.sleep(forTimeInterval: seconds)
    let after = ProcessTable.scheduledSecondsByThread(of: server.process.pid)
    let databaseAfter = ProcessTable.cpuSeconds(ofTree: database.postmaster)
    let calls = Double(try database.value("select sum(calls) from pg_stat_statements")) ?? .nan
    func perSecond(_ value: Double) -> Double { value * 1_000 / seconds }
    var threads: [String: Double] = [:]
    for (thread, used) in after {
      threads[thread.name, default: 0] += perSecond(used - (before[thread] ?? 0))
    }
    let total = threads.values.reduce(0, +)
    let parts = threads.sorted { $0.value > $1.value }.filter { $0.value >= 0.005 }
      .map { "\($0.key) \(column($0.value, 2, width: 0))" }
    report(
      """
      without requests, ms of CPU per second: \(column(total, 2, width: 0)) (\(parts.joined(separator: ", "))), \
      PostgreSQL \(column(perSecond(databaseAfter - databaseBefore), 2, width: 0)); \
      \(column(calls / seconds, 1, width: 0)) statements per second; aim 1 ms per thread: \
      \(threads.values.allSatisfy { $0 <= 1 } ? "met" : "MISSED")
      """)
  }
}
