import ArgumentParser
import Foundation

struct MillionKeys: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "million",
    abstract: "Requests of people with a million keys in 40,000 accounts, and the cost of idle instances.",
    discussion: """
      Requests are sent over HTTP to a server, one after the other, after one warm-up request, and are timed by the \
      client's clock. CPU is the CPU time of PostgreSQL's processes per request, including parallel workers, which a \
      busy machine affects least. Statements that the portal runs in larger transactions are run by themselves, with \
      their commit. --binary selects the server: an earlier one is measured in the same way, and requests that it does \
      not know have no figure.
      """)

  @OptionGroup var settings: VerificationSettings
  @Option(help: "Keys. One in a hundred is in one account, 25 are in each of the others.") var keys = 1_000_000
  @Option(help: "How often each question is asked.") var runs = 20

  func validate() throws {
    guard (100_000...10_000_000).contains(keys), (5...1_000).contains(runs) else {
      throw ValidationError("100,000…10,000,000 keys, 5…1,000 runs")
    }
  }

  func run() throws {
    try settings.withDatabase(pinned: false) { database, folder, _ in
      let fill = MillionFill(database: database, keys: keys)
      try fill.run()
      let load = try String(contentsOfFile: "/proc/loadavg", encoding: .utf8).split(separator: " ")[0]
      report("\(ProcessInfo.processInfo.activeProcessorCount) processors, a load of \(load) on the machine before")
      let server = try LatchkeyServer(
        binary: settings.binary, database: database, cpus: nil, folder: folder, name: "million")
      let questions = MillionQuestions(database: database, port: server.port, runs: runs)
      report("questions, \(runs) runs each:")
      try questions.askOverHTTP(fill)
      server.process.stop()
      report("statements:")
      try questions.runStatements(fill, folder: folder)
      report("without requests:")
      try reportIdle(database, folder)
    }
  }

  /// Measures PostgreSQL's CPU time for eight instances without any request.
  private func reportIdle(_ database: BenchmarkDatabase, _ folder: String) throws {
    let seconds = 20.0
    let servers = try (1...8).map { number in
      try LatchkeyServer(
        binary: settings.binary, database: database, cpus: nil, folder: folder, name: "idle-\(number)")
    }
    defer { for server in servers { server.process.stop() } }
    // Long enough that each instance knows all others.
    Thread.sleep(forTimeInterval: 5)
    try database.execute("select pg_stat_statements_reset()")
    let cpu = ProcessTable.cpuSeconds(ofTree: database.postmaster)
    Thread.sleep(forTimeInterval: seconds)
    let used = ProcessTable.cpuSeconds(ofTree: database.postmaster) - cpu
    let counts = try database.rows(
      """
      select coalesce(sum(calls) filter (where query like '%exchange_rate_limits%'), 0), sum(calls)
      from pg_stat_statements
      """)[0].compactMap { Double($0) }
    report(
      """
        8 instances for \(Int(seconds)) s: \
      \(column(used * 1_000 / seconds, 1, width: 0)) ms of PostgreSQL's CPU a second, \
      \(column(counts[0] / seconds, 1, width: 0)) of \(column(counts[1] / seconds, 1, width: 0)) statements a second \
      exchange limits
      """)
  }
}

/// Requests of people, and statements of the portal.
struct MillionQuestions {
  let database: BenchmarkDatabase
  let port: Int
  let runs: Int

  func askOverHTTP(_ fill: MillionFill) throws {
    let owner = try fill.logInOwner()
    let staff = try fill.logInStaff()
    let list = "an account of \(fill.largeAccountKeyCount) keys: "
    try ask(list + "the newest 50", owner) { _ in "/v1/keys?limit=50" }
    for status in ["active", "revoked"] {
      try ask(list + "the newest 50 that are \(status)", owner) { _ in "/v1/keys?limit=50&status=\(status)" }
    }
    try ask(list + "by a text that none has", owner) { "/v1/keys?q=nothing\($0)" }
    for days in [90, 365, 3_650] {
      try ask("unused for \(days) days, the newest 100 of them", staff, target: 500) { _ in
        "/v1/analytics/unused-keys?days=\(days)"
      }
    }
    let (from, to) = (try database.value("select current_date - 29"), try database.value("select current_date"))
    let days = "from=\(from)&to=\(to)"
    try ask("top 100 keys of 30 days", staff, target: 500) { _ in "/v1/analytics/top?by=key&\(days)" }
    try ask("top 2,000 keys of 30 days (all are added up)", staff, runs: 5) { _ in
      "/v1/analytics/top?by=key&\(days)&limit=2000"
    }
    try ask("top 100 accounts of 30 days", staff) { _ in "/v1/analytics/top?by=account&\(days)" }
    try ask("accounts by a part of the name", staff) { "/v1/support/accounts?name=labs%20\(100 + $0)7" }
    try ask("accounts by a part of a member's address", staff) { "/v1/support/accounts?emailPart=son1\($0)7@" }
    try ask("keys by a part of the account's name", staff) { "/v1/support/keys?accountName=labs%20\(100 + $0)7" }
    try ask("keys by a part of a member's address", staff) { "/v1/support/keys?emailPart=son1\($0)7@" }
  }

