import Foundation
import PortalAPI
import PortalHTTP
import PortalTesting
import Postgres
import PostgresTesting
import Testing

@Suite("docs/gateways: a real gateway in front of an API")
struct GatewayTests {
  @Test(
    "a request with a valid key reaches the API, with the ids of key and account but without the key",
    arguments: Gateway.allCases)
  func valid(_ kind: Gateway) async throws {
    try await withGateway(kind) { world in
      for credentials in [["-H", "Authorization: Bearer \(world.demo.key)"], ["-H", "X-API-Key: \(world.demo.key)"]] {
        let answer = try await world.ask("/orders/7?page=2", key: nil, credentials)
        #expect(answer.status == 200)
        expectRateLimit(answer, limit: 60)
        let echo = try answer.echo()
        #expect(echo.method == "GET" && echo.path == "/orders/7?page=2")
        #expect(echo.header("X-Latchkey-Key-Id") == world.demo.keyID)
        #expect(echo.header("X-Latchkey-Account-Id")?.count == 36)
        #expect(echo.header("X-Latchkey-Scopes") == "orders:read")
        #expect(echo.header("X-Client-IP") == "127.0.0.1")
        for name in ["Authorization", "X-API-Key", "X-Latchkey-Token", "X-Required-Scope", "RateLimit"] {
          #expect(echo.header(name) == nil, "\(name)")
        }
      }
      try await eventually("the usage is counted under method and path") {
        let usage = try await curl(
          [world.servers[0].url + "/v1/keys/\(world.demo.keyID)/usage"] + world.asCustomer)
        return try usage.json()["endpoints"].array.contains {
          $0["endpoint"].string == "GET /orders/{id}" && $0["successes"].integer == 2
        }
      }
    }
  }

  @Test("the API's own JWT is passed to the API, and the key next to it is not", arguments: Gateway.allCases)
  func ownJWT(_ kind: Gateway) async throws {
    try await withGateway(kind) { world in
      let jwt = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhIn0.c2lnbmF0dXJl"
      let key = ["-H", "X-API-Key: \(world.demo.key)"]
      for authorization in ["Bearer \(jwt)", "bearer \(jwt)"] {
        let answer = try await world.ask("/orders", key: nil, key + ["-H", "Authorization: \(authorization)"])
        #expect(answer.status == 200)
        let echo = try answer.echo()
        #expect(echo.header("Authorization") == authorization && echo.header("X-API-Key") == nil)
        #expect(echo.header("X-Latchkey-Key-Id") == world.demo.keyID)
      }
      expectRefusal(
        try await world.ask("/orders", key: nil, ["-H", "Authorization: Bearer \(jwt)"]), 401, "MISSING_KEY")
      // Credentials other than a JWT could be a key, so they are removed.
      let answer = try await world.ask("/orders", key: nil, key + ["-H", "Authorization: Basic YTpi"])
      #expect(answer.status == 200)
      #expect(try answer.echo().header("Authorization") == nil)
    }
  }

  @Test("Latchkey and the API receive the request id that the gateway assigned", arguments: Gateway.allCases)
  func requestID(_ kind: Gateway) async throws {
    try await withGateway(kind) { world in
      let answer = try await world.ask("/orders", key: world.demo.key, ["-H", "X-Request-Id: made-up"])
      let id = try answer.echo().header("X-Request-Id")
      #expect(id?.wholeMatch(of: /[0-9a-f-]{32,36}/) != nil)
    }
  }

  @Test(
    "a missing, an unknown and a revoked key are 401, the last one immediately after the revocation",
    arguments: Gateway.allCases)
  func unauthorized(_ kind: Gateway) async throws {
    try await withGateway(kind) { world in
      let nobodys = String(world.demo.key.dropLast(3)) + "xyz"
      for key in [nil, "x", nobodys] {
        let answer = try await world.ask("/orders", key: key)
        expectRefusal(answer, 401, key == nil ? "MISSING_KEY" : "NOT_FOUND")
        #expect(answer.header("WWW-Authenticate") == "Bearer realm=\"api\"")
        #expect(answer.header("RateLimit") == nil)
      }
      for _ in 0..<5 {
        let (id, key) = try await world.createKey()
        #expect(try await world.ask("/orders", key: key).status == 200)
        _ = try await curl(["-X", "DELETE", world.servers[0].url + "/v1/keys/" + id] + world.asCustomer)
        let answer = try await world.ask("/orders", key: key)
        expectRefusal(answer, 401, "REVOKED")
        #expect(answer.header("WWW-Authenticate") == "Bearer realm=\"api\"")
        expectRateLimit(answer, limit: 60)
      }
    }
  }

