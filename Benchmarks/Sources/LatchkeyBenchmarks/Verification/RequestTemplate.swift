/// A request with placeholders for keys, and the form of its responses.
struct RequestTemplate: Sendable {
  enum Answer {
    /// The same 200 for every request.
    case fixed
    /// `"code":"…"` in the body, once per key.
    case codesInBody
    /// `X-Latchkey-Code: …`
    case codeInHeader
  }

  let bytes: [UInt8]
  /// The offsets of the keys in `bytes`.
  let keyOffsets: [Int]
  let answer: Answer

  /// `{}` in head and body is a placeholder for a key.
  private init(head: String, body: String = "", answer: Answer) {
    let place = Array(repeating: UInt8(ascii: "k"), count: KeyMix.keyLength)
    var bytes: [UInt8] = []
    var keyOffsets: [Int] = []
    func append(_ text: String) {
      var rest = text[...]
      while let range = rest.firstRange(of: "{}") {
        bytes += rest[..<range.lowerBound].utf8
        keyOffsets.append(bytes.count)
        bytes += place
        rest = rest[range.upperBound...]
      }
      bytes += rest.utf8
    }
    append(head)
    if !body.isEmpty {
      let length = body.utf8.count + body.ranges(of: "{}").count * (KeyMix.keyLength - 2)
      append("Content-Type: application/json\r\nContent-Length: \(length)\r\n")
    }
    append("\r\n" + body)
    (self.bytes, self.keyOffsets, self.answer) = (bytes, keyOffsets, answer)
  }

  static func verify(token: String, answer: Answer = .codesInBody) -> RequestTemplate {
    RequestTemplate(
      head: head("POST /v1/verify", "Authorization: Bearer \(token)"),
      body: #"{"key":"{}","endpoint":"GET /orders"}"#, answer: answer)
  }

  static func authorize(token: String, answer: Answer = .codeInHeader) -> RequestTemplate {
    RequestTemplate(
      head: head(
        "GET /v1/authorize", "X-Latchkey-Token: \(token)", "Authorization: Bearer {}", "X-Original-Method: GET",
        "X-Original-URI: /orders"),
      answer: answer)
  }

  static func batch(of count: Int, token: String) -> RequestTemplate {
    let questions = Array(repeating: #"{"key":"{}","endpoint":"GET /orders"}"#, count: count)
    return RequestTemplate(
      head: head("POST /v1/verify/batch", "Authorization: Bearer \(token)"),
      body: #"{"requests":["# + questions.joined(separator: ",") + "]}", answer: .codesInBody)
  }

  private static func head(_ line: String, _ fields: String...) -> String {
    ([line + " HTTP/1.1", "Host: 127.0.0.1"] + fields).map { $0 + "\r\n" }.joined()
  }
}