  private func ask(
    _ name: String, _ token: String, runs: Int? = nil, target: Double? = nil, _ path: (Int) -> String
  ) throws {
    let connection = try BlockingConnection(port: port)
    var timings = Timings()
    var cpu = 0.0
    for run in -1..<(runs ?? self.runs) {
      if run == 0 { cpu = ProcessTable.cpuSeconds(ofTree: database.postmaster) }
      let request = """
        GET \(path(abs(run))) HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer \(token)\r\n\r\n
        """
      let start = ContinuousClock.now
      let status = try connection.request(Array(request.utf8)) { $0.status }
      guard status == 200 else {
        report("  \(name.padding(toLength: 62, withPad: " ", startingAt: 0)) – (HTTP \(status))")
        return
      }
      if run >= 0 { timings.milliseconds.append((ContinuousClock.now - start) / .milliseconds(1)) }
    }
    timings.processorSeconds = ProcessTable.cpuSeconds(ofTree: database.postmaster) - cpu
    report("  " + timings.row(name, target: target))
  }

  func runStatements(_ fill: MillionFill, folder: String) throws {
    // The values are generated in advance, as in the portal.
    try database.execute(
      """
      create table bench_events as
        select run, number, bench_id('event ' || run || ' ', number, clock_timestamp()) as id,
          bench_id('key', number, now()) as key_id
        from generate_series(0, 4) run, generate_series(1, 10000) number order by run, number;
      analyze bench_events
      """)
    try time("10,000 audit events of one account", target: 400) { run in
      """
      insert into audit_events
        (id, account_id, actor_kind, actor_id, actor_name, action, target_kind, target_id, reason, ip)
      select event.id, account.id, 'staff', account.user_id, 'Grace', 'key.revoked', 'key', event.key_id, 'leaked',
        '192.0.2.1'
      from bench_events event, bench_accounts account
      where event.run = \(run) and account.number = 0 order by event.number
      """
    }
    let names = """
      select remember_endpoints(array_agg(id), array_agg('/new/' || pg_backend_pid() || '/' || %))
      from bench_accounts where number between
      """
    try time("new endpoint names of 1,000 accounts", target: nil) { run in
      names.replacing("%", with: "\(run + 1)") + " 1 and 1000"
    }
    // A slow flush of another instance.
    let other = try ServerProcess(
      [
        "psql", "--quiet", database.url, "-c",
        "begin", "-c", names.replacing("%", with: "0") + " 2000 and 2000", "-c", "select pg_sleep(2)", "-c", "commit",
      ], cpus: nil, log: "\(folder)/psql.log")
    Thread.sleep(forTimeInterval: 0.5)
    // For accounts that share no lock with that flush.
    try time("… of another account, during a flush that takes 2 s", runs: 1, target: nil) { _ in
      """
      \(names.replacing("%", with: "0")) 3000 and 3050 and hashtext(id::text) & 127 <> (
        select hashtext(id::text) & 127 from bench_accounts where number = 2000)
      """
    }
    other.stop()
  }

  private func time(_ name: String, runs: Int = 5, target: Double?, _ sql: (Int) -> String) throws {
    var timings = Timings()
    let backend = pid_t(try database.value("select pg_backend_pid()")) ?? 0
    let cpu = ProcessTable.cpuSeconds(ofTree: backend)
    for run in 0..<runs {
      let start = ContinuousClock.now
      try database.execute(sql(run))
      timings.milliseconds.append((ContinuousClock.now - start) / .milliseconds(1))
    }
    timings.processorSeconds = ProcessTable.cpuSeconds(ofTree: backend) - cpu
    report("  " + timings.row(name, target: target))
  }
}
