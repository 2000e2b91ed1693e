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
  /// Milliseconds that a request may cost more than the same with ASCII. `make soak` measures the release build.
  private static let excessMax = isSoak ? 1.0 : 40.0
  /// The same for a head of bytes that are not UTF-8. SwiftNIO's decoder makes a `String` of each field before any code
  /// of the server sees it, and the standard library takes 35 ns to replace each byte.
  private static let excessOfRepairsMax = isSoak ? 2.0 : 40.0
  /// Milliseconds that a request may cost in total.
  private static let costMax = isSoak ? 20.0 : 200.0
  /// The share of the cases that is run; all of them are some four thousand requests.
  private static let share = isSoak ? 1.0 : 0.2

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
      let half = count / 2 / first.count
      return Array("1".utf8) + [first, second].flatMap { Array(repeatElement($0, count: half).joined()) }.dropLast(1)
    }

    /// Returns at most `count` bytes as in a query or a path.
    func percentEncoded(_ count: Int) -> [UInt8] {
      guard self != .ascii, self != .digits, self != .escapedMarks else { return bytes(count) }
      return bytes(count / 3).flatMap { Array(String(format: "%%%02X", $0).utf8) }
    }
  }

  private enum Place {
    case header(String, byteCount: Int)
    case query(isName: Bool, isEncoded: Bool)
    case path(isEncoded: Bool)
    case memberName
    case member(String)

    var isBody: Bool {
      switch self {
      case .memberName, .member: true
      default: false
      }
    }
  }

  private struct Case {
    let method: String
    let path: String
    let token: String?
    let place: Place

    var name: String { "\(method) \(path) at \(place)" }

    func request(_ filler: Filler) -> [UInt8] {
      var target = Array(path.replacing("{}", with: UUID().uuidString.lowercased()).utf8)
      var headers = token.map { Array("Authorization: Bearer \($0)\r\n".utf8) } ?? []
      var body: [UInt8] = []
      switch place {
      case .header(let name, let count):
        if name == "Authorization" { headers = [] }
        headers += Array("\(name): ".utf8) + filler.bytes(count) + Array("\r\n".utf8)
      case .query(let isName, let isEncoded):
        let count = HostileTextTests.queryByteCount
        target += Array((isName ? "?" : "?q=").utf8)
        target += isEncoded ? filler.percentEncoded(count) : filler.bytes(count)
      case .path(let isEncoded):
        let parts = path.split(separator: "{}", maxSplits: 1, omittingEmptySubsequences: false)
        let count = HostileTextTests.byteCount
        target = Array(parts[0].utf8) + (isEncoded ? filler.percentEncoded(count) : filler.bytes(count))
        if parts.count > 1 { target += Array(parts[1].replacing("{}", with: "x").utf8) }
      case .memberName: body = Array(#"{""#.utf8) + filler.bytes(HostileTextTests.byteCount) + Array(#"":1}"#.utf8)
      case .member(let name):
        body = Array(#"{"\#(name)":""#.utf8) + filler.bytes(HostileTextTests.byteCount) + Array(#""}"#.utf8)
      }
      var request =
        Array("\(method) ".utf8) + target + Array(" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n".utf8)
      request += headers
      if method != "GET" {
        request += Array("Content-Type: application/json\r\nContent-Length: \(body.count)\r\n".utf8)
      }
      return request + Array("\r\n".utf8) + body
    }
  }

  private static let headers = [
    "Accept", "Authorization", "Connection", "Content-Type", "Cookie", "Expect", "Host", "Idempotency-Key", "If-Match",
    "Origin", "Transfer-Encoding", "Upgrade", "User-Agent", "X-API-Key", "X-Client-IP", "X-Forwarded-For",
    "X-Latchkey-Token", "X-Original-Method", "X-Original-URI", "X-Request-Id", "X-Required-Scope", "X-Other",
  ]

  /// The members of all request bodies.
  private static let members = [
    "accountName", "action", "allowedIPs", "cascade", "clientIP", "code", "cost", "days", "description", "email",
    "endpoint", "environment", "events", "expiresAt", "graceSeconds", "key", "keyId", "limits", "metadata", "method",
    "name", "newPassword", "newEmail", "password", "permissions", "plan", "rateLimitMode", "rateLimitPerMinute",
    "reason",
    "requests", "role", "scope", "scopes", "status", "tags", "ticket", "token",
  ]

  private static func cases(_ session: String, _ staff: String, _ token: String) -> [Case] {
    let (id, routes) = (
      "{}",
      [
        (nil, ["POST /v1/signup", "POST /v1/login", "POST /v1/support/login", "POST /v1/password/forgot"]),
        (nil, ["POST /v1/password/reset", "POST /v1/email/verify", "POST /v1/accept-invitation"]),
        (nil, ["GET /healthz", "GET /readyz", "GET /metrics", "GET /nowhere/{}", "POST /nowhere", "GET /problems/{}"]),
        (
          session,
          [
            "GET /v1/me", "GET /v1/accounts", "GET /v1/audit", "GET /v1/invitations", "GET /v1/keys", "GET /v1/members",
            "GET /v1/me/sessions", "GET /v1/usage", "GET /v1/account/policy", "GET /v1/keys/{}",
            "GET /v1/keys/{}/usage",
            "PATCH /v1/keys/{}", "DELETE /v1/keys/{}", "POST /v1/keys/{}/roll", "DELETE /v1/invitations/{}",
            "PATCH /v1/members/{}", "DELETE /v1/me/sessions/{}", "POST /v1/accounts/{}/switch", "POST /v1/keys",
            "POST /v1/invitations", "POST /v1/me/email", "POST /v1/me/password", "POST /v1/me/second-factor",
            "POST /v1/me/second-factor/confirm", "PUT /v1/account/policy", "DELETE /v1/account",
          ]
        ),
        (
          staff,
          [
            "GET /v1/support/accounts", "GET /v1/support/keys", "GET /v1/support/plans", "GET /v1/support/tokens",
            "GET /v1/support/me", "GET /v1/analytics/usage", "GET /v1/analytics/top", "PUT /v1/support/plans/{}",
            "POST /v1/support/tokens", "DELETE /v1/support/tokens/{}", "POST /v1/support/tokens/{}/roll",
            "POST /v1/support/accounts/{}/plan", "POST /v1/support/accounts/{}/suspend", "POST /v1/support/keys/lookup",
            "POST /v1/support/keys/{}/revoke", "POST /v1/support/me/password",
          ]
        ),
        (
          token,
          [
            "POST /v1/verify", "POST /v1/verify/batch", "POST /v1/usage", "GET /v1/authorize",
            "GET /v1/accounts/{}/keys",
            "POST /v1/accounts/{}/keys", "GET /v1/accounts/{}/keys/{}", "PATCH /v1/accounts/{}/keys/{}",
          ]
        ),
      ] as [(String?, [String])]
    )
    var cases: [Case] = []
    for (credential, names) in routes {
      for name in names {
        let parts = name.split(separator: " ").map(String.init)
        var places: [Place] = [.query(isName: true, isEncoded: false), .query(isName: true, isEncoded: true)]
        places += [.query(isName: false, isEncoded: true)]
        if parts[1].contains(id) { places += [.path(isEncoded: false), .path(isEncoded: true)] }
        if parts[0] != "GET" { places += [.memberName] + members.map { .member($0) } }
        if ["/healthz", "/v1/login", "/v1/keys", "/v1/authorize", "/v1/support/me"].contains(parts[1]) {
          for count in [smallByteCount, byteCount] { places += headers.map { .header($0, byteCount: count) } }
        }
        cases += places.map { Case(method: parts[0], path: parts[1], token: credential, place: $0) }
      }
    }
    return cases
  }

  @Test(
    """
    32 KB of marks, of zero bytes, of invalid UTF-8 and of digits cost hardly more than of letters, in every place \
    that takes text
    """
  )
  func everywhere() async throws {
    let seed = UInt64.random(in: 0...(.max))
    var generator = SeededGenerator(seed: seed)
    print("hostile text: seed \(seed)")
    try await withDatabase { database in
      try await withServers(1, on: database) { servers in
        let server = servers[0]
        try await RevocationWorld.with(servers, on: database) { world in
          let owner = try await world.makeOwner("ada", keyCount: 1)
          let staff = try await staffToken(server, database)
          let made = try await latchkey(
            ["tokens", "create", "--name", "all", "--json"]
              + ServiceToken.Permission.allCases.flatMap { ["--permission", $0.rawValue] },
            environment: ["DATABASE_URL": database.url])
          let token = try #require(try made.json()["token"].string, "\(made)")
          var worst = (excess: 0.0, cost: 0.0, name: "")
          var count = 0
          for candidate in Self.cases(owner.session, staff, token)
          where Double.random(in: 0..<1, using: &generator) < Self.share {
            let plain = try await cost(of: candidate, .ascii, server, enough: 1)
            for filler in Filler.allCases where filler != .ascii {
              if filler == .escapedMarks, !candidate.place.isBody { continue }
              let excessMax = filler == .high && !candidate.place.isBody ? Self.excessOfRepairsMax : Self.excessMax
              let found = try await cost(
                of: candidate, filler, server, enough: min(plain + excessMax, Self.costMax))
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
          #expect(count > 300)
        }
      }
    }
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
    of candidate: Case, _ filler: Filler, _ server: RunningServer, enough: Double
  ) async throws -> Double {
    var least = Double.infinity
    for _ in 1...12 where least >= enough {
      let request = candidate.request(filler)
      let before = try processorTime(of: server.processID)
      let answer = try await rawExchange(port: server.port, [request])
      least = min(least, try processorTime(of: server.processID) - before)
      #expect(answer.hasPrefix("HTTP/1.1 ") && !answer.hasPrefix("HTTP/1.1 5"), "\(candidate.name), \(filler)")
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