  @Test("a key without the scope is 403; method and path determine the scope", arguments: Gateway.allCases)
  func insufficientScope(_ kind: Gateway) async throws {
    try await withGateway(kind) { world in
      for (path, arguments, status) in [
        ("/orders", ["-d", "{}"], 403), ("/orders/7", ["-X", "DELETE"], 403), ("/./%6frders", ["-d", "{}"], 403),
        ("/orders", ["-I"], 200), ("/other", ["-d", "{}"], 200),
        // A scope that the client asks to be measured by counts for nothing.
        ("/orders", ["-d", "{}", "-H", "X-Required-Scope: orders:read"], 403),
        ("/other", ["-H", "X-Required-Scope: other"], 200),
      ] {
        let answer = try await world.ask(path, key: world.demo.key, ["--path-as-is"] + arguments)
        #expect(answer.status == status, "\(path) \(arguments)")
        expectRateLimit(answer, limit: 60)
        if status == 403 { expectRefusal(answer, 403, "INSUFFICIENT_SCOPE") }
      }
    }
  }

  @Test(
    "a key that is restricted to another address is 403, whatever address the client claims",
    arguments: Gateway.allCases)
  func forbiddenAddress(_ kind: Gateway) async throws {
    try await withGateway(kind) { world in
      let (_, elsewhere) = try await world.createKey(",\"allowedIPs\":[\"192.0.2.0/24\"]")
      let (_, here) = try await world.createKey(",\"allowedIPs\":[\"127.0.0.0/8\"]")
      for claim in [[], ["-H", "X-Client-IP: 192.0.2.1"], ["-H", "X-Forwarded-For: 192.0.2.1"]] {
        let answer = try await world.ask("/orders", key: elsewhere, claim)
        expectRefusal(answer, 403, "FORBIDDEN_ADDRESS")
        expectRateLimit(answer, limit: 60)
        #expect(try await world.ask("/orders", key: here, claim).status == 200)
      }
    }
  }

  @Test("a key that has reached its limit is 429 with Retry-After", arguments: Gateway.allCases)
  func rateLimited(_ kind: Gateway) async throws {
    try await withGateway(kind) { world in
      let (_, key) = try await world.createKey(",\"rateLimitPerMinute\":2")
      for remaining in ["1", "0"] {
        let answer = try await world.ask("/orders", key: key)
        #expect(answer.status == 200)
        #expect(answer.header("X-RateLimit-Remaining") == remaining)
        #expect(answer.header("Retry-After") == nil)
      }
      let answer = try await world.ask("/orders", key: key)
      expectRefusal(answer, 429, "RATE_LIMITED")
      expectRateLimit(answer, limit: 2)
      #expect(answer.header("X-RateLimit-Remaining") == "0")
      #expect((1...120).contains(answer.header("Retry-After").flatMap { Int($0) } ?? 0))
    }
  }

  @Test("headers that only the gateway may set are not taken from the client", arguments: Gateway.allCases)
  func spoofing(_ kind: Gateway) async throws {
    try await withGateway(kind) { world in
      let names = [
        "X-Latchkey-Key-Id", "X-Latchkey-Account-Id", "X-Latchkey-Scopes", "X-Latchkey-Code", "X-Latchkey-Token",
        "x_latchkey_key_id", "X-Client-IP", "X-Forwarded-For",
      ]
      let claims = names.flatMap { ["-H", $0 + ": spoofed"] }
      let answer = try await world.ask("/orders", key: world.demo.key, claims)
      #expect(answer.status == 200)
      let echo = try answer.echo()
      #expect(!answer.text.contains("spoofed"))
      #expect(echo.header("X-Latchkey-Key-Id") == world.demo.keyID)
      // The gateway's token is not accepted as a key, nor a key as the token.
      expectRefusal(
        try await world.ask("/orders", key: nil, ["-H", "X-Latchkey-Token: \(world.demo.key)"]), 401, "MISSING_KEY")
      expectRefusal(try await world.ask("/orders", key: world.demo.serviceToken), 401, "NOT_FOUND")
    }
  }

