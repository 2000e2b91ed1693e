import Foundation
import Portal
import PortalTesting
import PostgresTesting
import Testing

/// Text that is expensive to compare as a `String`, sent to a real server in every place that takes text. The processor
/// time that the server spends is compared with that of the same request with plain ASCII in that place.
@Suite("Hostile text", .serialized)
struct HostileTextTests {
  /// Bytes in one place, just below the limit of a head.
  private static let byteCount = 31_000
  /// Bytes in a head that is not refused for its size after percent-encoding.
  private static let smallByteCount = 9_000
  /// Just below the limit of a query.
  private static let queryByteCount = 7_900
  /// The largest bodies that routes accept, up to ``byteCount``, largest first.
  private static let bodySizes = [byteCount, 16 << 10, 4 << 10]
  /// Milliseconds that a request may cost more than the same with ASCII. `make soak` measures the release build.
  private static let excessMax = isSoak ? 1.0 : 40.0
  /// The same for a head of bytes that are not UTF-8. SwiftNIO's decoder makes a `String` of each field before any code
  /// of the server sees it, and the standard library takes 35 ns to replace each byte.
  private static let excessOfRepairsMax = isSoak ? 2.0 : 40.0
  /// Milliseconds below which a request with letters is not measured again.
  private static let plainCostEnough = isSoak ? 1.0 : 10.0
  /// Milliseconds that a request may cost in total.
  private static let costMax = isSoak ? 20.0 : 200.0
  /// The share of the cases that is run; all of them are some 16,000 requests.
  private static let share = isSoak ? 1.0 : 0.25

  private enum Filler: String, CaseIterable {
    case ascii, marks, escapedMarks, nuls, high, digits

