import Foundation
import PostgresTesting
import Testing

@testable import PortalAPI
@testable import PortalHTTP

@Suite("PlainRequest, fuzzed")
struct PlainRequestFuzzTests {
  private static let tokens = [
    "\r\n", "\r\n\r\n", "\n", "\r", "\r\n ", " ", "\t", ":", ",", ";", "\u{0}", "\u{7F}", "HTTP/1.1", "Host: b\r\n",
    "Content-Length: 1\r\n", "Transfer-Encoding: chunked\r\n", "Expect: 100-continue\r\n", "Connection: close\r\n",
    "A: b\r\n",
  ]

  @Test("a request taken for plain is plain in every byte, and no beginning of it is judged differently")
  func frame() async throws {
    let fuzzing = try Fuzzing("requests")
    let originals =
      [PlainRequestTests.verify, PlainRequestTests.authorize].map { Array($0.utf8) } + fuzzing.corpus.map(\.bytes)
    try await fuzzing.run(10_000) { random in
      // Few of the corpus are plain.
      let original = random.oneIn(3) ? random.pick(originals) : originals[random.oneIn(2) ? 0 : 1]
      return random.mutated(original, tokens: Self.tokens, others: originals)
    } problem: { bytes, random in
      let beginning = Array(bytes[..<Int.random(in: 0...bytes.count, using: &random)])
      return Self.problem(
        of: bytes, PlainRequest.frame(bytes.span), beginning.count, PlainRequest.frame(beginning.span))
    }
  }

  private static func problem(
    of bytes: [UInt8], _ framing: PlainRequest.Framing, _ beginningCount: Int, _ beginning: PlainRequest.Framing
  ) -> String? {
    switch (framing, beginning) {
    case (.notPlain, .notPlain), (.notPlain, .incomplete), (.incomplete, .incomplete): return nil
    case (.complete(let request), .incomplete), (.body(let request), .incomplete):
      return beginningCount < request.body.lowerBound ? problem(of: bytes, request) : "a whole head is incomplete"
    case (.complete(let request), .body(let part)), (.body(let request), .body(let part)):
      return part == request && beginningCount < request.byteCount ? problem(of: bytes, request) : "it has another body"
    case (.complete(let request), .complete(let part)):
      return part == request && beginningCount >= request.byteCount ? problem(of: bytes, request) : "it ends elsewhere"
    default: return "\(beginningCount) bytes are \(beginning), all are \(framing)"
    }
  }

  /// How a request that was taken for plain is not; nil if it is.
  private static func problem(of bytes: [UInt8], _ request: PlainRequest) -> String? {
    let head = Array(bytes[..<request.body.lowerBound])
    guard head.suffix(4) == Array("\r\n\r\n".utf8)[...] else { return "the head has no end" }
    guard head.allSatisfy({ (0x20...0x7E).contains($0) || [9, 10, 13].contains($0) }) else { return "not printable" }
    // Every CR is followed by LF, and every LF preceded by CR, and there is no empty line before the end.
    let lines = String(decoding: head.dropLast(4), as: UTF8.self).components(separatedBy: "\r\n")
    guard lines.allSatisfy({ !$0.isEmpty && !$0.utf8.contains(13) && !$0.utf8.contains(10) }) else {
      return "other ends of lines"
    }
    let lengths = lines.filter { $0.lowercased().hasPrefix("content-length:") }
    let length = lengths.first.map { $0.dropFirst(15).trimmingCharacters(in: .whitespaces) }
    guard lengths.count <= 1, request.bodyCount == (length.flatMap { Int($0) } ?? 0) else { return "another length" }
    let isOther = lines.contains { line in
      ["transfer-encoding:", "expect:", "upgrade:"].contains { line.lowercased().hasPrefix($0) }
    }
    return isOther ? "a field that decides where it ends" : nil
  }
}