  @Test(
    "bodies reach the API complete, with refused requests in between, on one connection", arguments: Gateway.allCases)
  func bodies(_ kind: Gateway) async throws {
    try await withGateway(kind) { world in
      let (_, key) = try await world.createKey(",\"rateLimitPerMinute\":1000")
      for count in [3, 20_000, 500_000] {
        let body = String(repeating: "é", count: count / 2)
        for headers in [[], ["-H", "Transfer-Encoding: chunked"]] {
          let one = ["-H", "Authorization: Bearer \(key)", "--data-binary", "@-", "-w", "\n%{http_code}\n"] + headers
          let paths = ["/other", "/orders", "/other", "/orders", "/other"]
          let result = try await run(
            "/usr/bin/curl", ["-sS", "--max-time", "20"] + one + paths.map { world.url($0) }, input: body)
          let lines = result.output.split(separator: "\n")
          #expect(lines.count == paths.count * 2)
          for (index, path) in paths.enumerated() where lines.count == paths.count * 2 {
            #expect(lines[index * 2 + 1] == (path == "/other" ? "200" : "403"))
            if path == "/other" {
              let echo = try JSONDecoder().decode(Echo.self, from: Data(lines[index * 2].utf8))
              #expect(echo.method == "POST" && echo.body == body)
            }
          }
        }
      }
    }
  }

  @Test("a public path needs neither a key nor Latchkey", arguments: Gateway.allCases)
  func open(_ kind: Gateway) async throws {
    try await withGateway(kind) { world in
      _ = try await world.servers[0].end()
      let answer = try await world.ask("/health", key: nil, ["-H", "X-Latchkey-Key-Id: spoofed"])
      #expect(answer.status == 200)
      #expect(try answer.echo().header("X-Latchkey-Key-Id") == nil)
      for name in ["X-Latchkey-Code", "Retry-After", "RateLimit", "X-RateLimit-Limit"] {
        #expect(answer.header(name) == nil, "\(name)")
      }
      expectUnavailable(try await world.ask("/health/more", key: nil))
    }
  }

  @Test(
    "while Latchkey is down the answer is 503; once it is back, requests reach the API", arguments: Gateway.allCases)
  func stopped(_ kind: Gateway) async throws {
    try await withGateway(kind) { world in
      #expect(try await world.ask("/orders", key: world.demo.key).status == 200)
      _ = try await world.servers[0].end()
      for key in [world.demo.key, "x", nil] {
        expectUnavailable(try await world.ask("/orders", key: key, ["-d", "{}"]))
      }
      try await withServers(1, on: world.database, port: world.servers[0].port) { _ in
        let answer = try await world.ask("/orders", key: world.demo.key)
        #expect(answer.status == 200)
      }
    }
  }

  @Test("while Latchkey hangs the answer is 503 within seconds", arguments: Gateway.allCases)
  func hanging(_ kind: Gateway) async throws {
    try await withGateway(kind) { world in
      #expect(try await world.ask("/orders", key: world.demo.key).status == 200)
      world.servers[0].send(SIGSTOP)
      let start = ContinuousClock.now
      expectUnavailable(try await world.ask("/orders", key: world.demo.key))
      #expect(.now - start < .seconds(10))
      world.servers[0].send(SIGCONT)
      #expect(try await world.ask("/orders", key: world.demo.key).status == 200)
    }
  }

  @Test(
    "the answer is 503 if Latchkey has no database, or no longer accepts the gateway's token",
    arguments: Gateway.allCases)
  func noVerdict(_ kind: Gateway) async throws {
    try await withGateway(kind) { world in
      try await PostgresPool.with(world.database.configuration) { pool in
        try await pool.withConnection { try await $0.executeScript("update service_tokens set revoked_at = now()") }
      }
      try await eventually("the gateway is refused") {
        try await world.ask("/orders", key: world.demo.key).status != 200
      }
      expectUnavailable(try await world.ask("/orders", key: world.demo.key))

      func administer(_ sql: String) async throws {
        try await PostgresPool.with(PostgresConfiguration(url: try serverURL())) { pool in
          try await pool.withConnection { try await $0.executeScript(sql) }
        }
      }
      try await administer(
        """
        alter database \(world.database.name) with allow_connections false;
        select pg_terminate_backend(pid) from pg_stat_activity where datname = '\(world.database.name)'
        """)
      expectUnavailable(try await world.ask("/orders", key: world.demo.key))
      try await administer("alter database \(world.database.name) with allow_connections true")
    }
  }

