import Foundation
import HTTPTypes
import Portal
import PortalApplication
import PortalHTTP
import PortalPages
import PortalTesting
import PortalViews
import Postgres
import PostgresTesting
import Testing

@Suite("Requests for pages")
struct PageMiddlewareTests {
  /// Who may use each route: anybody, or the members with a permission.
  private static let access: [String: MemberPermission?] = [
    "GET /": .none, "GET /assets/{hash}/{name}": .none, "GET /login": .none, "POST /login": .none,
    "GET /signup": .none, "POST /signup": .none, "GET /password/forgot": .none, "POST /password/forgot": .none,
    "GET /password/reset": .none, "POST /password/reset": .none, "GET /email/verify": .none,
    "POST /email/verify": .none, "GET /invitations/accept": .none, "POST /invitations/accept": .none,
    "POST /logout": .useSession, "GET /overview": .readKeys, "GET /usage": .readUsage, "GET /audit": .readAudit,
    "GET /keys": .readKeys, "GET /keys/new": .changeKeys, "POST /keys": .changeKeys, "GET /keys/{id}": .readKeys,
    "POST /keys/{id}/check": .readKeys, "GET /keys/{id}/edit": .changeKeys, "POST /keys/{id}/edit": .changeKeys,
    "GET /keys/{id}/roll": .changeKeys, "POST /keys/{id}/roll": .changeKeys, "GET /keys/{id}/revoke": .changeKeys,
    "POST /keys/{id}/revoke": .changeKeys, "POST /keys/{id}/disable": .changeKeys,
    "POST /keys/{id}/enable": .changeKeys, "GET /members": .readMembers, "POST /members/{id}/role": .changeMembers,
    "GET /members/{id}/remove": .useSession, "POST /members/{id}/remove": .useSession,
    "POST /invitations": .changeMembers, "POST /invitations/{id}/revoke": .changeMembers, "GET /me": .useSession,
    "POST /me/password": .useSession, "POST /me/sessions/end-others": .useSession,
    "POST /me/sessions/{id}/end": .useSession, "POST /accounts/{id}/switch": .useSession,
  ]

  private func parts(of route: String) -> (isPost: Bool, path: String) {
    let path = String(route.drop { $0 != "/" }).replacing("{id}", with: "018f4e6a-0000-7000-8000-000000000000")
      .replacing("{hash}", with: Asset.stylesheet.hash).replacing("{name}", with: Asset.stylesheet.name)
    return (route.hasPrefix("POST"), path)
  }

  @Test("every route is in this list, and requires what it says")
  func table() async throws {
    try await withPortal { portal in
      let table = portal.application.pageTable
      #expect(table.all == Self.access.keys.sorted())
      #expect(table.permissions == Self.access.compactMapValues { $0 })
      #expect(table.staffPermissions.isEmpty && table.tokenPermissions.isEmpty)
    }
  }

  @Test("without a session, every page of members leads to signing in, and nothing is done")
  func withoutSession() async throws {
    try await withPortal { portal in
      _ = try await portal.signUp()
      let rows = try await portal.pool.query(CountRows())
      for (route, permission) in Self.access where permission != nil {
        let (isPost, path) = parts(of: route)
        let answer = isPost ? try await Browser(portal).post(path) : try await Browser(portal).get(path)
        #expect(answer.status == 303 && answer.location?.hasPrefix("/login") == true, "\(route)")
      }
      #expect(try await portal.pool.query(CountRows()) == rows)
    }
  }

  @Test("members without the permission get a page that says so")
  func withoutPermission() async throws {
    try await withPortal { portal in
      let ada = try await portal.signUp()
      let viewer = try await ada.makeMember("viewer@example.com", .viewer)
      for (route, permission) in Self.access {
        guard let permission, !MemberRole.viewer.permits(permission) else { continue }
        let browser = await Browser.signedIn(portal, token: viewer.token)
        let (isPost, path) = parts(of: route)
        let answer = isPost ? try await browser.post(path) : try await browser.get(path)
        #expect(answer.status == 403 && answer.says("You may not do this"), "\(route)")
      }
      let browser = await Browser.signedIn(portal, token: viewer.token)
      for path in ["/overview", "/keys", "/members"] {
        let page = try await browser.get(path)
        #expect(page.status == 200 && !page.text.contains("href=\"/keys/new\""), "\(path)")
      }
    }
  }

