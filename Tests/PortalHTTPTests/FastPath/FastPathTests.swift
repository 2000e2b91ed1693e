import Foundation
import Portal
import PortalTesting
import Postgres
import PostgresTesting
import Testing

@testable import PortalHTTP

/// The same keys in two databases: one portal answers before the decoder where it can, the other never does.
private struct Twins: Sendable {
  let fast: TestPortal
  let ordinary: TestPortal
  let seed: Seed
  private let startedAt = Date()

  /// Sends the same bytes to both; what they answered.
  func exchange(_ parts: [[UInt8]]) async throws -> (fast: String, ordinary: String, isSameTime: Bool) {
    let begin = Date()
    async let one = PortalHTTPTests.exchange(fast, bytes: parts)
    let two = try await PortalHTTPTests.exchange(ordinary, bytes: parts)
    let answers = (try await one, two)
    let now = Date()
    // What is left of a limit changes with each millisecond, once something was taken in the minute before.
    let isSameTime =
      Int(begin.timeIntervalSince1970) == Int(now.timeIntervalSince1970)
      && Int(startedAt.timeIntervalSince1970 / 60) == Int(now.timeIntervalSince1970 / 60)
    return (answers.0, answers.1, isSameTime)
  }

  func expectSame(_ parts: [[UInt8]], sourceLocation: SourceLocation = #_sourceLocation) async throws -> String {
    let (fast, ordinary, isSameTime) = try await exchange(parts)
    let masked = (masked(fast, isSameTime), masked(ordinary, isSameTime))
    if masked.0 != masked.1 {
      let (one, two) = (masked.0.components(separatedBy: "⏎"), masked.1.components(separatedBy: "⏎"))
      let place = zip(one, two).enumerated().first { $0.element.0 != $0.element.1 }
      Issue.record(
        "line \(place?.offset ?? -1) of \(one.count) and \(two.count): \(place?.element.0 ?? "") ≠ \(place?.element.1 ?? "")",
        sourceLocation: sourceLocation)
    }
    return fast
  }

  /// Without what is different in every answer, and, where time has passed between the two, without what tells of it.
  private func masked(_ text: String, _ isSameTime: Bool) -> String {
    // CRLF is one character, and none of those that an expression names.
    var text = text.replacing("\r\n", with: "⏎\n").replacing(/X-Request-Id: [0-9a-f-]+/, with: "X-Request-Id: …")
      .replacing(/"requestId":"[0-9a-f-]+"/, with: "\"requestId\":\"…\"").replacing(/Date: [^⏎]+/, with: "Date: …")
    if !isSameTime {
      text = text.replacing(/(;t=|Reset: |Retry-After: |"(reset|retryAfter)Seconds":)\d+/, with: { "\($0.output.1)…" })
        .replacing(/Content-Length: \d+/, with: "Content-Length: …")
        .replacing(/(;r=|Remaining: |"remaining":)\d+/, with: { "\($0.output.1)…" })
    }
    return text
  }
}

/// Accounts, keys and tokens with the same ids and secrets wherever they are put.
private struct Seed: Sendable {
  let keys = (0..<13).map { _ in Secret.random(prefix: "lk_live").reveal() }
  let token = Secret.random(prefix: "lk_svc").reveal()
  let weakToken = Secret.random(prefix: "lk_svc").reveal()
  /// Of one environment each.
  let liveToken = Secret.random(prefix: "lk_svc").reveal()
  let testToken = Secret.random(prefix: "lk_svc").reveal()

