import Foundation
import JSON
import Portal
import PortalTesting
import PostgresTesting
import Testing

@testable import PortalHTTP

/// Values in the head of a request: each is parsed or refused by its rules, whatever it is.
@Suite("Values of a head, fuzzed")
struct HeadValuesFuzzTests {
  private static let queryTokens = [
    "&", "=", "%", "%00", "%zz", "%C3%A9", "%ED%A0%80", "limit=50", "cursor=", "+", "&&", "é",
  ]

  @Test("a query is parsed, or refused with its location; one more parameter does not change how the rest is parsed")
  func query() async throws {
    let fuzzing = try Fuzzing("queries")
    let others = fuzzing.corpus.map(\.bytes)
    try await fuzzing.run(10_000) { random in
      random.mutated(random.pick(others), tokens: Self.queryTokens, others: others)
    } problem: { bytes, _ in
      let text = String(decoding: bytes, as: UTF8.self)
      do throws(InvalidRequest) {
        try Query(text).check([.list("limit"), .list("cursor")])
      } catch {
        guard !error.problems.isEmpty,
          error.problems.allSatisfy({ $0.location == "query" || $0.location.utf8.starts(with: "query.".utf8) })
        else { return "\(error)" }
      }
      guard let query = try? Query(text), let longer = try? Query(text + "&zz=%31") else { return nil }
      return longer.values("zz").elementsEqual(query.values("zz") + ["1"]) ? nil : "\(longer.values("zz"))"
    }
  }

  @Test("percent-encoded names and values are decoded byte for byte, in order")
  func queryEncoding() async throws {
    let fuzzing = try Fuzzing("queries")
    let others = fuzzing.corpus.map(\.bytes)
    try await fuzzing.run(5_000) { random in
      random.mutated(random.pick(others), tokens: Self.queryTokens, others: others)
    } problem: { bytes, random in
      // From any bytes: the parts between ampersands are alternately names and values.
      let parts = String(decoding: bytes, as: UTF8.self).utf8.split(separator: UInt8(ascii: "&")).map {
        String($0) ?? ""
      }
      let pairs = stride(from: 0, to: parts.count - 1, by: 2).map { (name: parts[$0], value: parts[$0 + 1]) }
      let text = pairs.map { Self.encoded($0.name, &random) + "=" + Self.encoded($0.value, &random) }.joined(
        separator: "&")
      guard text.utf8.count <= Query.byteCountMax, pairs.count <= Query.parameterCountMax else { return nil }
      let query = try Query(text)
      for (name, _) in pairs {
        let expected = pairs.filter { $0.name.hasSameBytes(as: name) }.map(\.value)
        guard query.values(name).elementsEqual(expected, by: { $0.hasSameBytes(as: $1) }) else {
          return "\(name) is \(query.values(name))"
        }
      }
      return nil
    }
  }

  private static func encoded(_ text: String, _ random: inout SeededGenerator) -> String {
    var encoded = ""
    for byte in text.utf8 {
      let isPlain = (0x30...0x39).contains(byte) || (0x41...0x5A).contains(byte) || (0x61...0x7A).contains(byte)
      if isPlain, !random.oneIn(4) {
        encoded.unicodeScalars.append(Unicode.Scalar(byte))
      } else {
        encoded += String(format: random.oneIn(2) ? "%%%02X" : "%%%02x", byte)
      }
    }
    return encoded
  }

