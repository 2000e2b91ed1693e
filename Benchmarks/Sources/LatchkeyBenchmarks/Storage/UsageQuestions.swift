import Foundation

/// Queries of usage as people ask for it, through the same views as all of Latchkey's queries.
struct UsageQuestions {
  private static let sums = """
    sum(success_count), sum(error_count), sum(denied_count), sum(total_latency_ms), sum(latency_count)
    """
  private static let histogram = ", sum_latency_buckets(latency_buckets) filter (where latency_buckets is not null)"

  let database: BenchmarkDatabase
  let keys: Int
  let days: Int
  let runs: Int

  func run() throws {
    report("questions, \(runs) runs each:")
    let year = "day between current_date - \(days - 1) and current_date"
    // Different keys and accounts, spread over the tables.
    func key(_ run: Int) -> Int { (run * 7_919 + 13) % keys }
    func reporting(_ run: Int) -> Int {
      let accounts = keys / BenchmarkDatabase.keysPerAccount / UsageFill.accountsPerReporting
      return run % accounts * UsageFill.accountsPerReporting * BenchmarkDatabase.keysPerAccount
    }
    func ofKey(_ key: Int) -> String { "\(ofAccount(key)) and key_id = (\(literal(UsageFill.key, key)))" }
    func ofAccount(_ key: Int) -> String { "account_id = (\(literal(UsageFill.account, key)))" }

    try ask("one key, \(days) days: by day, top endpoints", target: 20) { run in
      [byDay("\(ofKey(key(run))) and \(year)"), byEndpoint(ofKey: key(run))]
    }
    try ask("  the same of one that reports latencies", target: nil) { run in
      [byDay("\(ofKey(reporting(run))) and \(year)"), byEndpoint(ofKey: reporting(run))]
    }
    func ofWhole(_ key: Int) -> [String] {
      let condition = "\(ofAccount(key)) and \(year)"
      return [byDay(condition, of: "usage_by_account"), byEndpoint(ofAccount: key), byKey(condition)]
    }
    try ask("an account of 25 keys, \(days) days: by day, top endpoints, top keys", target: 60) { ofWhole(key($0)) }
    try ask("  the same of one that reports (10 runs)", runs: 10, target: nil) { ofWhole(reporting($0)) }
    try ask("  by day alone", target: nil) { run in
      [byDay("\(ofAccount(key(run))) and \(year)", of: "usage_by_account")]
    }
    let month = """
      day >= date_trunc('month', current_date - interval '2 months')::date
      and day < date_trunc('month', current_date - interval '1 month')::date
      """
    try ask("all accounts, a month by day", target: 1_000) { _ in [byDay(month)] }
    try database.execute("set jit = off")
    try ask("  the same without jit", target: nil) { _ in [byDay(month)] }
    try database.execute("reset jit")
  }

  // The queries of the product: only those by day have percentiles.

  private func byDay(_ condition: String, of view: String = "usage_by_key") -> String {
    "select day, \(Self.sums)\(Self.histogram) from \(view) where \(condition) group by day"
  }

  private func byKey(_ condition: String) -> String {
    """
    select key_id, \(Self.sums) from usage_by_key where \(condition)
    group by key_id order by sum(success_count + error_count + denied_count) desc, key_id limit 100
    """
  }

  private func byEndpoint(ofKey key: Int) -> String {
    busiest(
      """
      usage_of_endpoints((\(literal(UsageFill.account, key))), (\(literal(UsageFill.key, key))), \(range),
        with_latency_buckets => false)
      """)
  }

  private func byEndpoint(ofAccount key: Int) -> String {
    busiest("usage_of_account_endpoints((\(literal(UsageFill.account, key))), \(range))")
  }

  private var range: String { "current_date - \(days - 1), current_date" }

  private func busiest(_ endpoints: String) -> String {
    """
    select endpoint, \(Self.sums) from \(endpoints)
    group by endpoint order by sum(success_count + error_count + denied_count) desc, endpoint limit 10
    """
  }