  var script: String {
    func hash(_ text: String) -> String { "sha256('\(text)')" }
    func id(_ number: Int) -> String { "'00000000-0000-7000-8000-0000000000\(String(format: "%02d", number))'" }
    let (plain, limited, suspended) = (id(90), id(91), id(92))
    // Account, settings behind the scopes. What is refused has a window of a day: in one of a minute, more may be left for
    // the portal that is asked a moment later.
    let settings: [(account: String, columns: String, values: String)] = [
      (plain, "", ""), (plain, ", scopes", ", '{a,b:*}'"), (plain, ", allowed_ips", ", '{10.0.0.0/8,2001:db8::/32}'"),
      (plain, ", expires_at", ", '2020-01-01'"), (plain, ", expires_at", ", '2099-12-31T23:59:59.123Z'"),
      (plain, ", revoked_at", ", now()"), (plain, ", disabled_at", ", now()"), (suspended, "", ""),
      (plain, ", limit_names, limit_values, limit_window_seconds", ", '{few}', '{3}', '{86400}'"),
      (plain, ", limit_names, limit_values, limit_window_seconds", ", '{daily,hourly}', '{50,20}', '{86400,3600}'"),
      (limited, "", ""), (plain, ", rate_limit_mode", ", 'consistent'"), (plain, ", environment", ", 'test'"),
    ]
    let rows = settings.enumerated().map { index, setting in
      let isScoped = setting.columns.contains("scopes")
      let hasEnvironment = setting.columns.contains("environment")
      return """
        insert into api_keys (id, account_id, name, key_start, key_hash\(hasEnvironment ? "" : ", environment")\
        \(isScoped ? "" : ", scopes")\(setting.columns))
        values (\(id(index)), \(setting.account), 'Key "\(index)" \\é' || chr(9), 'x', \(hash(keys[index]))\
        \(hasEnvironment ? "" : ", 'live'")\(isScoped ? "" : ", '{*}'")\(setting.values));
        """
    }
    return """
      insert into accounts (id, name, suspended_at, shared_limit_per_minute) values
        (\(plain), 'a', null, null), (\(limited), 'b', null, 1000000), (\(suspended), 'c', now(), null);
      insert into service_tokens (id, name, token_hash, permissions, environment) values
        (\(id(80)), 'a', \(hash(token)), '{keys.verify}', null),
        (\(id(81)), 'b', \(hash(weakToken)), '{usage.write}', null),
        (\(id(82)), 'c', \(hash(liveToken)), '{keys.verify}', 'live'),
        (\(id(83)), 'd', \(hash(testToken)), '{keys.verify}', 'test');
      """ + rows.joined(separator: "\n")
  }
}

private func withTwins(
  configure: @escaping @Sendable (inout PortalSettings) -> Void = { _ in },
  _ body: @escaping @Sendable (Twins) async throws -> Void
) async throws {
  let seed = Seed()
  try await withPortal(.live, configure: configure) { fast in
    try await withPortal(
      .live,
      configure: {
        configure(&$0)
        $0.hasFastPath = false
      }
    ) { ordinary in
      for portal in [fast, ordinary] {
        try await portal.pool.withConnection { try await $0.executeScript(seed.script) }
      }
      try await body(Twins(fast: fast, ordinary: ordinary, seed: seed))
    }
  }
}

/// Requests of the hot routes, good and odd.
private struct RequestGenerator {
  let seed: Seed
  var random: SeededGenerator

  private mutating func pick<Element>(_ choices: Element...) -> Element { choices.randomElement(using: &random)! }
  private mutating func oneIn(_ count: Int) -> Bool { Int.random(in: 0..<count, using: &random) == 0 }

  mutating func next() -> [UInt8] {
    switch Int.random(in: 0..<20, using: &random) {
    case 0..<8: post("/v1/verify", verification())
    case 8..<12:
      post(
        "/v1/verify/batch",
        "{\"requests\":[\((0..<Int.random(in: 0...5, using: &random)).map { _ in verification() }.joined(separator: ","))]}"
      )
    case 12..<18: authorize()
    case 18:
      Array(
        pick(
          "GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n", "HEAD /v1/authorize HTTP/1.1\r\nHost: a\r\n\r\n",
          "GET /v1/nothing HTTP/1.1\r\nHost: a\r\n\r\n"
        ).utf8)
    default: oneIn(10) ? chunked() : authorize()
    }
  }

  private mutating func key() -> String {
    oneIn(12)
      ? pick("lk_live_unknown", "x", "é", "", String(repeating: "k", count: 300))
      : seed.keys.randomElement(using: &random)!
  }