  @Test(
    "whatever a client writes, the address is the one that the nearest trusted proxy saw, in canonical form",
    arguments: ForwardedHeader.allCases)
  func forwarded(_ header: ForwardedHeader) async throws {
    var trusted = try #require(TrustedProxies("10.0.0.0/8"))
    trusted.header = header
    let proxies = trusted
    let isForwarded = header == .forwarded
    let clients =
      isForwarded
      ? ["for=198.51.100.7", "for=\"198.51.100.7:4711\";proto=https", "by=\"a,b;c\" ; FOR=198.51.100.7"]
      : ["198.51.100.7", "198.51.100.7:4711", "[::ffff:198.51.100.7]:80"]
    let hops =
      isForwarded
      ? ["for=10.0.0.2", "for=\"10.0.0.3:80\";by=\"a,\\\"b\"", "For=\"[::ffff:10.0.0.4]\""]
      : ["10.0.0.2", "10.0.0.3:80", "[::ffff:10.0.0.4]"]
    let fuzzing = try Fuzzing(isForwarded ? "forwarded" : "x-forwarded-for", test: "forwarded")
    let others = fuzzing.corpus.map(\.bytes)
    let tokens =
      clients + hops + [",", ";", "=", "\"", "\\", "\\\"", "for=", "[", "]", ":", "unknown", "_x", "\n", " ", "/8"]
    try await fuzzing.run(8_000) { random in
      random.mutated(random.pick(others), tokens: tokens, others: others)
    } problem: { bytes, random in
      // One line per field.
      let fields = String(decoding: bytes, as: UTF8.self).split(separator: "\n", omittingEmptySubsequences: false).map(
        String.init)
      let alone = proxies.origin(peer: "10.0.0.1", forwarded: fields)
      guard let address = alone.address, let block = AddressBlock(address), block.isSingleAddress,
        block.description == address
      else { return "\(alone)" }
      var walk = ForwardedHops(header, fields)
      var count = 0
      while walk.next() != nil { count += 1 }
      let commaCount = bytes.count { $0 == UInt8(ascii: ",") }
      guard count <= commaCount + fields.count else { return "\(count) elements" }
      let added = ([random.pick(clients)] + (0..<Int.random(in: 0...2, using: &random)).map { _ in random.pick(hops) })
      var seen = fields
      if random.oneIn(2) {
        seen.append(added.joined(separator: ", "))
      } else {
        seen[seen.count - 1] += "," + added.joined(separator: ",")
      }
      let origin = proxies.origin(peer: "10.0.0.1", forwarded: seen)
      return origin == TrustedProxies.Origin(address: "198.51.100.7") ? nil : "\(origin) behind \(added)"
    }
  }

  @Test("an accepted cursor encodes one id, which has a cursor; any other text is refused")
  func cursor() async throws {
    let fuzzing = try Fuzzing("cursors")
    let others = fuzzing.corpus.map(\.bytes)
    try await fuzzing.run(10_000) { random in
      random.mutated(
        random.pick(others), tokens: ["-", "_", "+", "/", "=", "==", "\u{0}", "é", " ", "%2B"], others: others)
    } problem: { bytes, random in
      let made = UUID.version7()
      guard Cursor.id(from: Cursor.text(of: made)) == made else { return "\(Cursor.text(of: made)) is not \(made)" }
      guard let id = Cursor.id(from: String(decoding: bytes, as: UTF8.self)) else { return nil }
      guard bytes.count == 22 else { return "it is accepted" }
      return Cursor.id(from: Cursor.text(of: id)) == id ? nil : "\(id) has no cursor"
    }
  }

  @Test(
    "the revisions of a list are those whose tags it contains, digit for digit, and one more tag adds its revision")
  func entityTag() async throws {
    let fuzzing = try Fuzzing("entity-tags")
    let others = fuzzing.corpus.map(\.bytes)
    try await fuzzing.run(10_000) { random in
      random.mutated(
        random.pick(others), tokens: ["\"", "W/", "\"7\"", ",", "*", "+", "0", "-1", " ", "\t", "\\\"", "é"],
        others: others)
    } problem: { bytes, _ in
      let text = String(decoding: bytes, as: UTF8.self)
      guard let revisions = EntityTag.revisions(in: text) else { return nil }
      guard !EntityTag.isAny(text) else { return "it is both a list and an asterisk" }
      for revision in revisions where !text.contains(EntityTag.text(of: revision)) { return "\(revision) is not in it" }
      return EntityTag.revisions(in: text + " , \"7\"") == revisions.union([7]) ? nil : "one more changes it"
    }
  }
}