  /// The expression for one key, as a literal in place of a parameter.
  private func literal(_ expression: String, _ key: Int) -> String {
    expression.replacing("|| key", with: "|| \(key)")
  }

  private func ask(_ name: String, runs: Int? = nil, target: Double?, _ questions: (Int) -> [String]) throws {
    var timings = Timings()
    let backend = pid_t(try database.value("select pg_backend_pid()")) ?? 0
    var cpu = 0.0
    // The first two runs are warm-ups.
    for run in -2..<(runs ?? self.runs) {
      if run == 0 { cpu = ProcessTable.cpuSeconds(ofTree: backend) }
      var milliseconds = 0.0
      for question in questions(abs(run)) {
        for line in try database.rows("explain (analyze, timing off) " + question) {
          guard let match = line[0].firstMatch(of: /(?:Planning|Execution) Time: ([0-9.]+) ms/) else { continue }
          milliseconds += Double(match.output.1) ?? .nan
        }
      }
      if run >= 0 { timings.milliseconds.append(milliseconds) }
    }
    timings.processorSeconds = ProcessTable.cpuSeconds(ofTree: backend) - cpu
    report("  " + timings.row(name, target: target))
  }
}

/// Compares flushing ten thousand counters in one transaction with one transaction per counter.
struct UsageFlushes {
  private static let counterCount = 10_000

  let database: BenchmarkDatabase
  let runs: Int
  let folder: String

  func run() throws {
    report("\(Self.counterCount) counters of today, on all that:")
    try database.execute(
      """
      create table batch (number integer primary key, account_id uuid, key_id uuid, hour timestamptz, endpoint text);
      insert into batch
        select number, \(UsageFill.account), \(UsageFill.key), date_trunc('hour', now()),
          '/v1/orders/items/' || number % 5 + 1
        from (select number, number / 5 as key from generate_series(0, \(Self.counterCount - 1)) number) rows;
      create table arrays as
        select array_agg(account_id) as accounts, array_agg(key_id) as keys, array_agg(hour) as hours,
          array_agg(endpoint) as endpoints, array_agg(1::bigint) as ones, array_agg(now()) as used
        from batch;
      analyze batch
      """)
    var timings = Timings()
    for run in 1...runs {
      let start = ContinuousClock.now
      try database.execute(
        """
        select flush_verdicts('00000000-0000-7000-8000-000000000001', \(run), accounts, keys, hours, endpoints, ones,
          ones, used) from arrays
        """)
      timings.milliseconds.append((ContinuousClock.now - start) / .milliseconds(1))
    }
    report("  " + timings.row("flush_verdicts, one transaction", target: 300))
    try upsertOneByOne()
  }

  private func upsertOneByOne() throws {
    try """
    \\set number random(0, \(Self.counterCount - 1))
    insert into key_usage as usage (account_id, key_id, day, endpoint, verified_count, denied_count)
      select account_id, key_id, current_date, endpoint, 1, 1 from batch where number = :number
      on conflict (account_id, key_id, day, endpoint) do update set
        verified_count = usage.verified_count + excluded.verified_count,
        denied_count = usage.denied_count + excluded.denied_count;
    """.write(toFile: "\(folder)/upsert.sql", atomically: true, encoding: .utf8)
    var timings = Timings()
    for _ in 1...5 {
      let output = try ServerProcess.run(
        [
          "pgbench", "--no-vacuum", "--protocol=prepared", "--client=1", "--transactions=\(Self.counterCount)",
          "--file=\(folder)/upsert.sql", database.url,
        ], log: "\(folder)/pgbench.log")
      guard let match = output.firstMatch(of: /tps = ([0-9.]+)/), let perSecond = Double(match.output.1) else {
        throw BenchmarkDatabase.Failure(description: "pgbench printed: \(output)")
      }
      timings.milliseconds.append(Double(Self.counterCount) / perSecond * 1_000)
    }
    report("  " + timings.row("pgbench, an upsert into key_usage alone each (5 runs)", target: nil))
  }
}
