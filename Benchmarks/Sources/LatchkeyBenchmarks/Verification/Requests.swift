import ArgumentParser
import Foundation

struct Requests: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "What requests of people cost: CPU time, statements and round trips.",
    discussion: """
      Requests are sent one after the other on one connection. The CPU time is that of the server and of PostgreSQL's \
      processes per request, less what they use without requests. Statements are the calls in pg_stat_statements, \
      including begin and commit. Round trips are how often a backend waits for the next message, counted by strace in \
      runs of their own; without strace they are not measured. Passwords have the default cost.
      """)

  @OptionGroup var settings: VerificationSettings
  @Option(help: "How often each request is sent.") var runs = 400

  func validate() throws {
    guard (20...10_000).contains(runs) else { throw ValidationError("20…10,000 runs") }
  }

  func run() throws {
    try settings.withDatabase(pinned: false) { database, folder, _ in
      // People log in again and again, and make more keys than the default plan allows.
      try database.execute("update plans set key_cap = 10000 where name = 'default'")
      let server = try LatchkeyServer(
        binary: settings.binary, database: database, environment: ["SIGNUP_OPEN": "true"], cpus: nil, folder: folder,
        name: "requests")
      defer { server.process.stop() }
      let load = try String(contentsOfFile: "/proc/loadavg", encoding: .utf8).split(separator: " ")[0]
      report("\(ProcessInfo.processInfo.activeProcessorCount) processors, a load of \(load) on the machine before")
      try RequestCosts(database: database, server: server, runs: runs, folder: folder).run()
    }
  }
}

/// The requests, in the order in which they are measured.
private struct RequestCosts {
  let database: BenchmarkDatabase
  let server: LatchkeyServer
  let runs: Int
  let folder: String

  private static let settleSeconds = 2.0
  private static let idleSeconds = 5.0

