import PostgresTesting

/// Generates requests for the hot routes, valid and odd.
struct RequestGenerator {
  let seed: Seed
  var random: SeededGenerator

  private mutating func pick<Element>(_ choices: Element...) -> Element { choices.randomElement(using: &random)! }
  private mutating func oneIn(_ count: Int) -> Bool { random.oneIn(count) }

  mutating func next() -> [UInt8] {
    switch Int.random(in: 0..<20, using: &random) {
    case 0..<8: post("/v1/verify", verification())
    case 8..<12: post("/v1/verify/batch", "{\"requests\":[\(verifications().joined(separator: ","))]}")
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
      ? pick("lk_live_unknown", "x", "é", "", String(repeating: "k", count: 600))
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
    if oneIn(4) {
      members.append(
        pick(
          #""permissions":"a""#, #""permissions":"b""#, #""permissions":"a AND b""#, #""permissions":"x or (a)""#,
          #""permissions":"a b""#, #""permissions":"""#, #""permissions":null"#))
    }
    if oneIn(4) {
      members.append(
        pick(
          #""api":"one""#, #""api":"two""#, #""api":"00000000-0000-7000-8000-000000000070""#, #""api":"a b""#,
          #""api":7"#))
    }
    if oneIn(4) {
      members.append(
        pick(
          #""resource":"p:1""#, #""resource":"p:2""#, #""resource":"p:3""#, #""resource":"p*""#, #""resource":"""#,
          #""resource":null"#, #""resource":["p:1"]"#))
    }
    if oneIn(4) { members.append(pick(#""match":"any""#, #""match":"all""#, #""match":"ANY""#, #""match":null"#)) }
    if oneIn(5) {
      members.append(
        pick(
          #""credits":{"cost":0}"#, #""credits":{"cost":3}"#, #""credits":{}"#, #""credits":null"#,
          #""credits":{"cost":-1}"#, #""credits":1"#))
    }
    if oneIn(6) {
      members.append(
        pick(
          #""limits":[{"name":"asked"}]"#, #""limits":[{"name":"odd","cost":3}]"#, #""limits":[]"#, #""limits":null"#,
          #""limits":[{"name":"asked","limit":3,"windowMilliseconds":86400000}]"#, #""limits":[{"name":"never"}]"#))
    }
    if oneIn(20) { members.append(pick(#""other":1"#, #""key":"k""#, "\"a\":\"\u{1}\"")) }
    members.shuffle(using: &random)
    return "{" + pick("", "", " ", "\n") + members.joined(separator: pick(",", ",", " , ")) + "}"
      + pick("", "", " ", "x".filter { _ in oneIn(5) })
  }

  private mutating func token() -> String {
    if oneIn(15) { return pick("lk_svc_none", seed.weakToken, "") }
    return oneIn(4) ? pick(seed.liveToken, seed.testToken, seed.boundToken) : seed.token
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

  private mutating func verifications() -> [String] {
    (0..<Int.random(in: 0...5, using: &random)).map { _ in verification() }
  }

  private mutating func chunked() -> [UInt8] {
    let body = verification()
    return Array(
      ("POST /v1/verify HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer \(seed.token)\r\n"
        + "Content-Type: application/json\r\n"
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
        "X-Required-Scope: a\r\n", "X-Required-Scope: z\r\n", "X-Required-Scope: Z\r\n", "X-Required-Scope:\r\n",
        "X-Required-Scope: z b:c\r\n", "x-required-scope: a  z\r\n")
    }
    if oneIn(5) { head += pick("X-Resource: p:1\r\n", "X-Resource: p:2\r\n", "x-resource: p 1\r\n", "X-Resource:\r\n") }
    if oneIn(6) { head += pick("X-Scope-Match: any\r\n", "X-Scope-Match: all\r\n", "X-Scope-Match: Any\r\n") }
    if oneIn(4) {
      head += pick(
        "X-Required-Permission: a\r\n", "X-Required-Permission: b OR x\r\n", "x-required-permission: (a\r\n",
        "X-Required-Permission:\r\n")
    }
    if oneIn(5) {
      head += pick("X-Credit-Cost: 0\r\n", "x-credit-cost: 12\r\n", "X-Credit-Cost: -1\r\n", "X-Credit-Cost:\r\n")
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
