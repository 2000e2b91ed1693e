import Foundation
import PortalAPI
import PortalHTTP
import PortalTesting
import Testing

@Suite("The session cookie")
struct SessionCookieTests {
  private static let https = "https://keys.example.com"

  private func withPortalOverHTTPS(_ body: @escaping @Sendable (TestPortal) async throws -> Void) async throws {
    let cookie = try #require(SessionCookie(publicURL: Self.https))
    try await withPortal(configure: { $0.cookie = cookie }, body)
  }

  @Test("over https, the cookie is bound to the host and to TLS, hidden from scripts, and lives as long as the session")
  func attributes() async throws {
    try await withPortalOverHTTPS { portal in
      let customer = try await portal.signUp()
      let answer = try await portal.post(
        "/v1/login", #"{"email":"ada@example.com","password":"correct horse battery"}"#)
      let token = try #require(answer.body["token"].string)
      var attributes = try #require(answer.header("Set-Cookie")).split(separator: "; ").map(String.init)
      #expect(attributes.removeFirst() == "__Host-latchkey=" + token)
      let age = try #require(attributes.first { $0.hasPrefix("Max-Age=") }.flatMap { Int($0.dropFirst(8)) })
      #expect((30 * 86_400 - 60...30 * 86_400).contains(age))
      attributes.removeAll { $0.hasPrefix("Max-Age=") }
      #expect(Set(attributes) == ["Path=/", "HttpOnly", "SameSite=Lax", "Secure"])
      #expect(
        try await portal.get("/v1/me", headers: ["Cookie": "a=b; __Host-latchkey=\(token); c=d"]).status == 200)
      expectProblem(
        try await portal.get("/v1/me", headers: ["Cookie": "latchkey=" + customer.token]), 401, "unauthenticated")
    }
  }

  @Test("on this machine, the cookie may be sent over plain http, without Secure")
  func attributesOverHTTP() async throws {
    try await withPortal { portal in
      let answer = try await portal.post(
        "/v1/signup", #"{"email":"ada@example.com","password":"correct horse battery","accountName":"a"}"#)
      let cookie = try #require(answer.header("Set-Cookie"))
      #expect(!cookie.contains("Secure") && !cookie.contains("__Host-"))
      #expect(cookie.contains("HttpOnly") && cookie.contains("SameSite=Lax") && cookie.contains("Path=/"))
    }
  }

  @Test("a change with a cookie from a page of another origin is origin_not_allowed; reading is allowed")
  func origin() async throws {
    try await withPortalOverHTTPS { portal in
      let customer = try await portal.signUp()
      let cookie = "__Host-latchkey=" + customer.token
      let body = #"{"name":"n","scopes":["a"]}"#
      expectProblem(
        try await portal.post("/v1/keys", body, headers: ["Cookie": cookie]), 403, "origin_not_allowed", "none")
      for origin in [
        "https://evil.example.com", "null", "http://keys.example.com", "https://keys.example.com:444",
        "https://keys.example.com.evil.com", "https://keys.example.com/", "https://KEYS.example.com@evil.com", "x",
      ] {
        let headers = ["Cookie": cookie, "Origin": origin]
        expectProblem(
          try await portal.post("/v1/keys", body, headers: headers), 403, "origin_not_allowed", "\(origin)")
        expectProblem(
          try await portal.delete("/v1/keys/018f4e6a-0000-7000-8000-000000000000", headers: headers), 403,
          "origin_not_allowed", "\(origin)")
        expectProblem(try await portal.post("/v1/logout", headers: headers), 403, "origin_not_allowed", "\(origin)")
        #expect(try await portal.get("/v1/keys", headers: headers).status == 200)
      }
      #expect(try await portal.keyCount() == 0)
      let own = ["Cookie": cookie, "Origin": Self.https]
      #expect(try await portal.post("/v1/keys", body, headers: own).status == 201)
    }
  }

  @Test(
    "a bearer token is never sent by the browser itself, so it needs no origin, and it takes precedence over the cookie"
  )
  func bearer() async throws {
    try await withPortalOverHTTPS { portal in
      let (ada, eve) = (try await portal.signUp(), try await portal.signUp("eve@example.com"))
      let answer = try await portal.post(
        "/v1/keys", #"{"name":"n","scopes":["a"]}"#, token: ada.token,
        headers: ["Cookie": "__Host-latchkey=" + eve.token, "Origin": "https://elsewhere.example.com"])
      #expect(answer.status == 201)
      #expect(try await ada.get("/v1/keys").body["keys"].array.count == 1)
      #expect(try await eve.get("/v1/keys").body["keys"].array.isEmpty)
    }
  }

  @Test(
    "a public URL is https, or http on this machine, without a path",
    arguments: [
      ("https://keys.example.com", "https://keys.example.com"),
      ("https://keys.example.com/", "https://keys.example.com"),
      ("https://keys.example.com:8443", "https://keys.example.com:8443"),
      ("http://127.0.0.1:8080", "http://127.0.0.1:8080"), ("http://localhost", "http://localhost"),
      ("http://localhost:1/", "http://localhost:1"), ("http://[::1]:8080", "http://[::1]:8080"),
      ("http://keys.example.com", nil), ("http://127.0.0.2", nil), ("http://localhost.example.com", nil),
      ("http://10.0.0.1:8080", nil), ("ftp://keys.example.com", nil), ("keys.example.com", nil), ("", nil),
      ("https://", nil), ("https:///", nil), ("https://keys.example.com/portal", nil),
      ("https://keys.example.com/?a=b", nil), ("https://keys.example.com?", nil), ("https://keys.example.com/#a", nil),
      ("//keys.example.com", nil), ("https://user@keys.example.com", nil), ("https://user:pw@keys.example.com", nil),
      ("HTTPS://Keys.Example.com", "https://keys.example.com"),
      ("https://keys.example.com:443", "https://keys.example.com"),
      ("http://localhost:80", "http://localhost"),
    ] as [(String, String?)])
  func publicURL(_ url: String, _ origin: String?) {
    #expect(SessionCookie(publicURL: url)?.origin == origin)
  }
}