    /// Returns at most `count` bytes.
    func bytes(_ count: Int) -> [UInt8] {
      switch self {
      case .ascii: Array(repeating: UInt8(ascii: "a"), count: count)
      // The marks that sort last come first, so that each has to be moved past all others.
      case .marks: Self.halves(count, Array("\u{301}".utf8), Array("\u{316}".utf8))
      case .escapedMarks: Self.halves(count, Array(#"\u0301"#.utf8), Array(#"\u0316"#.utf8))
      case .nuls: Array(repeating: 0, count: count)
      case .high: Array(repeating: 0xFF, count: count)
      case .digits: Array(repeating: UInt8(ascii: "1"), count: count)
      }
    }

    private static func halves(_ count: Int, _ first: [UInt8], _ second: [UInt8]) -> [UInt8] {
      let half = (count - 1) / 2 / first.count
      return Array("1".utf8) + [first, second].flatMap { Array(repeatElement($0, count: half).joined()) }
    }

    /// Returns at most `count` bytes as in a query or a path.
    func percentEncoded(_ count: Int) -> [UInt8] {
      guard self != .ascii, self != .digits, self != .escapedMarks else { return bytes(count) }
      return bytes(count / 3).flatMap { Array(String(format: "%%%02X", $0).utf8) }
    }
  }

  private enum Place {
    case header(String, byteCount: Int)
    /// A parameter's value; its name, without one.
    case query(String?, isEncoded: Bool)
    case path(String, isEncoded: Bool)
    case body(Contract.BodyPlace)

    /// Whether the filler is one to try there.
    func takes(_ filler: Filler) -> Bool {
      switch self {
      case .body(let place): !place.isNumber || filler == .digits
      default: filler != .escapedMarks
      }
    }
  }

  /// The header with a credential.
  private struct Credential {
    let header: String
    let value: String
  }

  private struct Case {
    let operation: Contract.Operation
    var credential: Credential?
    let place: Place

    var name: String { "\(operation.name) at \(place)" }

    var isBody: Bool { if case .body = place { true } else { false } }

    /// Whether the credential is sent as it is.
    var isAuthenticated: Bool {
      if case .header(let name, _) = place { name != credential?.header } else { true }
    }

    /// The request, with a body of at most `bodySize` bytes.
    func request(_ filler: Filler, bodySize: Int) -> [UInt8] {
      var target = operation.target()
      var headers: [(name: String, value: [UInt8])] = []
      if let credential, isAuthenticated { headers.append((credential.header, Array(credential.value.utf8))) }
      var body = Array((operation.bodyPlaces.isEmpty ? "" : "{}").utf8)
      switch place {
      case .header(let name, let count): headers.append((name, filler.bytes(count)))
      case .query(let name, let isEncoded):
        let count = HostileTextTests.queryByteCount
        target += Array((name.map { "?\($0)=" } ?? "?").utf8)
        target += isEncoded ? filler.percentEncoded(count) : filler.bytes(count)
      case .path(let name, let isEncoded):
        let count = HostileTextTests.byteCount
        target = operation.target(with: isEncoded ? filler.percentEncoded(count) : filler.bytes(count), as: name)
      case .body(let place):
        let (before, after) = (Array(place.before.utf8), Array(place.after.utf8))
        body = before + filler.bytes(bodySize - before.count - after.count) + after
      }
      if operation.method != "GET" {
        for (name, value) in [("Content-Type", "application/json"), ("Content-Length", "\(body.count)")]
        where !headers.contains(where: { $0.name == name }) {
          headers.append((name, Array(value.utf8)))
        }
      }
      var request = Array("\(operation.method) ".utf8) + target + Array(" HTTP/1.1\r\n".utf8)
      request += Array("Host: localhost\r\nConnection: close\r\n".utf8)
      for (name, value) in headers { request += Array("\(name): ".utf8) + value + Array("\r\n".utf8) }
      return request + Array("\r\n".utf8) + body
    }
  }

  private static let headers = [
    "Accept", "Authorization", "Connection", "Content-Encoding", "Content-Length", "Content-Type", "Cookie", "Expect",
    "Forwarded", "Host", "Idempotency-Key", "If-Match", "If-None-Match", "Origin", "traceparent", "Transfer-Encoding",
    "Upgrade", "User-Agent", "X-API-Key", "X-Client-IP", "X-Forwarded-For", "X-Latchkey-Token", "X-Original-Method",
    "X-Original-URI", "X-Request-Id", "X-Required-Scope", "X-Other",
  ]

  /// The places of all operations of the contract.
  ///
  /// No operation is left out, because no case changes anything: an unknown or invalid parameter of the query is
  /// refused before anything is done, a path with the text in it names nothing, and a body with it is refused, finds
  /// no key or has a wrong password. Operations without a body, such as logging out, do not get one.
  private static func cases(
    of contract: Contract, _ credentials: [String: Credential]
  ) throws -> [Case] {
    let nowhere = [
      Contract.Operation(method: "GET", path: "/nowhere/{id}"),
      Contract.Operation(
        method: "POST", path: "/nowhere", bodyPlaces: [.init(name: "?", before: "{\"", after: "\":1}")]),
    ]
    let all = Set(contract.operations.flatMap(\.bodyPlaces).map(\.memberName)).subtracting(["?"]).sorted()
    var cases: [Case] = []
    for operation in contract.operations + nowhere {
      let credential = try operation.schemes.last.map { try #require(credentials[$0], "\(operation.name)") }
      var places: [Place] = [.query(nil, isEncoded: false), .query(nil, isEncoded: true)]
      places += (operation.queryNames + ["unknown"]).map { .query($0, isEncoded: true) }
      places += operation.pathNames.flatMap { [.path($0, isEncoded: false), .path($0, isEncoded: true)] }
      places += operation.headerNames.map { .header($0, byteCount: byteCount) }
      places += operation.bodyPlaces.map { .body($0) }
      if isSoak, !operation.bodyPlaces.isEmpty {
        // The members of other operations are unknown to this one, which does not look at their values.
        let own = operation.bodyPlaces.map(\.name)
        places += all.filter { !own.contains($0) }.map {
          .body(.init(name: $0, before: "{\"\($0)\":\"", after: "\"}"))
        }
      }
      cases += places.map { Case(operation: operation, credential: credential, place: $0) }
    }
    for (operation, credential) in try headRoutes(of: contract, credentials) {
      for count in [smallByteCount, byteCount] {
        cases += headers.map {
          Case(operation: operation, credential: credential, place: .header($0, byteCount: count))
        }
      }
    }
    return cases
  }

  /// Operations to which every header is sent: one for each kind of credentials, because a head is parsed before its
  /// route is known, and some that do more with it.
  private static func headRoutes(
    of contract: Contract, _ credentials: [String: Credential]
  ) throws -> [(Contract.Operation, Credential?)] {
    var routes: [(Contract.Operation, Credential?)] = []
    var seen: Set<[String]> = []
    for operation in contract.operations where operation.method == "GET" && seen.insert(operation.schemes).inserted {
      for scheme in operation.schemes {
        let credential: Credential = try #require(credentials[scheme], "\(operation.name)")
        routes.append((operation, credential))
      }
    }
    #expect(routes.count > credentials.count)
    for name in ["GET /healthz", "GET /openapi.json", "POST /v1/login", "POST /v1/keys", "POST /v1/verify"] {
      let operation = try #require(contract.operations.first { $0.name == name }, "\(name)")
      routes.append((operation, operation.schemes.last.flatMap { credentials[$0] }))
    }
    return routes
  }

  @Test(
    """
    32 KB of marks, of zero bytes, of invalid UTF-8 and of digits cost hardly more than of letters, in every place \
    that takes text
    """
  )
  func everywhere() async throws {
    let seed = UInt64.random(in: 0...(.max))
    print("hostile text: seed \(seed)")
    let metricsToken = UUID().uuidString
    // The server looks at forwarded addresses, ids and origins.
    let environment = [
      "TRUSTED_PROXIES": "127.0.0.1", "CORS_ORIGINS": "https://example.com", "METRICS_TOKEN": metricsToken,
      "SECRET_KEY": Data(repeating: 7, count: 32).base64EncodedString(),
    ]
    try await withDatabase { database in
      try await withServers(1, on: database, environment: environment) { servers in
        // One server reads X-Forwarded-For, the other one Forwarded.
        let other = environment.merging(["FORWARDED_HEADER": "forwarded"]) { $1 }
        try await withServers(1, on: database, environment: other) { others in
          try await RevocationWorld.with(servers, on: database) { world in
            let owner = try await world.makeOwner("ada", keyCount: 1)
            let (session, key) = (owner.session, try #require(owner.keys.first).secret)
            let staff = try await staffToken(servers[0], database)
            let made = try await latchkey(
              ["tokens", "create", "--name", "all", "--json"]
                + ServiceToken.Permission.allCases.flatMap { ["--permission", $0.rawValue] },
              environment: ["DATABASE_URL": database.url])
            let token = try #require(try made.json()["token"].string, "\(made)")
            let credentials = [
              "memberSession": Credential(header: "Authorization", value: "Bearer " + session),
              "memberCookie": Credential(header: "Cookie", value: "latchkey=" + session),
              "staffSession": Credential(header: "Authorization", value: "Bearer " + staff),
              "serviceToken": Credential(header: "Authorization", value: "Bearer " + token),
              "serviceTokenHeader": Credential(header: "X-Latchkey-Token", value: token),
              "apiKey": Credential(header: "X-API-Key", value: key),
              "apiKeyBearer": Credential(header: "Authorization", value: "Bearer " + key),
              "metricsToken": Credential(header: "Authorization", value: "Bearer " + metricsToken),
            ]
            let cases = try Self.cases(of: try Contract(), credentials)
            try await run(cases, servers[0], others[0], seed)
            // The credentials were valid to the end.
            for (path, scheme) in [("/v1/me", "memberSession"), ("/v1/support/me", "staffSession")] {
              let credential = try #require(credentials[scheme])
              let status = try await statusCode(
                [servers[0].url + path, "-H", "\(credential.header): \(credential.value)"])
              #expect(status == "200", "\(path)")
            }
          }
        }
      }
    }
  }

  /// Runs a share of the cases, chosen by the seed.
  private func run(
    _ cases: [Case], _ server: RunningServer, _ forwardedServer: RunningServer, _ seed: UInt64
  ) async throws {
    var generator = SeededGenerator(seed: seed)
    var bodySizes: [String: Int] = [:]
    var worst = (excess: 0.0, cost: 0.0, name: "")
    var count = 0
    for candidate in cases where Double.random(in: 0..<1, using: &generator) < Self.share {
      let operation = candidate.operation.name
      if candidate.isBody, bodySizes[operation] == nil {
        bodySizes[operation] = try await largestBodySize(of: candidate, server)
      }
      let bodySize = bodySizes[operation] ?? 0
      let server = if case .header("Forwarded", _) = candidate.place { forwardedServer } else { server }
      let plain = try await cost(of: candidate, .ascii, bodySize, server, enough: Self.plainCostEnough)
      for filler in Filler.allCases where filler != .ascii && candidate.place.takes(filler) {
        let excessMax = filler == .high && !candidate.isBody ? Self.excessOfRepairsMax : Self.excessMax
        let found = try await cost(
          of: candidate, filler, bodySize, server, enough: min(plain + excessMax, Self.costMax))
        count += 1
        #expect(
          found < plain + excessMax && found < Self.costMax,
          "\(candidate.name), \(filler): \(found) ms, \(plain) ms with letters")
        if found - plain > worst.excess { worst = (found - plain, found, "\(candidate.name), \(filler)") }
      }
    }
    print(
      String(
        format: "hostile text: %d requests, at most %.2f ms of CPU more than with letters (%.2f ms)", count,
        worst.excess, worst.cost) + ": \(worst.name)")
    #expect(count > 1_000)
  }

  /// The size of the largest body that the operation does not refuse unread.
  private func largestBodySize(of candidate: Case, _ server: RunningServer) async throws -> Int {
    for size in Self.bodySizes {
      let answer = try await rawExchange(port: server.port, [candidate.request(.ascii, bodySize: size)])
      if !answer.hasPrefix("HTTP/1.1 413 ") { return size }
    }
    throw TestSetupError(description: "\(candidate.name) accepts no body")
  }

  private func staffToken(_ server: RunningServer, _ database: TestDatabase) async throws -> String {
    let added = try await latchkey(
      [
        "staff", "create", "--email", "grace@example.com", "--name", "Grace", "--role", "admin", "--password-file", "-",
      ],
      environment: ["DATABASE_URL": database.url], input: "correct horse battery\n")
    #expect(added.status == 0, "\(added)")
    let answer = try await TestConnection.with([server.port]) {
      try await $0[0].send(
        "POST", "/v1/support/login", #"{"email":"grace@example.com","password":"correct horse battery"}"#)
    }
    return try #require(try answer.json()["token"].string, "\(answer)")
  }

  /// Returns the milliseconds of processor time that the server spends on a request: the minimum of several attempts,
  /// which leaves out background work. Stops as soon as it is less than `enough`.
  private func cost(
    of candidate: Case, _ filler: Filler, _ bodySize: Int, _ server: RunningServer, enough: Double
  ) async throws -> Double {
    var least = Double.infinity
    for _ in 1...24 where least >= enough {
      let request = candidate.request(filler, bodySize: bodySize)
      let before = try processorTime(of: server.processID)
      let answer = try await rawExchange(port: server.port, [request])
      least = min(least, try processorTime(of: server.processID) - before)
      let status = answer.dropFirst("HTTP/1.1 ".count).prefix(3)
      #expect(answer.hasPrefix("HTTP/1.1 ") && !status.hasPrefix("5"), "\(candidate.name), \(filler)")
      // The text reaches the route: the request is neither unauthenticated nor unread.
      if candidate.isAuthenticated, status == "401" {
        #expect(!answer.contains(#""code":"unauthenticated""#), "\(candidate.name), \(filler)")
      }
      if candidate.isBody { #expect(status != "413" && status != "415", "\(candidate.name), \(filler)") }
    }
    return least
  }

  /// The processor time of all threads of a process, in milliseconds.
  private func processorTime(of process: Int32) throws -> Double {
    let folder = "/proc/\(process)/task"
    return try FileManager.default.contentsOfDirectory(atPath: folder).reduce(0) { sum, thread in
      // A thread may have ended meanwhile.
      let text = (try? String(contentsOfFile: "\(folder)/\(thread)/schedstat", encoding: .utf8)) ?? ""
      return sum + (text.split(separator: " ").first.flatMap { Double($0) } ?? 0) / 1_000_000
    }
  }
}
