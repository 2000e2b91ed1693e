import PostgresTesting
import Testing

@testable import PortalAPI
@testable import PortalHTTP

@Suite("PlainRequest")
struct PlainRequestTests {
  static let verify =
    "POST /v1/verify HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer t\r\nContent-Type: application/json\r\n"
    + "Content-Length: 11\r\n\r\n{\"key\":\"k\"}"
  static let authorize =
    "GET /v1/authorize HTTP/1.1\r\nHost: a\r\nX-Latchkey-Token: t\r\nX-API-Key:  k \t\r\n"
    + "x-required-SCOPE: s\r\nX-Client-IP: ::1\r\nX-Original-Method: GET\r\nX-Original-URI: /a?b\r\n\r\n"

  private func frame(_ text: String) -> PlainRequest.Framing { frame(Array(text.utf8)) }
  private func frame(_ bytes: [UInt8]) -> PlainRequest.Framing { PlainRequest.frame(bytes.span) }

  private func text(_ range: Range<Int>?, _ request: String) -> String? {
    range.map { String(decoding: Array(request.utf8)[$0], as: UTF8.self) }
  }

  @Test("a plain request is found with its fields, its body and its end, whatever follows it")
  func complete() throws {
    for more in ["", "G", "GET / HTTP/1.1\r\n\r\n", "\u{0}garbage"] {
      guard case .complete(let request) = frame(Self.verify + more) else {
        Issue.record("not found")
        continue
      }
      #expect(request.target == .verify && request.byteCount == Self.verify.utf8.count)
      #expect(text(request.body, Self.verify) == "{\"key\":\"k\"}")
      #expect(text(request.fields.authorization, Self.verify) == "Bearer t")
      #expect(text(request.fields.contentType, Self.verify) == "application/json")
      #expect(request.fields.apiKey == nil && !request.fields.hasRepetition)
    }
    guard case .complete(let request) = frame(Self.authorize) else { throw TestSetupError(description: "not found") }
    #expect(request.target == .authorize && request.body.isEmpty)
    let fields = request.fields
    let found = [
      fields.token, fields.apiKey, fields.requiredScope, fields.clientIP, fields.originalMethod, fields.originalURI,
    ].map { text($0, Self.authorize) }
    #expect(found == ["t", "k", "s", "::1", "GET", "/a?b"])
  }

  @Test("any field is found by its name, and nothing in a body or a value is taken for a field")
  func values() throws {
    let text =
      "POST /v1/verify HTTP/1.1\r\nHost: a\r\nX-A: b\r\nX-AA: X-A: c\r\nx-a:d\r\nContent-Length: 10\r\n\r\n"
      + "X-A: e\r\n\r\n"
    let bytes = Array(text.utf8)
    guard case .complete(let request) = PlainRequest.frame(bytes.span) else {
      throw TestSetupError(description: "not found")
    }
    for (name, expected) in [("x-a", [" b", "d"]), ("x-aa", [" X-A: c"]), ("x", []), ("x-aaa", []), ("post /v1", [])] {
      let values = request.values(of: name, bytes.span).map { self.text($0, text) }
      #expect(values == expected, "\(name)")
    }
  }

  @Test("a request for another route is found with its end, and a repeated field is noted")
  func others() {
    for line in ["GET /", "HEAD /v1/authorize", "DELETE /v1/keys/x?a=b", "POST /v1/verify?x", "PATCH //", "PUT /~%20"] {
      let text = line + " HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nab"
      guard case .complete(let request) = frame(text + "GET") else {
        Issue.record("\(line)")
        continue
      }
      #expect(request.target == nil && request.byteCount == text.utf8.count && request.bodyCount == 2)
    }
    let repetition = "GET /v1/authorize HTTP/1.1\r\nHost: a\r\nX-API-Key: a\r\nX-Api-Key: a\r\n\r\n"
    guard case .complete(let twice) = frame(repetition) else {
      Issue.record("not found")
      return
    }
    #expect(twice.fields.hasRepetition)
  }

  @Test("every beginning of a plain request is incomplete, and never taken for one that is not plain")
  func prefixes() {
    for text in [Self.verify, Self.authorize, "PATCH /v1/keys HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"] {
      let bytes = Array(text.utf8)
      for count in 0..<bytes.count {
        switch frame(Array(bytes[..<count])) {
        case .incomplete(let atLeast): #expect(atLeast > count && atLeast <= bytes.count)
        case .body(let request): #expect(request.byteCount == bytes.count && request.body.lowerBound <= count)
        case .complete, .notPlain: Issue.record("\(count) bytes of \(text)")
        }
      }
    }
  }

