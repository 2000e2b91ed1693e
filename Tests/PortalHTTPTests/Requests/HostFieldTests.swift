import Testing

@testable import PortalHTTP

@Suite("HostField")
struct HostFieldTests {
  @Test(
    "a name, an IPv4 address or an IPv6 address in brackets is a host, with a port or without",
    arguments: [
      "a", "localhost", "api.example.com", "API.Example.com.", "127.0.0.1", "[::1]", "[2001:db8::ffff:192.0.2.1]",
      "a:80", "[::1]:8080", "a:", "xn--bcher-kva.example", "a_b", "%C3%A9.example", "portal-1_x~y",
    ])
  func valid(_ text: String) { #expect(HostField.isValid(text)) }

  @Test(
    "nothing else is a host",
    arguments: [
      "", " ", ":80", "a b", "a/b", "a?b", "a#b", "u@a", "u:p@a", "a:80:80", "a:8o", "a:-1", "[::1", "::1", "[]",
      "[::1]x", "[g::]", "é", "%", "%C", "%GG", "a, b", "a\tb", "\"a\"", "http://a", "a\\b",
    ])
  func invalid(_ text: String) { #expect(!HostField.isValid(text)) }
}
