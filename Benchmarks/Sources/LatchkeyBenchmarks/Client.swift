import ArgumentParser
import Foundation
import Postgres

/// The row that `pgbench --select-only` reads.
struct SelectBalance: PostgresStatement {
  typealias Row = Int32
  static let sql = "select abalance from pgbench_accounts where aid = $1"
  var account: Int32
  func bind(_ bindings: inout PostgresBindings) { bindings.append(account) }

  static func random() -> SelectBalance { SelectBalance(account: .random(in: 1...100_000)) }
}

struct Client: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Prepared selects of one row by primary key, compared with pgbench.",
    discussion: "Like a pool, pgbench has one thread for all its clients, unless -j is given.")
  @OptionGroup var settings: Settings

  func run() async throws {
    let (url, settings) = (try settings.url, settings)
    var unprepared = PostgresConfiguration(url: url)
    unprepared.poolSizeMax = settings.connections
    unprepared.preparing = .never
    unprepared.role = "postgres"
    // The settings that each transaction sets behind a pooler.
    let byTransaction = PostgresSettings(["role": "postgres", "statement_timeout": "30000", "TimeZone": "UTC"])
    try await settings.withPool { pool in
      try await PostgresPool.with(unprepared) { unprepared in
        try await compare(
          [
            Candidate(name: "pgbench -M prepared") { try await PGBench.selectOnly(url, settings, threads: 1) },
            Candidate(name: "pgbench -M extended") {
              try await PGBench.selectOnly(url, settings, threads: 1, protocol: "extended")
            },
            Candidate(name: "pgbench -M prepared -j 2") { try await PGBench.selectOnly(url, settings, threads: 2) },
            Candidate(name: "PostgresPool.query") {
              try await measure(seconds: settings.seconds, concurrency: settings.connections) { _ in
                _ = try await pool.query(SelectBalance.random())
              }
            },
            Candidate(name: "… on its executor") {
              try await measure(
                seconds: settings.seconds, concurrency: settings.connections, on: pool.executor
              ) { _ in _ = try await pool.query(SelectBalance.random()) }
            },
            Candidate(name: "… settings by transaction") {
              try await measure(seconds: settings.seconds, concurrency: settings.connections) { _ in
                _ = try await pool.query(SelectBalance.random(), as: byTransaction)
              }
            },
            Candidate(name: "… and not prepared") {
              try await measure(seconds: settings.seconds, concurrency: settings.connections) { _ in
                _ = try await unprepared.query(SelectBalance.random())
              }
            },
          ], rounds: settings.rounds, unit: "queries")
      }
    }
  }
}

/// PostgreSQL's own benchmark.
enum PGBench {
  struct Failure: Error, CustomStringConvertible {
    var description: String
  }

  /// Creates its tables, with 100,000 accounts.
  static func initialize(_ url: String) async throws {
    _ = try await run(["--initialize", "--quiet", "--scale=1", url])
  }

  static func selectOnly(
    _ url: String, _ settings: Settings, threads: Int, protocol: String = "prepared"
  ) async throws -> Measurement {
    let cpu = cpuSeconds(of: RUSAGE_CHILDREN)
    let output = try await run([
      "--select-only", "--protocol=\(`protocol`)", "--no-vacuum", "--client=\(settings.connections)",
      "--jobs=\(threads)",
      "--time=\(max(1, Int(settings.seconds.rounded())))", url,
    ])
    guard let match = output.firstMatch(of: /processed: (\d+)/), let operations = Int(match.output.1),
      let speed = output.firstMatch(of: /tps = ([0-9.]+)/), let perSecond = Double(speed.output.1)
    else { throw Failure(description: "pgbench printed: \(output)") }
    return Measurement(
      operations: operations, seconds: Double(operations) / perSecond,
      clientSeconds: cpuSeconds(of: RUSAGE_CHILDREN) - cpu)
  }

  private static func run(_ arguments: [String]) async throws -> String {
    let process = Process()
    process.executableURL = URL(filePath: "/usr/bin/env")
    process.arguments = ["pgbench"] + arguments
    let output = Pipe()
    process.standardOutput = output
    process.standardError = output
    // The output is far smaller than a pipe's buffer.
    try await withCheckedThrowingContinuation { (continuation: CheckedContinuation<Void, any Error>) in
      process.terminationHandler = { _ in continuation.resume() }
      Thread.detachNewThread {
        // pgbench measures time by SIGALRM, which a task's thread blocks, and a child inherits the signal mask.
        var none = sigset_t()
        sigemptyset(&none)
        pthread_sigmask(SIG_SETMASK, &none, nil)
        do { try process.run() } catch { continuation.resume(throwing: error) }
      }
    }
    let text = String(decoding: try output.fileHandleForReading.readToEnd() ?? Data(), as: UTF8.self)
    guard process.terminationStatus == 0 else { throw Failure(description: "pgbench failed: \(text)") }
    return text
  }
}
