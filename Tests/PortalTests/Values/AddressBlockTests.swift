import Foundation
import PortalTesting
import Postgres
import PostgresTesting
import Testing

@testable import Portal

@Suite("AddressBlock")
struct AddressBlockTests {
  @Test(
    "every allowed notation has one canonical text, with the host bits zero",
    arguments: [
      ("192.0.2.1", "192.0.2.1"), ("192.0.2.1/32", "192.0.2.1"), ("192.0.2.77/24", "192.0.2.0/24"),
      ("192.0.2.255/25", "192.0.2.128/25"), ("255.255.255.255/1", "128.0.0.0/1"), ("10.1.2.3/0", "0.0.0.0/0"),
      ("0.0.0.0", "0.0.0.0"), ("::1", "::1"), ("::1/128", "::1"), ("::", "::"), ("2001:DB8::A", "2001:db8::a"),
      ("2001:db8:0:0:1:0:0:1", "2001:db8::1:0:0:1"), ("2001:0db8::ff/32", "2001:db8::/32"),
      ("2001:db8::ffff/127", "2001:db8::fffe/127"), ("ffff::/0", "::/0"), ("fe80::1/10", "fe80::/10"),
      ("::ffff:192.0.2.1", "192.0.2.1"), ("::ffff:c000:201", "192.0.2.1"), ("::FFFF:192.0.2.77/120", "192.0.2.0/24"),
      ("::ffff:0:0/96", "0.0.0.0/0"), ("::ffff:0:0/95", "::fffe:0:0/95"), ("64:ff9b::192.0.2.1", "64:ff9b::c000:201"),
    ])
  func canonical(_ text: String, _ canonical: String) throws {
    let block = try #require(AddressBlock(text))
    #expect(block.description == canonical)
    #expect(AddressBlock(canonical) == block)
    #expect(block.isSingleAddress == !canonical.contains("/"))
  }

  @Test(
    "anything else is refused",
    arguments: [
      "", " ", "/", "/24", "192.0.2.1/", "192.0.2.1/33", "192.0.2.1/-1", "192.0.2.1/+8", "192.0.2.1/08",
      "192.0.2.1/8/8", "192.0.2.1/8 ", "192.0.2.1/255.255.255.0", "192.0.2.1/٨", " 192.0.2.1", "192.0.2.1\n",
      "192.0.2.1\0", "192.0.2.1\0/24", "192.0.2", "192.0.2.", "192.0.2.1.", "192.0.2.256", "192.0.2.01", "0x7f.0.0.1",
      "2130706433", "１９２.0.2.1", ":", ":::", "1::2::3", "2001:db8::g", "::1/129", "::1%eth0", "fe80::1%2/64", "[::1]",
      "12345::", "1:2:3:4:5:6:7", "1:2:3:4:5:6:7:8:9", "::ffff:192.0.2.1/129", "::ffff:192.0.2", "localhost",
      "::" + String(repeating: "0", count: 60),
    ])
  func malformed(_ text: String) {
    #expect(AddressBlock(text) == nil)
  }

  @Test(
    "a block contains its first and last address, and neither the one before nor the one after",
    arguments: [
      ("192.0.2.0/24", "192.0.1.255", "192.0.2.0", "192.0.2.255", "192.0.3.0"),
      ("192.0.2.8/29", "192.0.2.7", "192.0.2.8", "192.0.2.15", "192.0.2.16"),
      ("10.0.0.0/8", "9.255.255.255", "10.0.0.0", "10.255.255.255", "11.0.0.0"),
      ("192.0.2.7", "192.0.2.6", "192.0.2.7", "192.0.2.7", "192.0.2.8"),
      (
        "2001:db8::/32", "2001:db7:ffff:ffff:ffff:ffff:ffff:ffff", "2001:db8::",
        "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", "2001:db9::"
      ),
      ("2001:db8::4/126", "2001:db8::3", "2001:db8::4", "2001:db8::7", "2001:db8::8"),
    ])
  func boundaries(_ block: String, _ before: String, _ first: String, _ last: String, _ after: String) throws {
    let block = try #require(AddressBlock(block))
    for address in [first, last] { #expect(block.contains(AddressBlock(address)!)) }
    for address in [before, after] { #expect(!block.contains(AddressBlock(address)!)) }
  }

  @Test("all of IPv4 and all of IPv6 are separate, and a mapped address belongs only to IPv4")
  func families() throws {
    let (four, six) = (try #require(AddressBlock("0.0.0.0/0")), try #require(AddressBlock("::/0")))
    for text in ["192.0.2.1", "255.255.255.255", "::ffff:192.0.2.1"] {
      let address = try #require(AddressBlock(text))
      #expect(four.contains(address) && !six.contains(address))
    }
    for text in ["::", "::1", "2001:db8::1", "::192.0.2.1"] {
      let address = try #require(AddressBlock(text))
      #expect(!four.contains(address) && six.contains(address))
    }
    #expect(!four.contains(six) && !six.contains(four))
    #expect(AddressBlock("0.0.0.1") != AddressBlock("::1"))
  }

  @Test("a block contains itself and smaller blocks within it, but not a larger one")
  func blocks() throws {
    let block = try #require(AddressBlock("192.0.2.0/24"))
    #expect(block.contains(block))
    #expect(block.contains(AddressBlock("192.0.2.128/25")!))
    #expect(!block.contains(AddressBlock("192.0.0.0/16")!))
    #expect(!AddressBlock("192.0.2.0/25")!.contains(block))
  }

  /// PostgreSQL's own result, which is what a plain `select` by support or an analyst relies on.
  @Test("PostgreSQL's cidr agrees about every block and about which blocks contain which")
  func agreesWithPostgres() async throws {
    var random = SeededGenerator(seed: 4_632)
    // Few different bits, so that many blocks contain one another.
    func randomText() -> String {
      let isIPv4 = Bool.random(using: &random)
      let bits = UInt8.random(in: 0...3, using: &random)
      let length = Int.random(in: 0...(isIPv4 ? 32 : 128), using: &random)
      return isIPv4 ? "10.\(bits).0.\(bits &* 85)/\(length)" : "2001:db8:\(bits)::\(bits)/\(length)"
    }
    let pairs = (0..<400).map { _ in (randomText(), randomText()) }
    try await withPool { pool in
      let lines = try await pool.lines(
        "select concat_ws(' ', network(a), network(b), network(a) >>= network(b)) from (values "
          + pairs.map { "('\($0)'::inet, '\($1)'::inet)" }.joined(separator: ", ") + ") pairs (a, b)")
      #expect(lines.count == pairs.count)
      for (pair, line) in zip(pairs, lines) {
        let fields = line.split(separator: " ").map(String.init)
        let (one, other) = (try #require(AddressBlock(pair.0)), try #require(AddressBlock(pair.1)))
        #expect(AddressBlock(fields[0]) == one && AddressBlock(fields[1]) == other)
        #expect(one.contains(other) == (fields[2] == "t"), "\(pair)")
      }
    }
  }
}
