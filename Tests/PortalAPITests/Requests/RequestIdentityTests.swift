import Foundation
import Portal
import PortalTesting
import Testing

@testable import PortalAPI
@testable import PortalHTTP

@Suite("Request ids")
struct RequestIdentityTests {
  private static let traceID = "4bf92f3577b34da6a3ce929d0e0e4736"
  private static let traceparent = "00-\(traceID)-00f067aa0ba902b7-01"

  @Test("the server's own ids have 32 digits and are unique")
  func ownIDs() {
    let ids = (0..<1_000).map { _ in RequestIDs().next() }
    #expect(Set(ids).count == ids.count)
    #expect(ids.allSatisfy { $0.wholeMatch(of: /[0-9a-f]{32}/) != nil })
    // One prefix in sixteen begins with a zero.
    #expect(ids.contains { $0.hasPrefix("0") })
  }

  @Test(
    "an id is accepted if it is visible ASCII without quotes, and not too long",
    arguments: [
      ("a", true), ("4bf92f35-77b3", true), ("Root=1-67891233-abcdef;o=1/+~", true),
      (String(repeating: "a", count: 128), true),
      (String(repeating: "a", count: 129), false), ("", false), ("a b", false), ("a\"b", false), ("a'b", false),
      ("a\\b", false), ("a`b", false), ("a\tb", false), ("a\u{7F}", false), ("é", false),
    ])
  func ids(_ text: String, _ isID: Bool) {
    let bytes = Array(text.utf8)
    let isTaken = RequestIdentity.isID(bytes.span)
    #expect(isTaken == isID)
  }

  @Test(
    "a traceparent is accepted if it is valid",
    arguments: [
      (traceparent, true), ("cc-\(traceID)-00f067aa0ba902b7-01", true),
      ("cc-\(traceID)-00f067aa0ba902b7-01-more", true),
      ("00-\(traceID)-00f067aa0ba902b7-01-", false), ("00-\(traceID)-00f067aa0ba902b7-01-more", false),
      ("cc-\(traceID)-00f067aa0ba902b7-01.more", false), ("ff-\(traceID)-00f067aa0ba902b7-01", false),
      ("00-\(traceID.uppercased())-00f067aa0ba902b7-01", false), ("00-\(traceID)-0000000000000000-01", false),
      ("00-00000000000000000000000000000000-00f067aa0ba902b7-01", false), ("00-\(traceID)-00f067aa0ba902b7-0", false),
      ("00-\(traceID)-00f067aa0ba902b7-0g", false), ("00_\(traceID)-00f067aa0ba902b7-01", false),
      ("0-\(traceID)-00f067aa0ba902b7-011", false), ("", false), (traceID, false), (" " + traceparent, false),
    ])
  func traces(_ text: String, _ isTaken: Bool) {
    let bytes = Array(text.utf8)
    let place = RequestIdentity.traceID(in: bytes.span)
    #expect((place != nil) == isTaken)
    if let place { #expect(String(decoding: bytes[place], as: UTF8.self) == Self.traceID) }
  }

  private func withPortal(
    trusting proxies: String, hasFastPath: Bool = true, _ body: @escaping @Sendable (TestPortal) async throws -> Void
  ) async throws {
    let proxies = try #require(TrustedProxies(proxies))
    try await PortalTesting.withPortal(
      .live,
      configure: {
        $0.trustedProxies = proxies
        $0.hasFastPath = hasFastPath
      }, body)
  }

  @Test("the id of a trusted proxy is returned, on every route and in problems; other ids are not")
  func answered() async throws {
    for (proxies, isTrusted) in [("127.0.0.1", true), ("10.0.0.0/8", false), ("", false)] {
      for hasFastPath in [true, false] {
        try await withPortal(trusting: proxies, hasFastPath: hasFastPath) { portal in
          let customer = try await portal.signUp()
          let token = try await portal.makeToken()
          let (_, key) = try await customer.createKey()
          let headers = ["X-Request-Id": "proxy-7", "traceparent": Self.traceparent]
          for _ in 0..<3 {
            for answer in [
              try await portal.get("/healthz", headers: headers), try await portal.get("/nowhere", headers: headers),
              try await portal.post("/v1/verify", "{\"key\":\"\(key)\"}", token: token, headers: headers),
              try await portal.post(
                "/v1/verify/batch", "{\"requests\":[{\"key\":\"\(key)\"}]}", token: token, headers: headers),
              try await portal.get(
                "/v1/authorize", headers: headers.merging(["X-Latchkey-Token": token, "X-API-Key": key]) { $1 }),
            ] {
              #expect((answer.header("X-Request-Id") == "proxy-7") == isTrusted)
              #expect(answer.header("traceparent") == nil)
              if answer.status == 404 { expectProblem(answer, 404, "not_found") }
            }
          }
          for id in ["a b", "a\"b", String(repeating: "a", count: 129), ""] {
            for answer in [
              try await portal.get("/healthz", headers: ["X-Request-Id": id]),
              try await portal.post("/v1/verify", "{\"key\":\"\(key)\"}", token: token, headers: ["X-Request-Id": id]),
            ] {
              #expect(answer.header("X-Request-Id")?.wholeMatch(of: /[0-9a-f]{32}/) != nil)
            }
          }
        }
      }
    }
  }

  @Test("if there are two ids, neither is accepted")
  func twice() async throws {
    try await withPortal(trusting: "127.0.0.1") { portal in
      let answers = try await answers(
        portal,
        "GET /healthz HTTP/1.1\r\nHost: a\r\nX-Request-Id: one\r\nX-Request-Id: two\r\nConnection: close\r\n\r\n")
      #expect(answers.first?.headers["x-request-id"]?.wholeMatch(of: /[0-9a-f]{32}/) != nil)
    }
  }

  @Test("the log lines of a request have its id and its trace")
  func logged() async throws {
    for (proxies, isTrusted) in [("127.0.0.1", true), ("", false)] {
      try await withPortal(trusting: proxies) { portal in
        let customer = try await portal.signUp()
        try await portal.script("alter table api_keys rename key_hash to h")
        let answer = try await portal.post(
          "/v1/keys", #"{"name":"n","scopes":["a"]}"#, token: customer.token,
          headers: ["X-Request-Id": "proxy-8", "traceparent": Self.traceparent])
        #expect(answer.status == 500)
        let id = try #require(answer.header("X-Request-Id"))
        let lines = portal.log.filter { $0.hasPrefix("error request failed") }
        #expect(lines.count == 1 && lines.allSatisfy { $0.contains(id) })
        #expect(lines.allSatisfy { ($0.contains(Self.traceID) && $0.contains("proxy-8")) == isTrusted })
      }
    }
  }
}
