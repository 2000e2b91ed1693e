import Foundation
import Portal
import PortalApplication
import PortalTesting
import Postgres
import PostgresTesting
import Testing

@testable import PortalAPI
@testable import PortalHTTP

@Suite("Fast path", .serialized)
struct FastPathTests {
  private static let last = Array("GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".utf8)

  @Test(
    "the fast path and the ordinary route give the same bytes for thousands of requests, pipelined and cut at random",
    arguments: 0..<8)
  func differential(_ number: Int) async throws {
    // Half of the runs accept request ids and have other places for keys.
    let isOther = number % 2 == 1
    let places = try #require(KeyPlaces("x-acme-key,query:api_key,x-api-key,authorization"))
    let proxies = try #require(TrustedProxies("127.0.0.1"))
    try await withTwins(configure: { settings in
      guard isOther else { return }
      settings.keyPlaces = places
      settings.trustedProxies = proxies
    }) { twins in
      var generator = RequestGenerator(seed: twins.seed, random: SeededGenerator(seed: UInt64(number)))
      var (answerCount, fastCount) = (0, 0)
      for round in 0..<25 {
        let requests = (0..<40).map { _ in generator.next() }
        let bytes = requests.flatMap(\.self) + Self.last
        // One request per part, all in one part, or cut anywhere.
        let parts: [[UInt8]] =
          switch round % 3 {
          case 0: requests + [Self.last]
          case 1: [bytes]
          default: Self.cut(bytes, &generator.random)
          }
        let answer = try await twins.expectSame(parts)
        // The framework's ids begin differently from those of the fast path.
        let prefixes = answer.matches(of: /X-Request-Id: ([0-9a-f]+)/).map { $0.output.1.dropLast(16) }
        answerCount += prefixes.count
        let frameworkPrefix = prefixes.last
        fastCount += prefixes.count { $0 != frameworkPrefix }
      }
      print("fast path, run \(number): \(answerCount) answers, \(fastCount) of them before the decoder")
      #expect(answerCount > 200 && fastCount > 30)
      // The counted usage is the same, too.
      var counts: [[String]] = []
      for portal in [twins.fast, twins.ordinary] {
        try await portal.flushUsage()
        counts.append(try await portal.pool.query(UsageLines()))
      }
      #expect(counts[0] == counts[1] && counts[0].count > 10)
    }
  }

  private static func cut(_ bytes: [UInt8], _ random: inout SeededGenerator) -> [[UInt8]] {
    var parts: [[UInt8]] = []
    var rest = bytes[...]
    while !rest.isEmpty {
      let count = Int.random(in: 1...2_000, using: &random)
      parts.append(Array(rest.prefix(count)))
      rest = rest.dropFirst(count)
    }
    return parts
  }

  @Test("a client that sends Expect is asked for its body, and answered in order")
  func expectContinue() async throws {
    try await withTwins { twins in
      let body = "{\"key\":\"\(twins.seed.keys[0])\"}"
      let head =
        "POST /v1/verify HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer \(twins.seed.token)\r\nExpect: 100-Continue\r\n"
        + "Content-Type: application/json\r\nContent-Length: \(body.utf8.count)\r\n\r\n"
      let answer = try await twins.expectSame([Array(head.utf8), Array(body.utf8), Self.last])
      #expect(answer.hasPrefix("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n"))
      #expect(answer.contains("\"code\":\"VALID\"") && answer.hasSuffix("{\"status\":\"ok\"}"))
    }
  }

  @Test("a request whose body arrives byte by byte is answered like any other")
  func byteByByte() async throws {
    try await withTwins { twins in
      let body = "{\"key\":\"\(twins.seed.keys[0])\"}"
      let request = Array(
        ("POST /v1/verify HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer \(twins.seed.token)\r\n"
          + "Content-Type: application/json\r\nContent-Length: \(body.utf8.count)\r\n\r\n\(body)").utf8)
      for _ in 0..<2 {
        let answer = try await twins.expectSame((request + request + Self.last).map { [$0] })
        #expect(answer.components(separatedBy: "\"code\":\"VALID\"").count == 3)
      }
    }
  }

