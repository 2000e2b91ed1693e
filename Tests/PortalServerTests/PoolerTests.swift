import Foundation
import PortalTesting
import Postgres
import PostgresTesting
import Testing

@Suite("Through PgBouncer", .serialized)
struct PoolerTests {
  @Test(
    "the main workflow works, and another client of the pooler finds none of our settings",
    arguments: RunningPooler.Mode.allCases)
  func mainJob(mode: RunningPooler.Mode) async throws {
    try await withDatabase { database in
      try await RunningPooler.with(mode, before: database) { pooler in
        let pooled = database.through(pooler.folder)
        let spool = FileManager.default.temporaryDirectory.appending(path: pooled.name).path
        defer { try? FileManager.default.removeItem(atPath: spool) }
        let server = try await RunningServer(
          on: pooled, spool: spool, environment: mode == .transaction ? ["DATABASE_LISTENER_URL": database.url] : [:])
        let result: Result<Void, any Error>
        do { result = .success(try await doMainJob(server, pooled)) } catch { result = .failure(error) }
        try await expectNothingLeft(pooled)
        #expect(try await server.end() == 0)
        #expect(server.readLog().contains("leads through a pooler"))
        try result.get()
        try await expectNothingLeft(pooled)
      }
    }
  }

  private func doMainJob(_ server: RunningServer, _ pooled: TestDatabase) async throws {
    let made = try await latchkey(
      ["tokens", "create", "--name", "gateway", "--permission", "keys.verify", "--json"],
      environment: ["DATABASE_URL": pooled.url])
    let token = try #require(try made.json()["token"].string, "\(made)")
    try await TestConnection.with(Array(repeating: server.port, count: 8)) { clients in
      let customer = #"{"email":"ada@example.com","password":"correct horse battery","accountName":"A"}"#
      _ = try await clients[0].send("POST", "/v1/signup", customer)
      let login = try await clients[0].send(
        "POST", "/v1/login", #"{"email":"ada@example.com","password":"correct horse battery"}"#)
      let session = try #require(try login.json()["token"].string, "\(login)")
      // Concurrently, so that the transactions go through several server connections.
      try await withThrowingTaskGroup { group in
        for client in clients {
          group.addTask {
            for _ in 1...10 {
              let created = try await client.send(
                "POST", "/v1/keys", #"{"name":"K","scopes":["orders:read"]}"#, token: session)
              let id = try #require(try created.json()["id"].string, "\(created)")
              let key = try #require(try created.json()["key"].string)
              #expect(try await client.verify([key], token: token).codes == ["VALID"])
              let rolled = try await client.send("POST", "/v1/keys/\(id)/roll", token: session)
              let next = try #require(try rolled.json()["newKey"]["id"].string, "\(rolled)")
              let nextKey = try #require(try rolled.json()["newKey"]["key"].string)
              #expect(try await client.verify([nextKey], token: token).codes == ["VALID"])
              for id in [id, next] {
                let revoked = try await client.send("DELETE", "/v1/keys/" + id, token: session)
                #expect(revoked.status == 200, "\(revoked)")
              }
              #expect(try await client.verify([key], token: token).codes == ["REVOKED"])
              #expect(try await client.verify([nextKey], token: token).codes == ["REVOKED"])
              let usage = try await client.send("GET", "/v1/keys/\(id)/usage?days=1", token: session)
              #expect(usage.status == 200, "\(usage)")
            }
          }
        }
        try await group.waitForAll()
      }
      try await eventually("the verdicts are counted") {
        try await PostgresPool.with(pooled.configuration) { try await $0.query(CountVerdicts()) == [320] }
      }
    }
  }

  private struct CountVerdicts: PostgresStatement {
    typealias Row = Int
    static let sql = "select coalesce(sum(verified_count + denied_count), 0)::bigint from usage_by_key"
  }

  /// Expects that another client of the pooler finds default settings on each of the server connections.
  private func expectNothingLeft(_ pooled: TestDatabase) async throws {
    let plain = try await psql(pooled, Array(repeating: Self.look, count: 40))
    #expect(Set(plain) == ["postgres|0|on|"], "\(Set(plain))")
  }

  private static let look = """
    select current_user, current_setting('statement_timeout'), current_setting('synchronous_commit'),
      coalesce(current_setting('latchkey.account_id', true), '')
    """

  /// Runs each statement in its own transaction on each of four connections, and returns the lines printed.
  private func psql(_ database: TestDatabase, _ statements: [String]) async throws -> [String] {
    try await withThrowingTaskGroup(of: [String].self) { group in
      for _ in 1...4 {
        group.addTask {
          let result = try await run(
            "/usr/bin/env", ["psql", "-XAt", "-v", "ON_ERROR_STOP=1", database.url],
            environment: baseEnvironment, input: statements.map { $0 + ";" }.joined(separator: "\n"))
          guard result.status == 0 else { throw TestSetupError(description: "\(result)") }
          return result.output.split(separator: "\n").map(String.init)
        }
      }
      return try await group.reduce(into: []) { $0 += $1 }
    }
  }

  @Test("in transaction mode, what needs a session is refused at the start with the remedy")
  func refusals() async throws {
    try await withDatabase { database in
      try await RunningPooler.with(.transaction, before: database) { pooler in
        let pooled = database.through(pooler.folder)
        let spool = FileManager.default.temporaryDirectory.appending(path: pooled.name).path
        defer { try? FileManager.default.removeItem(atPath: spool) }
        let environment = ["DATABASE_URL": pooled.url, "USAGE_SPOOL": spool]
        let listening = try await latchkey(["serve"], environment: environment)
        #expect(listening.status == 1)
        #expect(listening.errors.contains("DATABASE_LISTENER_URL"), "\(listening)")
        let preparing = try await latchkey(
          ["serve"],
          environment: environment.merging(
            ["DATABASE_PREPARE": "always", "DATABASE_LISTENER_URL": database.url]) { $1 })
        #expect(preparing.status == 1)
        #expect(preparing.errors.contains("prepared statements"), "\(preparing)")
        let migrating = try await latchkey(["migrate"], environment: environment)
        #expect(migrating.status == 1)
        #expect(migrating.errors.contains("its own session"), "\(migrating)")
        let wrong = try await latchkey(
          ["serve"], environment: ["DATABASE_URL": pooled.url, "DATABASE_PREPARE": "maybe"])
        #expect(wrong.status == 64)
        #expect(wrong.errors.contains("DATABASE_PREPARE"))
      }
    }
  }

  @Test("a session is recognized as its own, kept by the pooler, or shared")
  func sessions() async throws {
    try await withDatabase { database in
      try await PostgresPool.with(database.configuration) { pool in
        #expect(try await pool.trySession() == .own)
        for mode in RunningPooler.Mode.allCases {
          try await RunningPooler.with(mode, before: database) { pooler in
            let url = database.through(pooler.folder).url
            for _ in 1...5 {
              let session = try await pool.trySession(url: url)
              #expect(session == (mode == .session ? .kept : .shared))
            }
          }
        }
      }
    }
  }
}
