import PortalAPI
import PortalHTTP
import PortalTesting
import Testing

@Suite("Pages of other origins")
struct CrossOriginsTests {
  private static let page = "https://app.example.com"

  private func withOrigins(_ body: @escaping @Sendable (TestPortal) async throws -> Void) async throws {
    let origins = try #require(CrossOrigins("https://app.example.com, https://other.example.com:8443/"))
    try await withPortal(configure: { $0.crossOrigins = origins }, body)
  }

  private func preflight(_ portal: TestPortal, _ path: String, _ origin: String) async throws -> TestAnswer {
    try await portal.request(
      "OPTIONS", path,
      headers: [
        "Origin": origin, "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization,content-type",
      ])
  }

  @Test("a preflight request from a configured origin gets the allowed methods and headers, without cookies")
  func preflights() async throws {
    try await withOrigins { portal in
      for origin in [Self.page, "https://other.example.com:8443"] {
        let answer = try await preflight(portal, "/v1/keys", origin)
        #expect(answer.status == 204)
        #expect(answer.header("Access-Control-Allow-Origin") == origin)
        #expect(answer.header("Access-Control-Allow-Methods") == "GET, HEAD, POST")
        #expect(
          answer.header("Access-Control-Allow-Headers")
            == "Authorization, Content-Type, Idempotency-Key, If-Match, If-None-Match")
        #expect(answer.header("Access-Control-Max-Age") == "600")
        #expect(answer.header("Access-Control-Allow-Credentials") == nil)
        #expect(answer.header("Vary") == "Origin" && answer.header("X-Request-Id") != nil)
      }
    }
  }

  @Test("pages of configured origins can read answers, including errors, and their headers")
  func answers() async throws {
    try await withOrigins { portal in
      let customer = try await portal.signUp()
      let headers = ["Origin": Self.page]
      let list = try await portal.get("/v1/keys", token: customer.token, headers: headers)
      let nobody = try await portal.get("/v1/keys", headers: headers)
      let nowhere = try await portal.get("/v1/nowhere", headers: headers)
      #expect([list.status, nobody.status, nowhere.status] == [200, 401, 404])
      for answer in [list, nobody, nowhere] {
        #expect(answer.header("Access-Control-Allow-Origin") == Self.page)
        #expect(answer.header("Access-Control-Expose-Headers")?.contains("X-Request-Id") == true)
        #expect(answer.header("Access-Control-Allow-Credentials") == nil)
        #expect(answer.header("Vary") == "Origin")
      }
    }
  }

  @Test("other origins get no permission, and no origin does on the routes of gateways")
  func others() async throws {
    try await withOrigins { portal in
      let strangers = [
        "https://evil.example.com", "http://app.example.com", "https://app.example.com:444", "null", "*", "",
        "https://app.example.com, https://app.example.com", "https://app.example.com.evil.example.com",
      ]
      for origin in strangers {
        expectProblem(try await preflight(portal, "/v1/keys", origin), 405, "method_not_allowed", "\(origin)")
        let answer = try await portal.get("/v1/keys", headers: ["Origin": origin])
        #expect(answer.header("Access-Control-Allow-Origin") == nil, "\(origin)")
        #expect(answer.header("Vary") == "Origin")
      }
      for path in ["/v1/verify", "/v1/verify/batch", "/v1/authorize"] {
        let answer = try await preflight(portal, path, Self.page)
        #expect(answer.status == 405 && answer.header("Access-Control-Allow-Origin") == nil, "\(path)")
      }
      expectProblem(try await preflight(portal, "/v1/nowhere", Self.page), 404, "not_found")
      expectProblem(try await preflight(portal, "/v1/keys/", Self.page), 404, "not_found")
    }
  }

  @Test("a configured origin cannot make changes with a cookie")
  func cookies() async throws {
    try await withOrigins { portal in
      let customer = try await portal.signUp()
      let answer = try await portal.post(
        "/v1/keys", #"{"name":"n","scopes":["a"]}"#,
        headers: ["Cookie": "latchkey=" + customer.token, "Origin": Self.page])
      expectProblem(answer, 403, "origin_not_allowed")
    }
  }

  @Test("without configured origins there are no CORS headers")
  func none() async throws {
    try await withPortal { portal in
      expectProblem(try await preflight(portal, "/v1/keys", Self.page), 405, "method_not_allowed")
      let answer = try await portal.get("/healthz", headers: ["Origin": Self.page])
      #expect(answer.header("Access-Control-Allow-Origin") == nil && answer.header("Vary") == nil)
    }
  }

  @Test(
    "origins are written as browsers write them; anything else is refused",
    arguments: [
      ("", true), ("https://app.example.com", true), ("https://a.example, https://b.example:8443", true),
      ("http://localhost:3000", true), ("http://app.example.com", false), ("*", false), ("app.example.com", false),
      ("https://app.example.com/path", false), ("https://a.example,", false), ("null", false),
      ("https://*.example.com", false),
    ])
  func parsed(_ text: String, _ isAllowed: Bool) {
    #expect((CrossOrigins(text) != nil) == isAllowed)
  }
}
