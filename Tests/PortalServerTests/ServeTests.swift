import Foundation
import JSON
import PortalAPI
import PortalHTTP
import PortalTesting
import Postgres
import PostgresTesting
import Testing

@Suite("latchkey serve, the real binary")
struct ServeTests {
  @Test("SIGTERM drains: all counted verdicts are written, and the exit status is 0")
  func drains() async throws {
    try await withDatabase { database in
      try await withServers(1, on: database) { servers in
        let server = servers[0]
        let world = try await DemoWorld(database, server)
        let question = "{\"key\":\"\(world.key)\"}"
        for _ in 0..<20 {
          let answer = try await curl([
            server.url + "/v1/verify", "-H", "Authorization: Bearer \(world.serviceToken)", "-H",
            "Content-Type: application/json", "-d", question,
          ])
          #expect(answer.output.contains("\"VALID\""))
        }
        #expect(try await server.end() == 0)
        let counted = try await PostgresPool.with(database.configuration) { pool in
          try await pool.query(SumVerified()).first
        }
        #expect(counted == 20)
      }
    }
  }

  @Test("the next server on the same database writes what a killed one had counted, and one on another does not")
  func spoolsOfTwoDatabases() async throws {
    try await withDatabase { database in
      try await withDatabase { other in
        let spool = "/tmp/latchkey-shared-\(database.name)"
        defer { try? FileManager.default.removeItem(atPath: spool) }
        func counted(_ database: TestDatabase) async throws -> Int? {
          try await PostgresPool.with(database.configuration) { try await $0.query(SumVerified()).first }
        }
        // Both are copies of one template.
        try await PostgresPool.with(other.configuration) { pool in
          try await pool.withConnection { try await $0.executeScript("update installation set id = gen_random_uuid()") }
        }
        let killed = try await RunningServer(on: database, spool: spool)
        let world = try await DemoWorld(database, killed)
        for _ in 0..<20 {
          let answer = try await curl([
            killed.url + "/v1/verify", "-H", "Authorization: Bearer \(world.serviceToken)", "-H",
            "Content-Type: application/json", "-d", "{\"key\":\"\(world.key)\"}",
          ])
          #expect(answer.output.contains("\"VALID\""))
        }
        _ = try await killed.end(SIGKILL)
        #expect(try await RunningServer(on: other, spool: spool).end() == 0)
        #expect(try await RunningServer(on: database, spool: spool).end() == 0)
        #expect(try await counted(database) == 20)
        #expect(try await counted(other) == 0)
      }
    }
  }

  @Test("with LOG_FORMAT=json, every line of the log is a JSON object")
  func jsonLog() async throws {
    try await withDatabase { database in
      try await withServers(1, on: database, environment: ["LOG_FORMAT": "json", "LOG_LEVEL": "debug"]) { servers in
        #expect(try await servers[0].end() == 0)
        let lines = servers[0].readLog().split(separator: "\n")
        #expect(!lines.isEmpty)
        for line in lines {
          let object = try JSONParser.parse(line.utf8)
          #expect(object.names.starts(with: ["time", "level", "message"]), "\(line)")
          let time = object["time"].string.flatMap { Timestamp.date(from: $0) }
          #expect(time != nil, "\(line)")
        }
      }
    }
  }

  @Test("with OPERATIONS_PORT, only health and metrics are served on it, and they are not on the other port")
  func operations() async throws {
    try await withDatabase { database in
      let port = try freePort()
      try await withServers(1, on: database, environment: ["OPERATIONS_PORT": "\(port)"]) { servers in
        func status(_ url: String) async throws -> String {
          try await curl(["-o", "/dev/null", "-w", "%{http_code}", url]).output
        }
        let operations = "http://127.0.0.1:\(port)"
        for path in ["/healthz", "/readyz", "/metrics"] {
          let there = try await status(operations + path)
          let here = try await status(servers[0].url + path)
          #expect(there == "200" && here == "404", "\(path)")
        }
        let keys = try await status(operations + "/v1/keys")
        let doubled = try await status(operations + "//metrics")
        let portal = try await status(servers[0].url + "/v1/keys")
        #expect(keys == "404" && doubled == "404" && portal == "401")
        // Requests on one port are counted in the metrics on the other.
        let metrics = try await curl([operations + "/metrics"]).output
        #expect(metrics.contains(#"_count{route="/v1/keys",method="GET",status="401"} 1"#))
        let end = try await servers[0].end()
        #expect(end == 0)
      }
    }
  }

