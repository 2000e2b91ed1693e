import ArgumentParser
import Foundation
import Postgres

@main
struct Benchmarks: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "bench", abstract: "Measures Latchkey and its peers.",
    discussion: "BENCH_DATABASE_URL names the PostgreSQL to measure on; scripts/bench makes one.",
    subcommands: [
      Client.self, Pipeline.self, Waiting.self, Verification.self, Paired.self, Flood.self, Logins.self, Memory.self,
      Start.self, Requests.self, Analytics.self, MillionKeys.self,
    ])
}

/// The options of the client benchmarks.
struct Settings: ParsableArguments {
  @Option(help: "How often each candidate is measured, in turn with the others.") var rounds = 5
  @Option(help: "Seconds that one measurement lasts.") var seconds = 3.0
  @Option(help: "Connections that query at the same time.") var connections = 8

  func validate() throws {
    guard (1...100).contains(rounds), (0.1...60).contains(seconds), (1...64).contains(connections) else {
      throw ValidationError("1…100 rounds of 0.1…60 seconds on 1…64 connections")
    }
  }

  var url: String {
    get throws {
      guard let url = ProcessInfo.processInfo.environment["BENCH_DATABASE_URL"] else {
        throw ValidationError("BENCH_DATABASE_URL is not set; run make bench")
      }
      return url
    }
  }

  /// Creates pgbench's tables, and runs `body` with a pool.
  func withPool(_ body: (PostgresPool) async throws -> Void) async throws {
    try await PGBench.initialize(try url)
    var configuration = PostgresConfiguration(url: try url)
    configuration.poolSizeMax = connections
    try await PostgresPool.with(configuration, body)
  }
}