  /// For each answer, whether the fast path gave it: the framework's ids begin differently.
  private func answerers(_ answer: String) -> [Bool] {
    let prefixes = answer.matches(of: /X-Request-Id: ([0-9a-f]+)/).map { $0.output.1.dropLast(16) }
    return prefixes.dropLast().map { $0 != prefixes.last }
  }

  private func batch(_ keys: [String], token: String) -> [UInt8] {
    let body = "{\"requests\":[\(keys.map { "{\"key\":\"\($0)\"}" }.joined(separator: ","))]}"
    return Array(
      ("POST /v1/verify/batch HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer \(token)\r\n"
        + "Content-Type: application/json\r\nContent-Length: \(body.utf8.count)\r\n\r\n\(body)").utf8)
  }

  @Test("a request whose keys are not in the cache is answered before the decoder once they are looked up")
  func lookUp() async throws {
    try await withTwins { twins in
      let (seed, keys) = (twins.seed, twins.seed.keys)
      let unknown = Secret.random(prefix: "lk_live").reveal()
      // Puts the token into the caches.
      _ = try await twins.expectSame([batch([keys[0]], token: seed.token), Self.last])
      let requests = [
        batch([keys[0], keys[1], unknown, "no key", keys[1]], token: seed.token),
        batch([keys[0], keys[3], unknown], token: seed.token),
        batch(["no key", "lk_live_neither"], token: seed.token),
        batch([keys[11], keys[4]], token: seed.token),
      ]
      let answer = try await twins.expectSame([requests.flatMap(\.self) + Self.last])
      // PostgreSQL decides on limits of the mode consistent.
      #expect(answerers(answer) == [true, true, true, false])
      #expect(answer.components(separatedBy: "NOT_FOUND").count == 6)
    }
  }

  @Test("a look-up that takes too long goes to the ordinary route, in the order of the requests")
  func longLookUp() async throws {
    try await withTwins { twins in
      let (seed, keys) = (twins.seed, twins.seed.keys)
      _ = try await twins.expectSame([batch([keys[0]], token: seed.token), Self.last])
      let requests = batch([keys[0], keys[1]], token: seed.token) + batch([keys[0]], token: seed.token) + Self.last
      let observations = twins.fast.observations
      let missCount = observations.count(.cacheMiss)
      let answer = try await twins.fast.pool.withConnection { connection in
        try await connection.executeScript("begin; lock table api_keys in access exclusive mode")
        async let answer = PortalAPITests.exchange(twins.fast, bytes: [requests])
        // The fast path looks it up, then the ordinary route does.
        try await eventually("both have missed the key") { observations.count(.cacheMiss) == missCount + 2 }
        try await connection.executeScript("commit")
        return try await answer
      }
      #expect(answerers(answer) == [false, true])
      #expect(answer.components(separatedBy: "\"code\":\"VALID\"").count == 4)
    }
  }

  @Test("text that cannot be a key is answered before the decoder, alone and among keys; an invalid item is not")
  func noKeys() async throws {
    try await withTwins { twins in
      let (seed, keys) = (twins.seed, twins.seed.keys)
      _ = try await twins.expectSame([batch([keys[0]], token: seed.token), Self.last])
      let long = String(repeating: "k", count: 600)
      let body = "{\"requests\":[{\"key\":\"\(keys[0])\"},{\"key\":\"\(keys[0])\",\"clientIP\":\"unknown\"}]}"
      let requests = [
        batch([""], token: seed.token), batch([long], token: seed.token),
        batch([keys[0], "", long, keys[0]], token: seed.token),
        Array(
          ("POST /v1/verify/batch HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer \(seed.token)\r\n"
            + "Content-Type: application/json\r\nContent-Length: \(body.utf8.count)\r\n\r\n\(body)").utf8),
      ]
      let answer = try await twins.expectSame([requests.flatMap(\.self) + Self.last])
      #expect(answerers(answer) == [true, true, true, false])
      #expect(answer.components(separatedBy: "\"NOT_FOUND\"").count == 5)
      #expect(answer.components(separatedBy: "\"VALID\"").count == 4)
      #expect(answer.components(separatedBy: "\"INVALID_REQUEST\"").count == 2)
    }
  }

  @Test("a cost above a limit is answered with the same bytes, without a time to retry")
  func costAboveLimit() async throws {
    try await withTwins { twins in
      let (seed, keys) = (twins.seed, twins.seed.keys)
      _ = try await twins.expectSame([batch([keys[8], keys[9]], token: seed.token), Self.last])
      var requests: [UInt8] = []
      for (key, cost) in [(keys[8], 4), (keys[9], 21), (keys[9], 51), (keys[9], 1_000)] {
        let body = "{\"key\":\"\(key)\",\"cost\":\(cost)}"
        requests += Array(
          ("POST /v1/verify HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer \(seed.token)\r\n"
            + "Content-Type: application/json\r\nContent-Length: \(body.utf8.count)\r\n\r\n\(body)").utf8)
      }
      let answer = try await twins.expectSame([requests + Self.last])
      #expect(answerers(answer) == [true, true, true, true])
      #expect(answer.components(separatedBy: "X-Latchkey-Retry: never").count == 5)
      #expect(answer.components(separatedBy: "\"retryAfterSeconds\":null").count == 5)
      #expect(!answer.contains("Retry-After"))
    }
  }

  @Test("requests without a key, or with a key next to a JWT, are answered before the decoder; coded bodies are not")
  func keyPlaces() async throws {
    try await withTwins { twins in
      let (seed, keys) = (twins.seed, twins.seed.keys)
      _ = try await twins.expectSame([batch([keys[0]], token: seed.token), Self.last])
      func authorize(_ fields: String) -> [UInt8] {
        Array("GET /v1/authorize HTTP/1.1\r\nHost: a\r\nX-Latchkey-Token: \(seed.token)\r\n\(fields)\r\n".utf8)
      }
      let coded = String(decoding: batch([keys[0]], token: seed.token), as: UTF8.self)
        .replacing("Host: a", with: "Host: a\r\nContent-Encoding: gzip")
      let requests = [
        authorize(""), authorize("Authorization: Bearer a.b.c\r\n"),
        authorize("Authorization: Bearer a.b.c\r\nX-API-Key: \(keys[0])\r\n"), Array(coded.utf8),
      ]
      let answer = try await twins.expectSame([requests.flatMap(\.self) + Self.last])
      #expect(answerers(answer) == [true, true, true, false])
      #expect(answer.components(separatedBy: "X-Latchkey-Code: MISSING_KEY").count == 3)
      #expect(answer.components(separatedBy: "X-Latchkey-Code: VALID").count == 2)
      #expect(answer.contains("Accept-Encoding: identity") && answer.contains("HTTP/1.1 415 "))
    }
  }

  @Test("a batch of a thousand, larger than any read, is answered completely")
  func largeBatch() async throws {
    try await withTwins { twins in
      let one = "{\"key\":\"\(twins.seed.keys[1])\",\"scope\":\"b:\(String(repeating: "x", count: 60))\"}"
      let body = "{\"requests\":[\(Array(repeating: one, count: 1_000).joined(separator: ","))]}"
      let request = Array(
        ("POST /v1/verify/batch HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer \(twins.seed.token)\r\n"
          + "Content-Type: application/json\r\nContent-Length: \(body.utf8.count)\r\n\r\n\(body)").utf8)
      for _ in 0..<2 {
        let answer = try await twins.expectSame([request, request, Self.last])
        #expect(answer.components(separatedBy: "\"valid\":").count == 2_001)
      }
    }
  }
}

private struct UsageLines: PostgresStatement {
  typealias Row = String
  static let sql = """
    select concat_ws(' ', key_id, endpoint, sum(verified_count), sum(denied_count)) from key_usage
    group by key_id, endpoint order by key_id, endpoint
    """
}
