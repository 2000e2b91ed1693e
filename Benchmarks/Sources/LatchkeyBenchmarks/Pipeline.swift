import ArgumentParser
import Foundation
import Postgres

struct UpdateBalance: PostgresStatement {
  static let sql = "update pgbench_accounts set abalance = abalance + 1 where aid = $1"
  var account: Int32
  func bind(_ bindings: inout PostgresBindings) { bindings.append(account) }
}

struct Pipeline: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "A transaction of five statements, sent one by one and in a pipeline.",
    discussion:
      "Four selects and an update by primary key. One by one, each takes a round trip, and the commit another.")
  @OptionGroup var settings: Settings

  func run() async throws {
    let settings = settings
    try await settings.withPool { pool in
      for concurrency in Set([1, settings.connections]).sorted() {
        print("on \(concurrency) of \(settings.connections) connections:")
        try await compare(
          [
            Candidate(name: "one by one") {
              try await measure(seconds: settings.seconds, concurrency: concurrency, Self.oneByOne(pool))
            },
            Candidate(name: "pipelined, then committed") {
              try await measure(seconds: settings.seconds, concurrency: concurrency, Self.pipelined(pool))
            },
            Candidate(name: "pipelined as a whole") {
              try await measure(seconds: settings.seconds, concurrency: concurrency, Self.whole(pool))
            },
          ], rounds: settings.rounds, unit: "transactions")
      }
    }
  }

  /// Each task has its own accounts, so that tasks do not wait for each other's locks.
  private static func account(_ task: Int) -> Int32 { Int32(task * 1_000) + .random(in: 1...1_000) }

  private static func oneByOne(_ pool: PostgresPool) -> @Sendable (Int) async throws -> Void {
    { task in
      try await pool.withTransaction { transaction in
        for _ in 1...4 { _ = try await transaction.query(SelectBalance.random()) }
        try await transaction.execute(UpdateBalance(account: account(task)))
      }
    }
  }

  private static func pipelined(_ pool: PostgresPool) -> @Sendable (Int) async throws -> Void {
    { task in
      try await pool.withTransaction { transaction in
        _ = try await transaction.pipeline(
          SelectBalance.random(), SelectBalance.random(), SelectBalance.random(), SelectBalance.random(),
          UpdateBalance(account: account(task)))
      }
    }
  }

  private static func whole(_ pool: PostgresPool) -> @Sendable (Int) async throws -> Void {
    { task in
      _ = try await pool.pipeline(
        SelectBalance.random(), SelectBalance.random(), SelectBalance.random(), SelectBalance.random(),
        UpdateBalance(account: account(task)))
    }
  }
}
