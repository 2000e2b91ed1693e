import PortalHTTP
import PortalTesting
import PostgresTesting
import Testing

@Suite("The client's address")
struct TrustedProxiesTests {
  @Test(
    "is the first that is not a trusted proxy's, from the right",
    arguments: [
      // Nobody is trusted, or the peer is not: what it says counts for nothing.
      ("", "192.0.2.1", ["198.51.100.7"], "192.0.2.1"),
      ("10.0.0.0/8", "192.0.2.1", ["198.51.100.7"], "192.0.2.1"),
      ("10.0.0.0/8", "192.0.2.1", ["10.1.1.1"], "192.0.2.1"),
      // One proxy, several, in one field and in several.
      ("10.0.0.0/8", "10.0.0.1", ["198.51.100.7"], "198.51.100.7"),
      ("10.0.0.0/8", "10.0.0.1", ["198.51.100.7, 10.0.0.2"], "198.51.100.7"),
      ("10.0.0.0/8", "10.0.0.1", ["198.51.100.7", "10.0.0.2 ,\t10.0.0.3"], "198.51.100.7"),
      ("10.0.0.1,192.0.2.9", "10.0.0.1", ["198.51.100.7,192.0.2.9"], "198.51.100.7"),
      // What the client itself had sent stands left of what the proxy added.
      ("10.0.0.0/8", "10.0.0.1", ["127.0.0.1, 198.51.100.7"], "198.51.100.7"),
      ("10.0.0.0/8", "10.0.0.1", ["10.0.0.9, 198.51.100.7, 10.0.0.2"], "198.51.100.7"),
      ("10.0.0.0/8", "10.0.0.1", ["a, b, 198.51.100.7"], "198.51.100.7"),
      // Nothing but proxies: the farthest.
      ("10.0.0.0/8", "10.0.0.1", [], "10.0.0.1"),
      ("10.0.0.0/8", "10.0.0.1", ["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
      // What is no address ends the walk.
      ("10.0.0.0/8", "10.0.0.1", [""], "10.0.0.1"), ("10.0.0.0/8", "10.0.0.1", ["unknown"], "10.0.0.1"),
      ("10.0.0.0/8", "10.0.0.1", ["198.51.100.7, , 10.0.0.2"], "10.0.0.2"),
      ("10.0.0.0/8", "10.0.0.1", ["198.51.100.7,"], "10.0.0.1"),
      ("10.0.0.0/8", "10.0.0.1", ["198.51.100.7:4711"], "10.0.0.1"),
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
    #expect(proxies.client(peer: peer, forwarded: forwarded) == client)
  }

  @Test("whatever is put left of the address that the nearest proxy saw changes nothing")
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
      #expect(proxies.client(peer: "10.0.0.1", forwarded: fields) == "192.0.2.77", "\(fields)")
      #expect(proxies.client(peer: "192.0.2.1", forwarded: fields) == "192.0.2.1", "\(fields)")
    }
  }

  @Test("without a peer there is none, whatever is claimed")
  func noPeer() throws {
    let proxies = try #require(TrustedProxies("::/0"))
    #expect(proxies.client(peer: nil, forwarded: ["198.51.100.7"]) == nil)
  }

  @Test(
    "proxies are addresses and blocks; anything else is refused",
    arguments: [
      ("", true), (" ", true), ("10.0.0.1", true), ("10.0.0.0/8, ::1", true), ("10.0.0.0/33", false), ("proxy", false),
      ("10.0.0.1,", false), (",", false), ("10.0.0.1 10.0.0.2", false), ("10.0.0.1;::1", false),
    ])
  func parsed(_ text: String, _ isAllowed: Bool) {
    #expect((TrustedProxies(text) != nil) == isAllowed)
  }

  @Test("goes into the audit trail as the trusted proxy saw it, and as the peer where none is trusted")
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
}
