package import Foundation
package import Hummingbird
import JSON
package import Portal

/// The session cookie, and the origin from which browsers may make changes with it.
package struct SessionCookie: Sendable {
  /// Scheme, host and port of the portal as browsers see it, without a slash at the end.
  package let origin: String
  let name: String
  /// Whether browsers use https.
  package let isSecure: Bool

  /// Over https, the cookie is bound to the host and to TLS (RFC 6265bis, `__Host-`). Plain http is only for this
  /// machine, so nil for any other host.
  package init?(publicURL: String) {
    guard let url = URLComponents(string: publicURL), let scheme = url.scheme?.lowercased(),
      let host = url.host?.lowercased(), !host.isEmpty, url.user == nil, url.password == nil, url.query == nil,
      url.fragment == nil, ["", "/"].contains(url.path)
    else { return nil }
    let isLocal = ["127.0.0.1", "localhost", "[::1]", "::1"].contains(host)
    guard scheme == "https" || (scheme == "http" && isLocal) else { return nil }
    isSecure = scheme == "https"
    name = isSecure ? "__Host-latchkey" : "latchkey"
    // As browsers write it: without the scheme's default port.
    let port = url.port.map { $0 == (scheme == "https" ? 443 : 80) ? "" : ":\($0)" } ?? ""
    origin = scheme + "://" + host + port
  }

  package func header(_ token: Secret, expiresAt: Date, at now: Date) -> String {
    header(value: token.reveal(), maxAge: max(0, Int(bounding: expiresAt.timeIntervalSince(now))))
  }

  package var clearingHeader: String { header(value: "", maxAge: 0) }

  package func token(in request: Request) -> Secret? {
    request.cookies[name].flatMap { $0.value.isEmpty ? nil : Secret(presented: $0.value) }
  }

  /// Refuses a change that a page of another origin made a browser send. The browser adds the cookie by itself; it does
  /// not add a bearer token, which therefore needs no such check.
  func checkOrigin(of request: Request) throws {
    if [.get, .head, .options].contains(request.method) { return }
    guard request.headers[.origin] == origin else {
      throw Problem(
        .forbidden, .originNotAllowed, "Changes with the session cookie are only accepted from \(self.origin).")
    }
  }

  private func header(value: String, maxAge: Int) -> String {
    "\(name)=\(value); Path=/; Max-Age=\(maxAge); HttpOnly; SameSite=Lax" + (isSecure ? "; Secure" : "")
  }
}

extension Request {
  /// The token of `Authorization: Bearer …` (RFC 6750).
  package var bearer: Secret? {
    guard let header = headers[.authorization] else { return nil }
    let parts = header.split(separator: " ", maxSplits: 1)
    guard parts.count == 2, parts[0].lowercased() == "bearer", parts[1].utf8.count <= Secret.lengthMax else {
      return nil
    }
    return Secret(presented: parts[1].trimmingCharacters(in: .whitespaces))
  }
}