  @Test(
    "a form of another origin is refused, with a session and without",
    arguments: [
      ("https://evil.example", "cross-site"), (nil, "same-origin"), (nil, nil), ("null", "cross-site"),
      ("http://127.0.0.1:8080", "cross-site"), ("http://127.0.0.1:8080", "same-site"),
      ("http://127.0.0.1:8081", "same-site"), ("http://localhost:8080", "same-origin"),
    ] as [(String?, String?)])
  func otherOrigins(_ origin: String?, _ site: String?) async throws {
    try await withPortal { portal in
      let ada = try await portal.signUp()
      let browser = await Browser.signedIn(ada)
      let rows = try await portal.pool.query(CountRows())
      for route in Self.access.keys where route.hasPrefix("POST") {
        let answer = try await browser.post(
          parts(of: route).path,
          ["email": "ada@example.com", "password": "correct horse battery", "accountName": "Eve"], origin: origin,
          site: site)
        #expect(answer.status == 403 && answer.says("The form came from elsewhere"), "\(route)")
        #expect(answer.headers[.setCookie] == nil, "\(route)")
      }
      #expect(try await portal.pool.query(CountRows()) == rows)
      #expect(try await browser.get("/overview").status == 200)
    }
  }

  @Test("a browser that does not send Sec-Fetch-Site is judged by its origin alone")
  func oldBrowsers() async throws {
    try await withPortal { portal in
      let browser = await Browser.signedIn(try await portal.signUp())
      #expect(try await browser.post("/logout", site: nil).location == "/login")
    }
  }

  @Test("the start leads browsers on, and programs find what they found before")
  func start() async throws {
    try await withPortal { portal in
      let ada = try await portal.signUp()
      #expect(try await Browser(portal).get("/").location == "/login")
      #expect(try await Browser.signedIn(ada).get("/").location == "/overview")
      for path in ["/", "/nothing", "/v1/nothing"] {
        let answer = try await portal.get(path)
        #expect(answer.status == 404 && answer.code == "not_found", "\(path)")
      }
      let missing = try await Browser(portal).get("/nothing")
      #expect(missing.status == 404 && missing.says("There is nothing here"))
      let api = try await portal.get("/v1/nothing", headers: ["Accept": "text/html"])
      #expect(api.status == 404 && api.code == "not_found")
    }
  }

  @Test("with a wrong method, the answer names the right ones")
  func methods() async throws {
    try await withPortal { portal in
      let answer = try await Browser(portal).get("/logout")
      #expect(answer.status == 405 && answer.headers[.allow] == "POST")
    }
  }

  @Test("requests are limited as those of the API are, and the page says for how long")
  func limits() async throws {
    try await withPortal(.live, configure: { $0.requestsPerMinute.address = 2 }) { portal in
      let browser = Browser(portal)
      for _ in 0..<2 { #expect(try await browser.get("/login").status == 200) }
      let refused = try await browser.get("/login")
      #expect(refused.status == 429 && refused.says("Too many requests") && refused.headers[.retryAfter] != nil)
    }
  }

  @Test("assets may be kept for ever under their own address, and not under another")
  func assets() async throws {
    try await withPortal { portal in
      for asset in Asset.all {
        let answer = try await Browser(portal).get(asset.link.text)
        #expect(answer.status == 200 && answer.headers[.contentType] == asset.type)
        #expect(answer.headers[.cacheControl] == "public, max-age=31536000, immutable")
        #expect(Array(answer.text.utf8) == asset.bytes)
        let other = try await Browser(portal).get("/assets/0123456789/\(asset.name)")
        #expect(other.status == 200 && other.headers[.cacheControl] == "no-store")
      }
      #expect(try await Browser(portal).get("/assets/0123456789/other.css").status == 404)
      let page = try await Browser(portal).get("/login")
      #expect(page.document?.all("link").first?.attributes["href"] == Asset.stylesheet.link.text)
    }
  }

  @Test("over https, browsers are told to stay there, and the cookie is bound to the host")
  func https() async throws {
    try await withPortal(configure: { settings in
      if let cookie = SessionCookie(publicURL: "https://keys.example.com") { settings.cookie = cookie }
    }) { portal in
      _ = try await portal.signUp()
      let answer = try await Browser(portal).post(
        "/login", ["email": "ada@example.com", "password": "correct horse battery"],
        origin: "https://keys.example.com")
      #expect(answer.status == 303 && answer.headers[.strictTransportSecurity] == "max-age=31536000")
      let cookie = answer.headers[.setCookie] ?? ""
      #expect(cookie.hasPrefix("__Host-latchkey=lk_session_") && !cookie.contains("Domain"))
      for part in ["; Path=/;", "; HttpOnly", "; SameSite=Lax", "; Secure"] { #expect(cookie.contains(part)) }
      try portal.database.sweep.check(portal.log.joined(), "the log")
    }
  }

  @Test("PAGES=false leaves the API alone there")
  func off() async throws {
    try await withPortal(configure: { $0.hasPages = false }) { portal in
      #expect(portal.application.pageTable.all.isEmpty)
      for path in ["/", "/login", "/keys"] {
        let answer = try await portal.get(path, headers: ["Accept": "text/html"])
        #expect(answer.status == 404 && answer.code == "not_found", "\(path)")
        #expect(answer.header("Content-Security-Policy") == nil)
      }
    }
  }
}