  @Test("promtool finds nothing wrong with the metrics")
  func metrics() async throws {
    try await withDatabase { database in
      try await withServers(1, on: database) { servers in
        let metrics = try await curl([servers[0].url + "/metrics"])
        #expect(metrics.output.contains("# HELP latchkey_cache_entries "))
        let result = try await run("/usr/bin/env", ["promtool", "check", "metrics"], input: metrics.output)
        #expect(result.status == 0 && result.output.isEmpty && result.errors.isEmpty, "\(result)")
      }
    }
  }

  @Test("a second server on a taken port says so in one line, before anything else, and leaves nothing behind")
  func takenPort() async throws {
    try await withDatabase { database in
      try await withServers(1, on: database) { servers in
        let spool = servers[0].log + ".spool"
        let place = "127.0.0.1:\(servers[0].port)"
        let taken = "latchkey: \(place) is already in use, perhaps by another server; stop it, or set another "
        for (key, other) in [("HTTP_PORT", "OPERATIONS_PORT"), ("OPERATIONS_PORT", "HTTP_PORT")] {
          let result = try await latchkey(
            ["serve"],
            environment: [
              "DATABASE_URL": database.url, "USAGE_SPOOL": spool, key: "\(servers[0].port)", other: "\(try freePort())",
            ])
          #expect(result.status == 1)
          #expect(result.output == "" && result.errors == taken + key + "\n")
        }
        #expect(!FileManager.default.fileExists(atPath: spool))
      }
    }
  }

  @Test("revocations do not wait for an instance that has left, and for a killed one only until its lease expires")
  func leaving() async throws {
    try await withDatabase { database in
      try await withServers(3, on: database) { servers in
        let world = try await DemoWorld(database, servers[0])
        #expect(try await servers[1].end() == 0)
        #expect(try await servers[2].end(SIGKILL) != 0)
        let answer = try await curl([
          "-X", "DELETE", servers[0].url + "/v1/keys/\(world.keyID)", "-H", "Authorization: Bearer \(world.session)",
        ])
        let propagation = try answer.json()["propagation"]
        // The killed instance may still be counted, but then the receipt reports it as not acknowledged.
        let instances = try #require(propagation["instances"].integer)
        #expect((1...2).contains(instances))
        #expect(propagation["acknowledged"].integer == 1)
        try await eventually("the killed instance is no longer counted") {
          let again = try await curl([
            "-X", "DELETE", servers[0].url + "/v1/keys/\(world.keyID)", "-H", "Authorization: Bearer \(world.session)",
          ])
          return try again.json()["propagation"]["instances"].integer == 1
        }
      }
    }
  }
}

/// A customer with a key, and a gateway's token, created through a real server.
struct DemoWorld {
  let session: String
  let key: String
  let keyID: String
  let serviceToken: String

  init(_ database: TestDatabase, _ server: RunningServer) async throws {
    let signup = try await curl(
      server.curlOptions + [
        server.url + "/v1/signup", "-H", "Content-Type: application/json", "-d",
        "{\"email\":\"ada@example.com\",\"password\":\"correct horse battery\",\"accountName\":\"Acme\"}",
      ])
    session = try signup.json()["token"].string ?? ""
    let created = try await curl(
      server.curlOptions + [
        server.url + "/v1/keys", "-H", "Authorization: Bearer \(session)", "-H", "Content-Type: application/json", "-d",
        "{\"name\":\"Demo\",\"scopes\":[\"orders:read\"]}",
      ])
    key = try created.json()["key"].string ?? ""
    keyID = try created.json()["id"].string ?? ""
    let token = try await latchkey(
      ["tokens", "create", "--name", "gateway", "--permission", "keys.verify", "--json"],
      environment: ["DATABASE_URL": database.url])
    serviceToken = try token.json()["token"].string ?? ""
  }
}

struct SumVerified: PostgresStatement {
  typealias Row = Int
  static let sql = "select coalesce(sum(verified_count), 0)::bigint from key_usage"
}