  func run() throws {
    let client = JSONClient(try BlockingConnection(port: server.port))
    let person = #"{"email":"ada@example.com","password":"correct horse battery","accountName":"Acme"}"#
    let token = try client.string("token", in: client.send("POST", "/v1/signup", nil, person, expecting: 201))
    let login = #"{"email":"ada@example.com","password":"correct horse battery"}"#
    let key = #"{"name":"Orders","scopes":["orders:read"]}"#
    let made = try (0..<4 * runs + 4).map { _ in
      try client.string("id", in: client.send("POST", "/v1/keys", token, key, expecting: 201))
    }
    Thread.sleep(forTimeInterval: Self.settleSeconds)
    let idle = try idleCosts()
    report("request                      CPU ms   PostgreSQL's   statements   round trips")
    // Each run of an operation that changes a key takes another one.
    var next = made.startIndex
    func fresh() -> String {
      defer { next += 1 }
      return made[next % made.count]
    }
    // Few, since a password takes a quarter of a second.
    try measure("log in", idle, runs: 20) { try client.send("POST", "/v1/login", nil, login, expecting: 200) }
    try measure("make a key", idle) { try client.send("POST", "/v1/keys", token, key, expecting: 201) }
    try measure("list 50 keys", idle) { try client.send("GET", "/v1/keys?limit=50", token, expecting: 200) }
    try measure("read a key", idle) { try client.send("GET", "/v1/keys/\(made[0])", token, expecting: 200) }
    try measure("change a key", idle) {
      try client.send("PATCH", "/v1/keys/\(fresh())", token, #"{"name":"Other"}"#, expecting: 200)
    }
    try measure("roll a key", idle) { try client.send("POST", "/v1/keys/\(fresh())/roll", token, "{}", expecting: 201) }
    try measure("revoke a key", idle) { try client.send("DELETE", "/v1/keys/\(fresh())", token, expecting: 200) }
    try measure("usage of the account", idle) { try client.send("GET", "/v1/usage?days=30", token, expecting: 200) }
    try measure("audit trail, 50 events", idle) { try client.send("GET", "/v1/audit?limit=50", token, expecting: 200) }
  }

  /// What the server and PostgreSQL use per second without requests.
  private struct Idle {
    var cpu: Double
    var databaseCPU: Double
    var statements: Double
    var waits: Double?
  }

  private func cpuSeconds() -> (server: Double, database: Double) {
    (ProcessTable.scheduledSeconds(of: server.process.pid), ProcessTable.scheduledSeconds(ofTree: database.postmaster))
  }

  private func idleCosts() throws -> Idle {
    try database.execute("select pg_stat_statements_reset()")
    let before = cpuSeconds()
    let waits = try countingWaits { Thread.sleep(forTimeInterval: Self.idleSeconds) }
    let after = cpuSeconds()
    return Idle(
      cpu: (after.server - before.server) / Self.idleSeconds,
      databaseCPU: (after.database - before.database) / Self.idleSeconds,
      statements: try statementCount() / Self.idleSeconds, waits: waits.map { $0 / Self.idleSeconds })
  }

  private func statementCount() throws -> Double {
    Double(try database.value("select coalesce(sum(calls), 0) from pg_stat_statements")) ?? .nan
  }

  private func measure(_ name: String, _ idle: Idle, runs: Int? = nil, _ send: () throws -> Void) throws {
    let runs = runs ?? self.runs
    for _ in 0..<3 { try send() }
    try database.execute("select pg_stat_statements_reset()")
    let (start, before) = (ContinuousClock.now, cpuSeconds())
    for _ in 0..<runs { try send() }
    let (after, seconds) = (cpuSeconds(), (ContinuousClock.now - start) / .seconds(1))
    let statements = try statementCount()
    let traced = ContinuousClock.now
    let waits = try countingWaits { for _ in 0..<runs { try send() } }
    let tracedSeconds = (ContinuousClock.now - traced) / .seconds(1)
    func each(_ total: Double, _ idle: Double) -> Double { max(0, total - idle * seconds) / Double(runs) }
    let roundTrips = waits.flatMap { waits in
      idle.waits.map { max(0, waits - $0 * tracedSeconds) / Double(runs) }
    }
    report(
      [
        name.padding(toLength: 26, withPad: " ", startingAt: 0),
        column(each(after.server - before.server, idle.cpu) * 1_000, 3, width: 8),
        column(each(after.database - before.database, idle.databaseCPU) * 1_000, 3, width: 14),
        column(each(statements, idle.statements), 1, width: 12), column(roundTrips ?? .nan, 1, width: 13),
      ].joined(separator: " "))
  }

  /// How often backends of the server wait for a message while `body` runs; nil without strace.
  private func countingWaits(_ body: () throws -> Void) throws -> Double? {
    let backends = try database.rows(
      "select pid from pg_stat_activity where application_name like 'latchkey%' and pid <> pg_backend_pid()"
    ).compactMap { $0.first.flatMap { pid_t($0) } }
    guard !backends.isEmpty, FileManager.default.isExecutableFile(atPath: "/usr/bin/strace") else {
      try body()
      return nil
    }
    let log = "\(folder)/strace-backends.log"
    let tracer = try ServerProcess(
      ["strace", "-c", "-q", "-U", "name,calls", "-e", "trace=epoll_wait"] + backends.flatMap { ["-p", "\($0)"] },
      cpus: nil, log: log)
    try tracer.waitUntil("strace") { backends.allSatisfy(ProcessTable.isTraced) }
    try body()
    tracer.interrupt()
    let lines = try String(contentsOfFile: log, encoding: .utf8).split(separator: "\n")
    return lines.compactMap { line -> Double? in
      let words = line.split(separator: " ")
      return words.count == 2 && words[0] == "epoll_wait" ? Double(words[1]) : nil
    }.first ?? 0
  }
}

/// Sends JSON requests on one connection.
private struct JSONClient {
  let connection: BlockingConnection

  init(_ connection: BlockingConnection) { self.connection = connection }

  @discardableResult
  func send(
    _ method: String, _ path: String, _ token: String?, _ body: String? = nil, expecting status: Int
  ) throws -> String {
    let text = """
      \(method) \(path) HTTP/1.1\r\nHost: 127.0.0.1\r\n\(token.map { "Authorization: Bearer \($0)\r\n" } ?? "")\
      \(body.map { "Content-Type: application/json\r\nContent-Length: \($0.utf8.count)\r\n" } ?? "")\r\n\(body ?? "")
      """
    let (answered, answer) = try connection.request(Array(text.utf8)) {
      ($0.status, String(decoding: $0.body, as: UTF8.self))
    }
    guard answered == status else {
      throw ServerProcess.Failure(description: "\(method) \(path) was answered with \(answered): \(answer)")
    }
    return answer
  }

  /// The first string member with this name, at any depth.
  func string(_ name: String, in answer: String) throws -> String {
    guard let start = answer.range(of: "\"\(name)\":\""), let end = answer[start.upperBound...].firstIndex(of: "\"")
    else { throw ServerProcess.Failure(description: "no \(name) in \(answer)") }
    return String(answer[start.upperBound..<end])
  }
}