  @Test("with two instances of Latchkey, one of them may die", arguments: Gateway.allCases)
  func twoInstances(_ kind: Gateway) async throws {
    try await withGateway(kind, servers: 2) { world in
      _ = try await world.servers[1].end(SIGKILL)
      for _ in 0..<10 { #expect(try await world.ask("/orders", key: world.demo.key).status == 200) }
    }
  }

  @Test("errors of the API itself are passed on, and not attributed to Latchkey", arguments: Gateway.allCases)
  func brokenAPI(_ kind: Gateway) async throws {
    try await withGateway(kind) { world in
      let answer = try await world.ask("/broken", key: world.demo.key)
      #expect(answer.status == 500)
      #expect(try answer.echo().path == "/broken")
      #expect(answer.header("Retry-After") == nil && answer.header("X-Latchkey-Code") == nil)
      expectRateLimit(answer, limit: 60)

      let beforeNothing = try await RunningGateway(
        kind, before: try freePort(), asking: world.servers, token: world.demo.serviceToken)
      let asked = try await curl(
        ["--include", "http://127.0.0.1:\(beforeNothing.port)/", "-H", "X-API-Key: \(world.demo.key)"])
      await beforeNothing.end()
      let gone = try GatewayAnswer(asked.output)
      #expect(gone.status == 502)
      #expect(gone.header("X-Latchkey-Code") == nil)
      expectRateLimit(gone, limit: 60)
    }
  }

  @Test("no key and no token appears in the gateway's logs", arguments: Gateway.allCases)
  func logs(_ kind: Gateway) async throws {
    try await withGateway(kind) { world in
      let credentials = ["-H", "X-API-Key: \(world.demo.key)"]
      for path in ["/orders", "/broken"] { _ = try await world.ask(path, key: nil, credentials) }
      _ = try await world.ask("/orders", key: world.demo.key, ["-d", "{}"])
      _ = try await world.servers[0].end()
      expectUnavailable(try await world.ask("/gone", key: nil, credentials))
      expectUnavailable(try await world.ask("/gone", key: world.demo.key))
      var logs = ""
      try await eventually("all requests are in the log") {
        logs = world.gateway.readLogs()
        return ["/orders", "/broken", "/gone"].allSatisfy { logs.contains($0) }
      }
      #expect(!logs.contains(world.demo.key) && !logs.contains(world.demo.serviceToken))
    }
  }

  @Test("the configurations are formatted and cause no warning")
  func form() async throws {
    try await withGateway(.nginx) { world in
      #expect(!world.gateway.readLogs().contains("[warn]"))
    }
    let caddy = try Gateway.caddy.program()
    let configuration = Gateway.caddy.configuration
    let formatted = try await run(caddy, ["fmt", configuration])
    #expect(formatted.output == (try String(contentsOfFile: configuration, encoding: .utf8)))
  }

  /// Expects a refusal by Latchkey, as the gateway's client sees it.
  private func expectRefusal(_ answer: GatewayAnswer, _ status: Int, _ code: String) {
    #expect(answer.status == status)
    #expect(answer.header("X-Latchkey-Code") == code)
    #expect(answer.header("Content-Type") == "application/problem+json")
    #expect(answer.text == "{\"status\":\(status),\"code\":\"\(code)\"}")
    #expect(answer.header("X-Latchkey-Key-Id") == nil && answer.header("X-Latchkey-Account-Id") == nil)
  }

  private func expectUnavailable(_ answer: GatewayAnswer) {
    expectRefusal(answer, 503, "UNAVAILABLE")
    #expect(answer.header("Retry-After") == "1")
    #expect(answer.header("RateLimit") == nil)
  }

  private func expectRateLimit(_ answer: GatewayAnswer, limit: Int) {
    #expect(answer.header("RateLimit-Policy") == "\"default\";q=\(limit);w=60")
    #expect(answer.header("RateLimit")?.hasPrefix("\"default\";r=") == true)
    #expect(answer.header("X-RateLimit-Limit") == "\(limit)")
    #expect(answer.header("X-RateLimit-Remaining") != nil && answer.header("X-RateLimit-Reset") != nil)
  }
}