  private mutating func verification() -> String {
    var members = ["\"key\":\"\(key())\""]
    if oneIn(3) {
      members.append(pick(#""endpoint":"GET /a""#, #""endpoint":"é""#, #""endpoint":"""#, #""endpoint":"\u0041""#))
    }
    if oneIn(3) {
      members.append(
        pick(
          #""cost":1"#, #""cost":2"#, #""cost":0"#, #""cost":1.0"#, #""cost":"1""#, #""cost":null"#, #""cost":1000"#))
    }
    if oneIn(3) {
      members.append(
        pick(#""scope":"a""#, #""scope":"b:c""#, #""scope":"z""#, #""scope":"Ä""#, #""scopes":["a","b:x"]"#))
    }
    if oneIn(3) {
      members.append(
        pick(#""clientIP":"10.1.2.3""#, #""clientIP":"2001:db8::1""#, #""clientIP":"8.8.8.8""#, #""clientIP":"x""#))
    }
    if oneIn(20) { members.append(pick(#""other":1"#, #""key":"k""#, "\"a\":\"\u{1}\"")) }
    members.shuffle(using: &random)
    return "{" + pick("", "", " ", "\n") + members.joined(separator: pick(",", ",", " , ")) + "}"
      + pick("", "", " ", "x".filter { _ in oneIn(5) })
  }

  private mutating func token() -> String {
    if oneIn(15) { return pick("lk_svc_none", seed.weakToken, "") }
    return oneIn(4) ? pick(seed.liveToken, seed.testToken) : seed.token
  }

  private mutating func fields() -> String {
    var fields = ""
    if oneIn(3) {
      fields += pick(
        "Accept: */*\r\n", "User-Agent:x\r\n", "X-Odd:\t a b \t\r\n", "Connection: keep-alive\r\n", "a_b: c\r\n")
    }
    if oneIn(5) {
      fields += pick(
        "X-Request-Id: q-1\r\n", "X-Request-Id: quite odd\r\n", "X-Request-Id:\r\n",
        "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\n")
    }
    if oneIn(20) {
      fields += pick("Content-Encoding: gzip\r\n", "Content-Encoding: Identity\r\n", "Content-Encoding:\r\n")
    }
    if oneIn(200) { fields += pick("X-Odd: é\r\n", "Expect: 100-something\r\n", "Cookie: \u{80}\r\n") }
    return fields
  }

  private mutating func post(_ path: String, _ body: String) -> [UInt8] {
    var body = Array(body.utf8)
    if oneIn(40) { body[Int.random(in: 0..<body.count, using: &random)] = pick(0xFF, 0x00, 0x22, 0x5C) }
    let type =
      oneIn(12)
      ? pick(
        "", "Content-Type: text/plain\r\n", "content-type: APPLICATION/JSON; charset=utf-8\r\n",
        "Content-Type: application/jsonx\r\n")
      : "Content-Type: application/json\r\n"
    let authorization =
      pick("Authorization: Bearer ", "authorization: bearer ", "Authorization:  Bearer ") + token() + "\r\n"
    let head =
      "POST \(path) HTTP/1.1\r\nHost: a\r\n\(fields())\(authorization)\(type)Content-Length: \(body.count)\r\n\r\n"
    return Array(head.utf8) + body
  }

  private mutating func chunked() -> [UInt8] {
    let body = verification()
    return Array(
      ("POST /v1/verify HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer \(seed.token)\r\nContent-Type: application/json\r\n"
        + "Transfer-Encoding: chunked\r\n\r\n\(String(body.utf8.count, radix: 16))\r\n\(body)\r\n0\r\n\r\n").utf8)
  }

  private mutating func authorize() -> [UInt8] {
    var head = "GET /v1/authorize HTTP/1.1\r\nHost: a\r\n\(fields())X-Latchkey-Token: \(token())\r\n"
    head += pick(
      "Authorization: Bearer \(key())\r\n", "X-API-Key: \(key())\r\n",
      "Authorization: Basic x\r\nX-API-Key: \(key())\r\n", "Authorization: \(key())\r\n",
      "Authorization: Bearer a.b.c\r\nX-API-Key: \(key())\r\n", "X-API-Key: a.b.c\r\n", "",
      "X-Acme-Key: \(key())\r\n", "X-Original-URI: /a?api_key=\(key())&b\r\n", "X-Original-URI: /?api_key=%6b\r\n")
    if oneIn(15) { head += "X-API-Key: \(key())\r\n" }
    if oneIn(3) {
      head += pick(
        "X-Required-Scope: a\r\n", "X-Required-Scope: z\r\n", "X-Required-Scope: Z\r\n", "X-Required-Scope:\r\n")
    }
    if oneIn(3) { head += pick("X-Client-IP: 10.0.0.1\r\n", "X-Client-IP: ::ffff:10.0.0.1\r\n", "X-Client-IP: x\r\n") }
    if oneIn(3) {
      head += pick(
        "X-Original-URI: /a?b=c\r\n", "X-Original-URI: ?b\r\n", "X-Original-URI:\r\n",
        "X-Original-URI: /\(String(repeating: "u", count: 300))\r\n")
    }
    if oneIn(3) { head += pick("X-Original-Method: POST\r\n", "X-Original-Method:\r\n") }
    return Array((head + "\r\n").utf8)
  }
}

@Suite("Fast path", .serialized)
struct FastPathTests {
  private static let last = Array("GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".utf8)

  @Test("both ways give the same bytes to thousands of requests, pipelined and cut at random", arguments: 0..<8)
  func differential(_ number: Int) async throws {
    // Half of them with ids that are taken on, and with other places for keys.
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
        // One request a part, all in one, or cut anywhere.
        let parts: [[UInt8]] =
          switch round % 3 {
          case 0: requests + [Self.last]
          case 1: [bytes]
          default: Self.cut(bytes, &generator.random)
          }
        let answer = try await twins.expectSame(parts)
        // The framework's ids begin otherwise than those of the fast path.
        let prefixes = answer.matches(of: /X-Request-Id: ([0-9a-f]+)/).map { $0.output.1.dropLast(16) }
        answerCount += prefixes.count
        let frameworkPrefix = prefixes.last
        fastCount += prefixes.count { $0 != frameworkPrefix }
      }
      print("fast path, run \(number): \(answerCount) answers, \(fastCount) of them before the decoder")
      #expect(answerCount > 200 && fastCount > 30)
      // What was counted is the same, too.
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

  @Test("a client that waits to be asked for its body is asked, and answered in order")
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

  @Test("a request that waits for its body, byte by byte, is answered like any other")
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

  /// Who answered: the framework's ids begin otherwise than those of the fast path.
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

  @Test("a request whose keys are not in the cache is answered before the decoder when they are looked up")
  func lookUp() async throws {
    try await withTwins { twins in
      let (seed, keys) = (twins.seed, twins.seed.keys)
      let unknown = Secret.random(prefix: "lk_live").reveal()
      // So that the token is in the caches.
      _ = try await twins.expectSame([batch([keys[0]], token: seed.token), Self.last])
      let requests = [
        batch([keys[0], keys[1], unknown, "no key", keys[1]], token: seed.token),
        batch([keys[0], keys[3], unknown], token: seed.token),
        batch(["no key", "lk_live_neither"], token: seed.token),
        batch([keys[11], keys[4]], token: seed.token),
      ]
      let answer = try await twins.expectSame([requests.flatMap(\.self) + Self.last])
      // A limit of the mode consistent is for PostgreSQL to decide.
      #expect(answerers(answer) == [true, true, true, false])
      #expect(answer.components(separatedBy: "NOT_FOUND").count == 6)
    }
  }

  @Test("what is looked up for too long is for the ordinary route, in the order of the requests")
  func longLookUp() async throws {
    try await withTwins { twins in
      let (seed, keys) = (twins.seed, twins.seed.keys)
      _ = try await twins.expectSame([batch([keys[0]], token: seed.token), Self.last])
      let requests = batch([keys[0], keys[1]], token: seed.token) + batch([keys[0]], token: seed.token) + Self.last
      let observations = twins.fast.observations
      let missCount = observations.count(.cacheMiss)
      let answer = try await twins.fast.pool.withConnection { connection in
        try await connection.executeScript("begin; lock table api_keys in access exclusive mode")
        async let answer = PortalHTTPTests.exchange(twins.fast, bytes: [requests])
        // The fast path looks it up, and then the ordinary route does.
        try await eventually("both have missed the key") { observations.count(.cacheMiss) == missCount + 2 }
        try await connection.executeScript("commit")
        return try await answer
      }
      #expect(answerers(answer) == [false, true])
      #expect(answer.components(separatedBy: "\"code\":\"VALID\"").count == 4)
    }
  }

  @Test("what can be no key is answered before the decoder, alone and among others; an item that is wrong is not")
  func noKeys() async throws {
    try await withTwins { twins in
      let (seed, keys) = (twins.seed, twins.seed.keys)
      _ = try await twins.expectSame([batch([keys[0]], token: seed.token), Self.last])
      let long = String(repeating: "k", count: 300)
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

  @Test("a cost above a limit is answered in the same bytes, without saying when to try again")
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

  @Test("without a key, and with one beside a JWT, the answer is given before the decoder; of a coded body it is not")
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

  @Test("a batch of a thousand, larger than any read, comes through whole")
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
  static let sql = """
    select concat_ws(' ', key_id, endpoint, sum(verified_count), sum(denied_count)) from key_usage
    group by key_id, endpoint order by key_id, endpoint
    """
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> String { try row.next() }
}
