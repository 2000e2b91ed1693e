import JSON
import Portal
import PortalTesting
import PostgresTesting
import Testing

@testable import PortalAPI
@testable import PortalHTTP

@Suite("VerificationScanner, fuzzed")
struct VerificationScannerFuzzTests {
  private static let names = [
    "key", "scope", "scopes", "clientIP", "endpoint", "cost", "api", "permissions", "credits", "limits", "other",
    "ke\\u0079",
  ]
  private static let values = [
    #""k""#, #""lk_live_x""#, #""a:b""#, #"["a","b"]"#, "[]", #""10.0.0.1""#, #""::1""#, #""10.0.0.0/8""#, "1", "17",
    "1000", "1001", "0", "null", "true", #""GET /v1""#, #""\n""#, #""é""#, "{}", "1.0", "-1", #""""#,
    #""orders""#, #""01980e60-1111-7a2b-8c3d-4e5f6a7b8c9d""#, #""a AND (b.* OR c)""#, #""a OR""#, #""or""#,
    #"{"cost":0}"#, #"{"cost":1000000}"#, #"{"cost":1000001}"#, #"{"cost":null}"#, #"{"cost":1,"other":2}"#,
  ]
  private static let tokens =
    names.map { "\"\($0)\":" } + values + [#"{"requests":["#, "]}", "\"", ",", ":", "\\", "\u{0}"]

  @Test("the parser reads everything that the scanner accepts in the same way, alone and in a batch")
  func parser() async throws {
    let fuzzing = try Fuzzing("verifications")
    let others = fuzzing.corpus.map(\.bytes)
    var takenCount = 0
    try await fuzzing.run(20_000) { random in
      let bodies = (0...Int.random(in: 0...2, using: &random)).map { _ in Self.body(&random) }
      let text = random.oneIn(4) ? #"{"requests":[\#(bodies.joined(separator: ","))]}"# : bodies[0]
      return random.oneIn(3) ? random.mutated(Array(text.utf8), tokens: Self.tokens, others: others) : Array(text.utf8)
    } problem: { bytes, _ in
      if let scanned = VerificationScanner.request(bytes.span, bytes.indices)?.request {
        takenCount += 1
        return Self.problem(scanned, try? JSONParser.parse(bytes))
      }
      guard let scanned = VerificationScanner.requests(bytes.span, bytes.indices)?.requests else { return nil }
      takenCount += 1
      guard let batch = try? JSONParser.parse(bytes), batch.names == ["requests"], !scanned.isEmpty,
        batch["requests"].array.count == scanned.count
      else { return "the parser reads no such batch" }
      return zip(scanned, batch["requests"].array).lazy.compactMap { Self.problem($0, $1) }.first
    }
    // Otherwise, it would try the same thing again and again.
    #expect(takenCount > 2_000)
  }

  private static func body(_ random: inout SeededGenerator) -> String {
    let key = String(repeating: "k", count: random.pick([0, 1, 2, 512, 513]))
    var members = [#""key":"\#(key)""#]
    for _ in 0..<Int.random(in: 0...3, using: &random) {
      members.append("\"\(random.pick(names))\":\(random.pick(values))")
    }
    members.shuffle(using: &random)
    let space = random.pick([" ", "", "", "\n"])
    return "{" + space + members.joined(separator: space + ",") + "}" + space
  }

  /// How the ordinary route reads a body differently; nil if it does not.
  private static func problem(_ scanned: VerificationRequest, _ value: JSONValue?) -> String? {
    guard case .object(let members)? = value, let format = KeyFormat(prefix: "lk") else { return "it is no object" }
    var fields = RequestFields(members, location: "body")
    guard var expected = fields.verification(format.hash)?.question, fields.finalProblems.isEmpty else {
      return "the ordinary route refuses it"
    }
    // The ordinary route finds by the checksum that a text cannot be a key; here, the text is just not in the cache.
    if expected.hash == nil { expected.hash = scanned.hash }
    return scanned == expected ? nil : "\(scanned) ≠ \(expected)"
  }
}
