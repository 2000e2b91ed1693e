import Foundation
import HTTPTypes
import HummingbirdTesting
import NIOCore
import Portal
import PortalHTTP
import PortalPages
import PortalTesting
import Testing

/// An answer to a browser, whose header fields and HTML have been checked.
struct PageAnswer {
  let status: Int
  let headers: HTTPFields
  let text: String
  let document: HTMLDocument?

  var location: String? { headers[.location] }

  /// The text between tags, with spaces for line breaks.
  func says(_ words: String) -> Bool {
    text.replacing(/<[^>]*>/, with: "").replacing(/\s+/, with: " ").contains(words)
  }

  /// The key or the code that the page shows to be copied.
  var secret: String? {
    text.firstMatch(of: /<pre class="secret"[^>]*><code>([^<]*)<\/code>/).map { String($0.1) }
  }
}

/// The fields of a form, in their order.
struct Fields: ExpressibleByDictionaryLiteral {
  var pairs: [(String, String)]

  init(dictionaryLiteral pairs: (String, String)...) { self.pairs = pairs }

  func setting(_ name: String, _ value: String) -> Fields {
    var fields = self
    fields.pairs = pairs.map { ($0, $0 == name ? value : $1) }
    return fields
  }
}

/// A browser without JavaScript: it keeps the session's cookie, and sends forms as browsers do.
final class Browser: Sendable {
  static let origin = "http://127.0.0.1:8080"

  let portal: TestPortal
  private let jar = Jar()

  /// The only mutable state. One test uses it from one task.
  private actor Jar {
    var token: String?
    func set(_ token: String?) { self.token = token }
  }

  init(_ portal: TestPortal) { self.portal = portal }

  /// A browser that is signed in with a session of the API.
  static func signedIn(_ customer: TestCustomer) async -> Browser {
    let browser = Browser(customer.portal)
    await browser.jar.set(customer.token)
    return browser
  }

  static func signedIn(_ portal: TestPortal, token: String) async -> Browser {
    let browser = Browser(portal)
    await browser.jar.set(token)
    return browser
  }

  /// The session's token.
  var token: String? { get async { await jar.token } }

  func get(
    _ path: String, headers: [String: String] = [:], sourceLocation: SourceLocation = #_sourceLocation
  ) async throws -> PageAnswer {
    try await send(.get, path, nil, headers, sourceLocation)
  }

  /// Sends a form, as a page of `origin`.
  func post(
    _ path: String, _ fields: Fields = [:], origin: String? = Browser.origin,
    site: String? = "same-origin", sourceLocation: SourceLocation = #_sourceLocation
  ) async throws -> PageAnswer {
    let body = fields.pairs.map { Self.encoded($0) + "=" + Self.encoded($1) }.joined(separator: "&")
    portal.database.sweep.note(fields)
    var headers = ["Content-Type": "application/x-www-form-urlencoded"]
    headers["Origin"] = origin
    headers["Sec-Fetch-Site"] = site
    return try await send(.post, path, body, headers, sourceLocation)
  }

  /// Percent-encodes all but letters and digits, as forms may be.
  private static func encoded(_ text: String) -> String {
    text.replacing("\n", with: "\r\n").utf8.map { byte in
      byte == UInt8(ascii: " ") ? "+" : String(format: "%%%02X", byte)
    }.joined()
  }

  private func send(
    _ method: HTTPRequest.Method, _ path: String, _ body: String?, _ headers: [String: String],
    _ sourceLocation: SourceLocation
  ) async throws -> PageAnswer {
    var fields: HTTPFields = [.accept: "text/html,application/xhtml+xml,*/*;q=0.8", .userAgent: "Browser"]
    for (name, value) in headers { fields[try #require(HTTPField.Name(name))] = value }
    if let token = await jar.token { fields[.cookie] = "latchkey=" + token }
    let answer = try await portal.client.execute(
      uri: path, method: method, headers: fields, body: body.map { ByteBuffer(string: $0) }
    ) { response in
      let text = String(buffer: response.body)
      let isHTML = response.headers[.contentType] == "text/html; charset=utf-8"
      return PageAnswer(
        status: response.status.code, headers: response.headers, text: text,
        document: isHTML ? HTMLDocument(text) : nil)
    }
    if let cookie = answer.headers[.setCookie]?.firstMatch(of: #/^latchkey=([^;]*); Path=/#) {
      await jar.set(cookie.1.isEmpty ? nil : String(cookie.1))
    }
    if let document = answer.document {
      #expect(document.problems == [], "\(method) \(path)", sourceLocation: sourceLocation)
      #expect(answer.headers[.cacheControl] == "no-store", "\(method) \(path)", sourceLocation: sourceLocation)
    }
    #expect(
      answer.headers[.contentSecurityPolicy] == PageMiddleware.contentSecurityPolicy, "\(method) \(path)",
      sourceLocation: sourceLocation)
    for (name, value) in [
      ("Referrer-Policy", "same-origin"), ("X-Content-Type-Options", "nosniff"),
      ("Cross-Origin-Opener-Policy", "same-origin"), ("Cross-Origin-Resource-Policy", "same-origin"),
    ] {
      #expect(
        HTTPField.Name(name).flatMap { answer.headers[$0] } == value, "\(name) at \(method) \(path)",
        sourceLocation: sourceLocation)
    }
    return answer
  }
}

extension SecretsSweep {
  /// Remembers the passwords of a form.
  fileprivate func note(_ fields: Fields) {
    for (name, value) in fields.pairs where ["password", "newPassword"].contains(name) { note(value) }
  }
}

extension Browser {
  /// Creates a key by the form. Returns its id and its secret.
  func createKey(
    _ name: String = "billing worker", sourceLocation: SourceLocation = #_sourceLocation
  ) async throws -> (id: String, secret: String) {
    let form = try #require(try await get("/keys/new").document)
    let answer = try await post("/keys", Self.newKey(name, once: try #require(form.value("once"))))
    #expect(answer.status == 201, sourceLocation: sourceLocation)
    let link = answer.document?.all("a").compactMap { $0.attributes["href"] }.first { $0.hasPrefix("/keys/0") }
    return (String(try #require(link).dropFirst(6)), try #require(answer.secret))
  }

  static func newKey(
    _ name: String = "billing worker", scopes: String = "orders:read\norders:write", once: String,
    expires: String = "90"
  ) -> Fields {
    [
      "name": name, "environment": "live", "scopes": scopes, "expires": expires, "expiresOn": "",
      "rateLimitPerMinute": "60", "allowedIPs": "", "tags": "billing", "description": "", "once": once,
    ]
  }
}
