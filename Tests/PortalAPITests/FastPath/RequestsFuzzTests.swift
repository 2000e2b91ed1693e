import PortalTesting
import PostgresTesting
import Testing

@testable import PortalAPI
@testable import PortalHTTP

@Suite("Requests, fuzzed", .serialized)
struct RequestsFuzzTests {
  private static let tokens = [
    "\r\n", "\r\n\r\n", "\n", "\r", "\r\n ", "\r\n\t", " ", ":", "\u{0}", "\u{7F}", "é", "HTTP/1.1", "HTTP/1.0",
    "HTTP/2.0",
    "GET ", "POST ", "HEAD ", "OPTIONS ", "CONNECT a:1 ", "PRI * ", "/v1/verify", "/v1/authorize", "http://a/v1/verify",
    "*", "%2e", "%00", "/v1/verify%2Fbatch", "?a=b", "Host: b\r\n", "Content-Length: 0\r\n", "Content-Length: 11\r\n",
    "Content-Length: -1\r\n", "Content-Length: +5\r\n", "Content-Length: 99999999999999999999\r\n",
    "Content-Length: 5, 5\r\n",
    "Transfer-Encoding: chunked\r\n", "Transfer-Encoding: identity\r\n", "Transfer-Encoding : chunked\r\n",
    "Expect: 100-continue\r\n", "Connection: close\r\n", "Connection: keep-alive\r\n", "Connection: Upgrade\r\n",
    "Upgrade: h2c\r\n", "0\r\n\r\n", "5\r\nabcde\r\n", "fffffffffffffffff\r\n", "X-API-Key: x\r\n",
    "GET /healthz HTTP/1.1\r\n\r\n",
  ]
  private static let last = Array("GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".utf8)
  /// Cases per pair of portals: over a longer time, more may be left of a limit for the portal that is asked a moment
  /// later.
  private static let casesOfTwins = 200

  @Test("whatever the bytes and however they are cut, the fast path and the ordinary route give the same answers")
  func bothWays() async throws {
    let fuzzing = try Fuzzing("requests")
    let count = Fuzzing.count(200)
    for start in stride(from: 0, to: count, by: Self.casesOfTwins) {
      try await withTwins { twins in
        try await fuzzing.run(corpus: start == 0, start..<min(start + Self.casesOfTwins, count)) { random in
          Self.requests(fuzzing.corpus.map(\.bytes), twins.seed, &random)
        } problem: { bytes, random in
          let parts = (Self.cut(bytes, &random), Self.cut(bytes, &random))
          return try await twins.difference(parts.0, parts.1)
        }
      }
    }
  }

  /// Hot and odd requests in a row, most rows mutated.
  private static func requests(_ odd: [[UInt8]], _ seed: Seed, _ random: inout SeededGenerator) -> [UInt8] {
    var generator = RequestGenerator(seed: seed, random: random)
    var bytes: [UInt8] = []
    for _ in 0..<Int.random(in: 1...6, using: &generator.random) {
      bytes += generator.random.oneIn(4) ? generator.random.pick(odd) : generator.next()
    }
    random = generator.random
    if !random.oneIn(3) { bytes = random.mutated(bytes, tokens: tokens, others: odd) }
    return random.oneIn(4) ? bytes : bytes + last
  }

  /// Cuts the bytes into parts of few or many bytes, or leaves them whole.
  private static func cut(_ bytes: [UInt8], _ random: inout SeededGenerator) -> [[UInt8]] {
    // Very many parts take a long time.
    let longest =
      switch bytes.count {
      case ..<500: random.pick([1, 7, 100, 2_000])
      case ..<5_000: random.pick([40, 300, 2_000])
      default: random.pick([2_000, 20_000])
      }
    if random.oneIn(3) { return [bytes] }
    var parts: [[UInt8]] = []
    var rest = bytes[...]
    while !rest.isEmpty {
      let part = rest.prefix(Int.random(in: 1...longest, using: &random))
      parts.append(Array(part))
      rest = rest[part.endIndex...]
    }
    return parts
  }
}
