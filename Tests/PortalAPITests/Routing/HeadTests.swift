import Foundation
import Portal
import PortalApplication
import PortalHTTP
import PortalTesting
import PostgresTesting
import Testing

/// An answer to GET or HEAD, as it was sent.
private struct SentAnswer {
  let status: Int
  /// By name in lower case.
  let fields: [String: String]
  /// Everything that was sent after the head.
  let rest: Substring

  init(_ text: String) throws {
    let end = try #require(text.firstRange(of: "\r\n\r\n"), "no head: \(text.prefix(200))")
    let lines = text[..<end.lowerBound].split(separator: "\r\n")
    let match = try #require(lines.first?.wholeMatch(of: /HTTP\/1\.[01] (\d{3}) .*/), "\(text.prefix(200))")
    status = try #require(Int(match.1))
    fields = Dictionary(
      lines.dropFirst().map { line in
        let parts = line.split(separator: ":", maxSplits: 1)
        return (parts[0].lowercased(), parts.count > 1 ? parts[1].trimmingCharacters(in: .whitespaces) : "")
      }
    ) { $0 + ", " + $1 }
    rest = text[end.upperBound...]
  }
}

@Suite("HEAD")
struct HeadTests {
  @Test(
    "HEAD is answered wherever GET is, with the same status and fields, and without a body",
    arguments: ["*/*", "text/csv, application/x-ndjson"])
  func everywhere(_ accept: String) async throws {
    try await withPortal(.live) { portal in
      let customer = try await portal.signUp()
      let key = try await customer.createKey().id
      let staff = try await portal.logInStaff(role: .admin)
      let token = try await portal.makeToken(ServiceToken.Permission.allCases)
      try await portal.makeCatalog()
      var (foundCount, streamedCount) = (0, 0)
      for route in portal.application.table.all where route.hasPrefix("GET ") {
        let id = route.contains("/accounts/") ? customer.accountID.uuidString.lowercased() : key
        let path = route.dropFirst(4).replacing("{id}", with: id).replacing("{keyId}", with: key)
          .replacing("{code}", with: "not_found").replacing("{api}", with: "orders")
          .replacing("{permission}", with: "a").replacing("{role}", with: "pro")
          .replacing("{namespace}", with: "emails").replacing("{override}", with: TestPortal.overrideID)
        let isForTokens = ["analytics", "accounts/", "apis", "permissions", "roles", "limits"]
          .contains { path.hasPrefix("/v1/" + $0) }
        let bearer = path.hasPrefix("/v1/support") ? staff : isForTokens ? token : customer.token
        let fields =
          "\(path) HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer \(bearer)\r\nX-Latchkey-Token: \(token)\r\n"
          + "Accept: \(accept)\r\nConnection: close\r\n\r\n"
        let first = try SentAnswer(try await exchange(portal, "GET " + fields))
        let head = try SentAnswer(try await exchange(portal, "HEAD " + fields))
        let second = try SentAnswer(try await exchange(portal, "GET " + fields))
        #expect(head.status == first.status, "\(route)")
        #expect(head.fields.keys.sorted() == first.fields.keys.sorted(), "\(route)")
        // Others differ from one answer to the next, such as the id of the request.
        for (name, value) in first.fields where second.fields[name] == value {
          #expect(head.fields[name] == value, "\(name) of \(route)")
        }
        #expect(head.rest.isEmpty, "\(route)")
        if first.status == 200 { foundCount += 1 }
        if first.fields["content-length"] == nil { streamedCount += 1 }
      }
      #expect(foundCount > 30)
      #expect(streamedCount >= (accept == "*/*" ? 1 : 6))
    }
  }

  @Test("on the connection of a HEAD, the next answer follows the head, whether or not the size of the body is known")
  func persistence() async throws {
    try await withPortal(.live) { portal in
      let customer = try await portal.signUp()
      for path in ["/v1/me", "/v1/me/export", "/v1/nowhere"] {
        for version in ["1.1", "1.0"] {
          let fields = "HTTP/\(version)\r\nHost: a\r\nAuthorization: Bearer \(customer.token)\r\n"
          let keeping = version == "1.0" ? "Connection: keep-alive\r\n" : ""
          let text = try await exchange(
            portal, "HEAD \(path) \(fields)\(keeping)\r\nGET /healthz \(fields)Connection: close\r\n\r\n")
          let head = try SentAnswer(text)
          #expect(head.status == (path == "/v1/nowhere" ? 404 : 200))
          let answers = try rawAnswers(in: String(head.rest))
          #expect(answers.count == 1 && answers[0].body["status"].string == "ok", "\(path) \(version)")
        }
      }
    }
  }
}
