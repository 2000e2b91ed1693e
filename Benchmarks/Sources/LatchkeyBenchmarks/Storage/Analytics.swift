import ArgumentParser
import Foundation

struct Analytics: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "The size of a year of usage on disk, and the times of queries and flushes with it.",
    discussion: """
      Times are PostgreSQL's planning and execution times from explain (analyze, timing off) with warm caches; each \
      run is for another key or account. The times of the flush and of pgbench are measured by the client, over a \
      socket. The server has its default settings, without fsync. CPU is the backend's CPU time, which a busy machine \
      affects least. One account in ten reports outcomes with latencies. Top endpoints are ten.
      """)

  @OptionGroup var settings: VerificationSettings
  @Option(help: "Keys, 25 per account.") var keys = 10_000
  @Option(help: "Days, today included; the last four are not packed.") var days = 365
  @Option(help: "Endpoints that each key uses each day.") var endpoints = 20
  @Option(help: "How often each question is asked.") var runs = 100

  func validate() throws {
    guard (250...100_000).contains(keys), (70...3_650).contains(days), (1...498).contains(endpoints),
      (50...10_000).contains(runs)
    else { throw ValidationError("250…100,000 keys, 70…3,650 days, 1…498 endpoints, 50…10,000 runs") }
  }

  func run() throws {
    try settings.withDatabase(pinned: false) { database, folder, _ in
      report("\(keys) keys × \(days) days × \(endpoints) endpoints: \(keys * days * endpoints) counters")
      try UsageFill(database: database, keys: keys, days: days, endpoints: endpoints).run()
      try reportSizes(database)
      let load = try String(contentsOfFile: "/proc/loadavg", encoding: .utf8).split(separator: " ")[0]
      report("\(ProcessInfo.processInfo.activeProcessorCount) processors, a load of \(load) on the machine before")
      try UsageQuestions(database: database, keys: keys, days: days, runs: runs).run()
      try UsageFlushes(database: database, runs: runs, folder: folder).run()
      try reportPacking(database)
    }
  }

  private func reportSizes(_ database: BenchmarkDatabase) throws {
    func size(_ table: String, _ count: String, of unit: String = "key-days") throws {
      let row = try database.rows(
        """
        select sum(pg_table_size(relid)), sum(pg_indexes_size(relid)), (\(count))
        from pg_partition_tree('\(table)') where isleaf
        """)[0].compactMap { Double($0) }
      let (bytes, indexBytes, keyDays) = (row[0], row[1], row[2])
      report(
        """
        \(table.padding(toLength: 20, withPad: " ", startingAt: 0)) \(column(keyDays, 0, width: 9)) \(unit), \
        \(column((bytes + indexBytes) / keyDays, 0, width: 5)) bytes each on disk \
        (table \(column(bytes / keyDays, 0, width: 0)), index \(column(indexBytes / keyDays, 0, width: 0))), \
        \(column((bytes + indexBytes) / 1_048_576, 0, width: 0)) MiB
        """)
    }
    try size("packed_usage", "select count(*) from packed_usage")
    try size("packed_account_usage", "select count(*) from packed_account_usage", of: "account-days")
    try size("key_usage", "select count(*) / \(endpoints) from key_usage")
    for (name, condition) in [("verified only", "is null"), ("with reported latencies", "is not null")] {
      let bytes = try database.value("select avg(pg_column_size(p)) from packed_usage p where latency \(condition)")
      report("  a packed row \(name): \(column(Double(bytes) ?? .nan, 0, width: 0)) bytes")
    }
  }

  /// Packs one day of all keys, and prints the times.
  private func reportPacking(_ database: BenchmarkDatabase) throws {
    try database.execute("delete from packed_usage where day = current_date - \(UsageFill.openDayCount)")
    try database.execute(
      """
      update key_usage set day = current_date - \(UsageFill.openDayCount)
      where day = current_date - \(UsageFill.openDayCount - 1)
      """)
    var seconds: [Double] = []
    var (count, place) = (0, "null, null, null")
    while true {
      let start = ContinuousClock.now
      let step = try database.rows(
        """
        select counter_count, last_account, last_key, last_day
        from pack_usage(current_date - \(UsageFill.openDayCount - 1), 10000, \(place))
        """)[0]
      seconds.append((ContinuousClock.now - start) / .seconds(1))
      count += Int(step[0]) ?? 0
      if step[3].isEmpty { break }
      place = "'\(step[1])', '\(step[2])', '\(step[3])'"
    }
    report(
      String(
        format: "packing a day: %d counters in %.1f s, %d transactions, the longest %.0f ms", count,
        seconds.reduce(0, +), seconds.count, 1_000 * (seconds.max() ?? 0)))
  }
}

/// The durations of repeated runs of one operation.
struct Timings {
  var milliseconds: [Double] = []
  /// CPU time of the measured processes, for all runs together.
  var processorSeconds: Double?

  func row(_ name: String, target: Double?) -> String {
    let sorted = milliseconds.sorted()
    let p95 = sorted.isEmpty ? .nan : sorted[min(sorted.count - 1, sorted.count * 95 / 100)]
    let text =
      name.padding(toLength: 62, withPad: " ", startingAt: 0)
      + " median \(column(median(sorted), 1, width: 7)) ms  p95 \(column(p95, 1, width: 7)) ms"
      + (processorSeconds.map {
        "  mean CPU \(column($0 * 1_000 / Double(milliseconds.count), 1, width: 7)) ms"
      } ?? "")
    guard let target else { return text }
    return text + "  target p95 ≤ \(column(target, 0, width: 0)) ms: \(p95 <= target ? "met" : "MISSED")"
  }
}