  /// Known ways to make one server see two requests where another sees one.
  @Test(
    "a request that two parsers might read differently is left to the decoder",
    arguments: [
      "POST /v1/verify HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\nContent-Length: 11\r\n\r\n{\"key\":\"k\"}",
      "POST /v1/verify HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\nContent-Length: 0\r\n\r\n{\"key\":\"k\"}",
      "POST /v1/verify HTTP/1.1\r\nHost: a\r\nContent-Length: 11, 11\r\n\r\n{\"key\":\"k\"}",
      "POST /v1/verify HTTP/1.1\r\nHost: a\r\nContent-Length: +11\r\n\r\n{\"key\":\"k\"}",
      "POST /v1/verify HTTP/1.1\r\nHost: a\r\nContent-Length: 0xb\r\n\r\n{\"key\":\"k\"}",
      "POST /v1/verify HTTP/1.1\r\nHost: a\r\nContent-Length: 1 1\r\n\r\n{\"key\":\"k\"}",
      "POST /v1/verify HTTP/1.1\r\nHost: a\r\nContent-Length: \r\n\r\n",
      "POST /v1/verify HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999\r\n\r\n",
      "POST /v1/verify HTTP/1.1\r\nHost: a\r\nContent-Length: 1048577\r\n\r\n",
      "POST /v1/verify HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
      "POST /v1/verify HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
      "POST /v1/verify HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
      "POST /v1/verify HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
      "POST /v1/verify HTTP/1.1\r\nHost: a\r\nContent-Length : 11\r\n\r\n{\"key\":\"k\"}",
      "POST /v1/verify HTTP/1.1\r\nHost: a\r\n Content-Length: 11\r\n\r\n{\"key\":\"k\"}",
      "POST /v1/verify HTTP/1.1\r\nHost: a\r\nA: b\r\n c\r\nContent-Length: 11\r\n\r\n{\"key\":\"k\"}",
      "POST /v1/verify HTTP/1.1\r\nHost: a\r\nA: b\r\n\tTransfer-Encoding: chunked\r\n\r\n",
      "POST /v1/verify HTTP/1.1\nHost: a\nContent-Length: 11\n\n{\"key\":\"k\"}",
      "POST /v1/verify HTTP/1.1\r\nHost: a\r\nContent-Length: 11\n\r\n{\"key\":\"k\"}",
      "POST /v1/verify HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\r\n\r\n{\"key\":\"k\"}",
      "POST /v1/verify HTTP/1.1\r\nHost: a\r\nA: b\rContent-Length: 11\r\n\r\n{\"key\":\"k\"}",
      "POST /v1/verify HTTP/1.1\r\nHost: a\r\nA\u{0}: b\r\n\r\n",
      "POST /v1/verify HTTP/1.1\r\nHost: a\r\nA: \u{0}\r\n\r\n",
      "POST /v1/verify HTTP/1.1\r\nHost: a\r\nA: \u{7F}\r\n\r\n", "POST /v1/verify HTTP/1.1\r\nHost: a\r\nA: é\r\n\r\n",
      "POST /v1/verify HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n", "POST /v1/verify HTTP/1.1\r\nHost: a\r\nA b\r\n\r\n",
      "POST /v1/verify HTTP/1.1\r\nHost: a\r\nA(: b\r\n\r\n", "POST /v1/verify HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
      "POST /v1/verify HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n{}",
      "POST /v1/verify HTTP/1.1\r\nHost: a\r\nUpgrade: h2c\r\n\r\n",
      "POST /v1/verify HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
      "POST /v1/verify HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Content-Length\r\n\r\n",
      "POST /v1/verify HTTP/1.0\r\n\r\n", "POST /v1/verify HTTP/1.10\r\n\r\n", "POST /v1/verify HTTP/2.0\r\n\r\n",
      "POST /v1/verify http/1.1\r\n\r\n", "POST  /v1/verify HTTP/1.1\r\nHost: a\r\n\r\n",
      "POST /v1/verify  HTTP/1.1\r\nHost: a\r\n\r\n",
      "POST /v1/verify\tHTTP/1.1\r\nHost: a\r\n\r\n", "post /v1/verify HTTP/1.1\r\nHost: a\r\n\r\n",
      "\r\nPOST /v1/verify HTTP/1.1\r\nHost: a\r\n\r\n",
      " POST /v1/verify HTTP/1.1\r\nHost: a\r\n\r\n", "POST http://a/v1/verify HTTP/1.1\r\nHost: a\r\n\r\n",
      "POST * HTTP/1.1\r\nHost: a\r\n\r\n",
      "OPTIONS / HTTP/1.1\r\nHost: a\r\n\r\n", "CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n",
      "TRACE / HTTP/1.1\r\nHost: a\r\n\r\n", "GET\r\n\r\n",
      "POST /v1/verify HTTP/1.1\r\n\r\n", "POST /v1/verify HTTP/1.1\r\nHost:\r\n\r\n",
      "POST /v1/verify HTTP/1.1\r\nHost: a b\r\n\r\n", "POST /v1/verify HTTP/1.1\r\nHost: a/b\r\n\r\n",
      "GET /\r\n\r\n", "GET /\u{1} HTTP/1.1\r\nHost: a\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "\u{16}\u{3}\u{1}",
    ])
  func smuggling(_ text: String) {
    #expect(frame(text) == .notPlain)
  }

  @Test("a head that is too large or has too many fields is left to the decoder, which refuses it")
  func tooLarge() {
    let long = "GET / HTTP/1.1\r\nHost: a\r\nA: " + String(repeating: "a", count: PlainRequest.headSizeMax)
    #expect(frame(long) == .notPlain)
    #expect(frame(long + "\r\n\r\n") == .notPlain)
    let many = (0..<PlainRequest.fieldCountMax).map { "A\($0): b\r\n" }.joined()
    #expect(frame("GET / HTTP/1.1\r\nHost: a\r\n" + many + "\r\n") == .notPlain)
  }
}
