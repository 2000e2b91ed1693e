import Portal
import PortalAPI
import PortalApplication
import PortalHTTP
import PortalTesting
import PostgresTesting
import Testing

@Suite("The client's address")
struct TrustedProxiesTests {
  @Test(
    "the client's address is the first from the right that is not a trusted proxy's",
    arguments: [
      // No proxy is trusted, or the peer is not: the header is ignored.
      ("", "192.0.2.1", ["198.51.100.7"], "192.0.2.1"),
      ("10.0.0.0/8", "192.0.2.1", ["198.51.100.7"], "192.0.2.1"),
      ("10.0.0.0/8", "192.0.2.1", ["10.1.1.1"], "192.0.2.1"),
      // One proxy, several, in one field and in several.
      ("10.0.0.0/8", "10.0.0.1", ["198.51.100.7"], "198.51.100.7"),
      ("10.0.0.0/8", "10.0.0.1", ["198.51.100.7, 10.0.0.2"], "198.51.100.7"),
      ("10.0.0.0/8", "10.0.0.1", ["198.51.100.7", "10.0.0.2 ,\t10.0.0.3"], "198.51.100.7"),
      ("10.0.0.1,192.0.2.9", "10.0.0.1", ["198.51.100.7,192.0.2.9"], "198.51.100.7"),
      // What the client sent is to the left of what the proxy added.
      ("10.0.0.0/8", "10.0.0.1", ["127.0.0.1, 198.51.100.7"], "198.51.100.7"),
      ("10.0.0.0/8", "10.0.0.1", ["10.0.0.9, 198.51.100.7, 10.0.0.2"], "198.51.100.7"),
      ("10.0.0.0/8", "10.0.0.1", ["a, b, 198.51.100.7"], "198.51.100.7"),
      // Only proxies: the farthest one.
      ("10.0.0.0/8", "10.0.0.1", [], "10.0.0.1"),
      ("10.0.0.0/8", "10.0.0.1", ["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
      // An element without an address ends the search.
      ("10.0.0.0/8", "10.0.0.1", [""], "10.0.0.1"), ("10.0.0.0/8", "10.0.0.1", ["unknown"], "10.0.0.1"),
      ("10.0.0.0/8", "10.0.0.1", ["198.51.100.7, , 10.0.0.2"], "10.0.0.2"),
      ("10.0.0.0/8", "10.0.0.1", ["198.51.100.7,"], "10.0.0.1"),
      // A port, and the brackets around an IPv6 address, are removed.
      ("10.0.0.0/8", "10.0.0.1", ["203.0.113.7:51234"], "203.0.113.7"),
      ("10.0.0.0/8", "10.0.0.1", ["203.0.113.7:51234, 10.0.0.2:443"], "203.0.113.7"),
      ("10.0.0.0/8", "10.0.0.1", ["[2001:db8::7]:443"], "2001:db8::7"),
      ("10.0.0.0/8", "10.0.0.1", ["[2001:DB8::7]"], "2001:db8::7"),
      ("10.0.0.0/8", "10.0.0.1", ["[::ffff:203.0.113.7]:443"], "203.0.113.7"),
      ("10.0.0.0/8", "10.0.0.1", ["203.0.113.7:"], "10.0.0.1"),
      ("10.0.0.0/8", "10.0.0.1", ["203.0.113.7:http"], "10.0.0.1"),
      ("10.0.0.0/8", "10.0.0.1", ["203.0.113.7:123456"], "10.0.0.1"),
      ("10.0.0.0/8", "10.0.0.1", ["[2001:db8::7"], "10.0.0.1"),
      ("10.0.0.0/8", "10.0.0.1", ["2001:db8::7]"], "10.0.0.1"),
      ("10.0.0.0/8", "10.0.0.1", ["[2001:db8::7]443"], "10.0.0.1"),
      ("10.0.0.0/8", "10.0.0.1", ["[203.0.113.7]:443"], "10.0.0.1"),
      ("10.0.0.0/8", "10.0.0.1", ["[2001:db8::/32]"], "10.0.0.1"), ("10.0.0.0/8", "10.0.0.1", ["[]"], "10.0.0.1"),
      // A quote is an ordinary character here.
      ("10.0.0.0/8", "10.0.0.1", ["\"a, 198.51.100.7"], "198.51.100.7"),
      ("10.0.0.0/8", "10.0.0.1", ["198.51.100.0/24"], "10.0.0.1"),
      ("10.0.0.0/8", "10.0.0.1", ["198.51.100.7/32"], "10.0.0.1"),
      ("10.0.0.0/8", "10.0.0.1", ["198.51.100.7, 010.0.0.2"], "10.0.0.1"),
      ("10.0.0.0/8", "10.0.0.1", ["\"198.51.100.7\""], "10.0.0.1"),
      // IPv6, and IPv4 within it, in canonical form.
      ("2001:db8::/32", "2001:DB8::1", ["2001:0db9:0::0007"], "2001:db9::7"),
      ("::1", "::1", ["::ffff:198.51.100.7"], "198.51.100.7"),
      ("10.0.0.0/8", "::ffff:10.0.0.1", ["198.51.100.7"], "198.51.100.7"),
      ("::/0", "2001:db8::1", ["10.0.0.1, 2001:db8::2"], "10.0.0.1"),
      ("0.0.0.0/0,::/0", "10.0.0.1", ["198.51.100.7, 2001:db8::1"], "198.51.100.7"),
    ] as [(String, String, [String], String)])
  func walk(_ trusted: String, _ peer: String, _ forwarded: [String], _ client: String) throws {
    let proxies = try #require(TrustedProxies(trusted))
    #expect(proxies.origin(peer: peer, forwarded: forwarded).address == client)
  }

  @Test(
    "the client's address is read from Forwarded if the proxies write that, quoted or not",
    arguments: [
      (["for=198.51.100.7"], "198.51.100.7", false),
      (["For=\"198.51.100.7:4711\"; proto=https ;BY=10.0.0.1"], "198.51.100.7", false),
      (["proto=https;FOR=\"[2001:db8:cafe::17]:4711\""], "2001:db8:cafe::17", false),
      (["for=\"[2001:db8::7]\""], "2001:db8::7", false), (["for=\"198.51.100.7:_port\""], "198.51.100.7", false),
      (["for=198.51.100.7, for=10.0.0.2;by=\"a,b;c\", for=10.0.0.3"], "198.51.100.7", false),
      (["for=198.51.100.7;by=\"a\\\"b,\\\\\""], "198.51.100.7", false),
      (["for=\"198.51.100\\.7\""], "198.51.100.7", false),
      (["for=192.0.2.1", "for=198.51.100.7"], "198.51.100.7", false), ([";for=198.51.100.7;"], "198.51.100.7", false),
      // A client's unclosed quote does not swallow what the proxy adds.
      (["for=\"192.0.2.1, for=198.51.100.7"], "198.51.100.7", false),
      (["for=\"192.0.2.1, for=\"[2001:db8::7]\""], "2001:db8::7", false),
      (["\\, for=\"\\\", for=198.51.100.7"], "198.51.100.7", false),
      // An element that has no address ends the search.
      (["for=unknown"], "10.0.0.1", true), (["for=_hidden"], "10.0.0.1", true),
      (["for=\"_SEVKISEK\", for=10.0.0.2"], "10.0.0.2", true), (["proto=https"], "10.0.0.1", true),
      (["for=198.51.100.7;for=198.51.100.8"], "10.0.0.1", true), (["198.51.100.7"], "10.0.0.1", true),
      (["for=\"198.51.100.7"], "10.0.0.1", true), (["for=\"198.51.100.7\"x"], "10.0.0.1", true),
      ([""], "10.0.0.1", true), ([], "10.0.0.1", false),
    ] as [([String], String, Bool)])
  func forwarded(_ fields: [String], _ client: String, _ isUnreadable: Bool) throws {
    var proxies = try #require(TrustedProxies("10.0.0.0/8"))
    proxies.header = .forwarded
    let origin = proxies.origin(peer: "10.0.0.1", forwarded: fields)
    #expect(origin == TrustedProxies.Origin(address: client, isUnreadable: isUnreadable))
  }

  @Test("a peer on the Unix socket is a trusted proxy: the address is the one it reports, if any")
  func socketPeer() throws {
    var proxies = try #require(TrustedProxies("10.0.0.0/8"))
    let distrusted = proxies.origin(peer: nil, forwarded: ["198.51.100.7"])
    #expect(distrusted == TrustedProxies.Origin(address: nil))
    proxies.includesSocketPeers = true
    for (forwarded, address) in [
      (["198.51.100.7"], "198.51.100.7"), (["192.0.2.1, 198.51.100.7"], "198.51.100.7"),
      (["198.51.100.7, 10.0.0.2"], "198.51.100.7"), ([], nil),
    ] as [([String], String?)] {
      #expect(proxies.origin(peer: nil, forwarded: forwarded) == TrustedProxies.Origin(address: address))
    }
    let unreadable = proxies.origin(peer: nil, forwarded: ["unknown"])
    #expect(unreadable == TrustedProxies.Origin(address: nil, isUnreadable: true))
    // This does not affect peers with an address.
    #expect(proxies.origin(peer: "192.0.2.1", forwarded: ["198.51.100.7"]).address == "192.0.2.1")
  }

  @Test("long chains are not followed to their end, and a field of quotes is parsed in bounded time")
  func bounded() throws {
    var proxies = try #require(TrustedProxies("10.0.0.0/8"))
    let hops = (1...3_000).map { "10.0.\($0 / 256).\($0 % 256)" }
    let far = proxies.origin(peer: "10.0.0.1", forwarded: [hops.joined(separator: ",")])
    #expect(far == TrustedProxies.Origin(address: hops[3_000 - 32]))
    proxies.header = .forwarded
    let field = String(repeating: "\\\"", count: 16_000)
    let start = ContinuousClock.now
    for _ in 0..<20 {
      #expect(proxies.origin(peer: "10.0.0.1", forwarded: [field]).address == "10.0.0.1")
    }
    #expect(ContinuousClock.now - start < .seconds(5))
  }

  @Test("anything to the left of the address that the nearest proxy saw changes nothing")
  func leftIsHearsay() throws {
    var generator = SeededGenerator(seed: 4)
    let proxies = try #require(TrustedProxies("10.0.0.0/8"))
    let pieces = ["10.0.0.5", "198.51.100.9", "::1", "x", "", "10.0.0.0/8", " ", "127.0.0.1"]
    for _ in 0..<2_000 {
      let made = (0..<Int.random(in: 0...6, using: &generator)).compactMap { _ in
        pieces.randomElement(using: &generator)
      }
      let hops = (0..<Int.random(in: 0...3, using: &generator)).map { "10.0.1.\($0)" }
      let all = made + ["192.0.2.77"] + hops
      let cut = Int.random(in: 0...all.count, using: &generator)
      let fields = [Array(all[..<cut]), Array(all[cut...])].filter { !$0.isEmpty }.map { $0.joined(separator: ", ") }
      #expect(proxies.origin(peer: "10.0.0.1", forwarded: fields).address == "192.0.2.77", "\(fields)")
      #expect(proxies.origin(peer: "192.0.2.1", forwarded: fields).address == "192.0.2.1", "\(fields)")
    }
  }

  @Test("without a peer there is no address, whatever the header says")
  func noPeer() throws {
    let proxies = try #require(TrustedProxies("::/0"))
    #expect(proxies.origin(peer: nil, forwarded: ["198.51.100.7"]).address == nil)
  }

  @Test(
    "trusted proxies are addresses and blocks; anything else is refused",
    arguments: [
      ("", true), (" ", true), ("10.0.0.1", true), ("10.0.0.0/8, ::1", true), ("10.0.0.0/33", false), ("proxy", false),
      ("10.0.0.1,", false), (",", false), ("10.0.0.1 10.0.0.2", false), ("10.0.0.1;::1", false),
    ])
  func parsed(_ text: String, _ isAllowed: Bool) {
    #expect((TrustedProxies(text) != nil) == isAllowed)
  }

  @Test("a trusted proxy that reports no address is counted each time and logged once in a while; others are not")
  func unreadable() async throws {
    for (trusted, count) in [("127.0.0.1", 3), ("", 0)] {
      let proxies = try #require(TrustedProxies(trusted))
      try await withPortal(.live, configure: { $0.trustedProxies = proxies }) { portal in
        for _ in 1...3 { _ = try await portal.get("/healthz", headers: ["X-Forwarded-For": "unknown"]) }
        let logged = portal.observations.count(.forwardedUnreadable(isLogged: true))
        let silent = portal.observations.count(.forwardedUnreadable(isLogged: false))
        #expect(logged == min(count, 1) && logged + silent == count)
        let metrics = try await portal.text("/metrics").text
        #expect(metrics.contains("\nlatchkey_forwarded_unreadable_total \(count)\n"))
      }
    }
  }

  @Test("the audit trail has the address that the trusted proxy saw, or the peer's if none is trusted")
  func audited() async throws {
    for (trusted, expected) in [("127.0.0.1", "198.51.100.7"), ("", "127.0.0.1")] {
      let proxies = try #require(TrustedProxies(trusted))
      try await withPortal(.live, configure: { $0.trustedProxies = proxies }) { portal in
        let customer = try await portal.signUp()
        _ = try await portal.post(
          "/v1/keys", #"{"name":"n","scopes":["a"]}"#, token: customer.token,
          headers: ["X-Forwarded-For": "10.9.9.9, 198.51.100.7"])
        let events = try await customer.get("/v1/audit").body["events"]
        #expect(events[0]["ip"].string == expected)
      }
    }
  }

  @Test("only the header that proxies are said to write is read, whatever is in the other one")
  func otherHeaderIsIgnored() async throws {
    let fields = ["X-Forwarded-For": "198.51.100.9", "Forwarded": "for=198.51.100.7"]
    for (header, own, other, expected) in [
      (ForwardedHeader.xForwardedFor, "X-Forwarded-For", "Forwarded", "198.51.100.9"),
      (.forwarded, "Forwarded", "X-Forwarded-For", "198.51.100.7"),
    ] {
      var proxies = try #require(TrustedProxies("127.0.0.1"))
      proxies.header = header
      try await withPortal(.live, configure: { [proxies] in $0.trustedProxies = proxies }) { portal in
        let customer = try await portal.signUp()
        for (sent, address) in [
          (fields, expected), (fields.filter { $0.key == own }, expected),
          (fields.filter { $0.key == other }, "127.0.0.1"),
          ([other: "unknown"], "127.0.0.1"),
        ] {
          _ = try await portal.post(
            "/v1/keys", #"{"name":"n","scopes":["a"]}"#, token: customer.token, headers: sent)
          #expect(try await customer.get("/v1/audit").body["events"][0]["ip"].string == address, "\(header), \(sent)")
        }
        // The other header has not been read.
        #expect(portal.observations.count(.forwardedUnreadable(isLogged: true)) == 0)
      }
    }
  }
}
