import Foundation
import JSON
import Portal
import Testing

@testable import PortalAPI
@testable import PortalHTTP

@Suite("VerificationScanner")
struct VerificationScannerTests {
  private let format = KeyFormat(prefix: "lk")!

  /// The request that the ordinary route reads from a body; nil if it refuses it.
  private func read(_ bytes: [UInt8]) -> VerificationRequest? {
    guard case .object(let members)? = try? JSONParser.parse(bytes) else { return nil }
    var fields = RequestFields(members, location: "body")
    let request = fields.verification(format.hash)?.question
    return (try? fields.finish()) == nil ? nil : request
  }

  private func scan(_ bytes: [UInt8]) -> VerificationRequest? {
    VerificationScanner.request(bytes.span, bytes.indices)?.request
  }
  private func scan(_ text: String) -> VerificationRequest? { scan(Array(text.utf8)) }

  @Test("a plain body is read as documented, in any order and with any white space")
  func plain() throws {
    let text = #"{"key":"k","scopes":["a","b:c"],"scope":"d","clientIP":"192.0.2.1","endpoint":"GET /a","cost":17}"#
    let expected = VerificationRequest(
      hash: SecretHash(of: "k".utf8), scopes: ["a", "b:c", "d"], clientIP: AddressBlock("192.0.2.1"),
      endpoint: "GET /a", cost: 17)
    #expect(scan(text) == expected)
    #expect(
      scan(
        #" { "cost" : 17 , "scope":"d","endpoint":"GET /a", "scopes" : [ "a" , "b:c" ] ,"#
          + "\r\n\t" + #""clientIP":"192.0.2.1","key":"k" } "#) == expected)
    #expect(scan(#"{"key":"k"}"#) == VerificationRequest(hash: SecretHash(of: "k".utf8)))
    #expect(scan(#"{"key":"k","scopes":[]}"#)?.scopes == [])
    for (text, cost) in [(#"{"cost":0}"#, 0), (#"{ "cost" : 7 }"#, 7), (#"{"cost":1000000}"#, 1_000_000)] {
      #expect(scan("{\"credits\":\(text),\"key\":\"k\"}")?.creditCost == cost)
    }
    #expect(scan(#"{"key":"k"}"#)?.creditCost == 1)
    let granted = scan(#"{"key":"k","api":"orders","permissions":"a AND b"}"#)
    #expect(granted?.api == .name("orders"))
    #expect(try granted?.permissions == PermissionQuery("a and b"))
  }

  @Test(
    "anything but a plain body is left to the parser",
    arguments: [
      #"{"key":"k","limits":[{"name":"a"}]}"#, "", "{", "{}", "[]", "null", #"{"key":"k"} x"#, #"{"key":"k"}}"#,
      #"{"key":"k",}"#, #"{"key":"k""cost":1}"#,
      #"{"key":"\u006b"}"#, #"{"k\u0065y":"k"}"#, #"{"key":"ké"}"#, #"{"key":null}"#, #"{"key":1}"#,
      #"{"key":"k","key":"k"}"#, #"{"key":"k","Key":"k"}"#, #"{"key":"k","other":1}"#, #"{"key":"k","cost":0}"#,
      #"{"key":"k","cost":1001}"#, #"{"key":"k","cost":1.0}"#, #"{"key":"k","cost":1e1}"#, #"{"key":"k","cost":01}"#,
      #"{"key":"k","cost":-1}"#, #"{"key":"k","cost":"1"}"#, #"{"key":"k","cost":11111}"#, #"{"key":"k","cost":}"#,
      #"{"key":"k","credits":{}}"#, #"{"key":"k","credits":null}"#, #"{"key":"k","credits":{"cost":-1}}"#,
      #"{"key":"k","credits":{"cost":1000001}}"#, #"{"key":"k","credits":{"cost":01}}"#, #"{"key":"k","credits":1}"#,
      #"{"key":"k","credits":{"cost":1,"cost":1}}"#, #"{"key":"k","credits":{"cost":1},"credits":{"cost":1}}"#,
      #"{"key":"k","credits":{"cost":1.0}}"#, #"{"key":"k","credits":{"other":1}}"#,
      #"{"key":"k","credits":{"cost":1}"#,
      #"{"key":"k","api":"a b"}"#, #"{"key":"k","api":null}"#, #"{"key":"k","permissions":"a b"}"#,
      #"{"key":"k","permissions":""}"#, #"{"key":"k","permissions":"a","permissions":"a"}"#,
      #"{"key":"k","scope":"A"}"#, #"{"key":"k","scopes":["a",]}"#, #"{"key":"k","scopes":"a"}"#,
      #"{"key":"k","clientIP":"192.0.2.0/24"}"#, #"{"key":"k","clientIP":"x"}"#, #"{"key":"k","endpoint":""}"#,
      "{\"key\":\"k\u{1}\"}", "{\"key\":\"k\u{0}\"}", "\u{FEFF}{\"key\":\"k\"}", "{\u{A0}\"key\":\"k\"}",
      #"{"key":"k","endpoint":"\#(String(repeating: "e", count: 201))"}"#,
    ])
  func notPlain(_ text: String) {
    #expect(scan(text) == nil)
  }

  @Test("text that is too short or too long for a key has no hash, and is a valid question")
  func noKey() {
    for count in [0, 513, 60_000] {
      let text = "{\"key\":\"\(String(repeating: "k", count: count))\",\"cost\":2}"
      #expect(scan(text) == VerificationRequest(hash: nil, cost: 2))
      #expect(read(Array(text.utf8)) == VerificationRequest(hash: nil, cost: 2))
    }
    let longest = String(repeating: "k", count: 512)
    #expect(scan("{\"key\":\"\(longest)\"}") == VerificationRequest(hash: SecretHash(of: longest.utf8)))
  }

  @Test("a batch is a list of one to a thousand such bodies")
  func batch() {
    func scanAll(_ text: String) -> [VerificationRequest]? {
      let bytes = Array(text.utf8)
      return VerificationScanner.requests(bytes.span, bytes.indices)?.requests
    }
    let one = #"{"key":"k"}"#
    #expect(scanAll(#"{"requests":[\#(one)]}"#)?.count == 1)
    #expect(scanAll(#" { "requests" : [ \#(one) , {"key":"l","cost":2} ] } "#)?.map(\.cost) == [1, 2])
    let thousand = Array(repeating: one, count: 1_000).joined(separator: ",")
    #expect(scanAll(#"{"requests":[\#(thousand)]}"#)?.count == 1_000)
    for text in [
      #"{"requests":[\#(thousand),\#(one)]}"#, #"{"requests":[]}"#, #"{"requests":[\#(one),]}"#,
      #"{"requests":[\#(one),{}]}"#, #"{"requests":[\#(one)],"x":1}"#, #"{"request":[\#(one)]}"#, one,
      #"{"requests":[\#(one)]"#, #"{"requests":\#(one)}"#,
    ] {
      #expect(scanAll(text) == nil)
    }
  }
}
