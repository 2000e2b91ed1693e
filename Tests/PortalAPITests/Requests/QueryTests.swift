import Foundation
import Portal
import PortalApplication
import PortalTesting
import Testing

@testable import PortalAPI
@testable import PortalHTTP

@Suite("Query")
struct QueryTests {
  private func locations(_ text: String, _ known: [QueryParameter]) -> [String] {
    do throws(InvalidRequest) {
      try Query(text).check(known)
      return []
    } catch {
      return error.problems.map(\.location)
    }
  }

  @Test("values are decoded and in order, a plus stays a plus, and a parameter without a value is empty")
  func values() throws {
    let query = try Query("q=a%20b+c&tag=x&tag=%C3%A9&empty=&bare&&last=1=2")
    #expect(query.values("q") == ["a b+c"])
    #expect(query.values("tag") == ["x", "é"])
    #expect(query.values("empty") == [""] && query.values("bare") == [""])
    #expect(query.values("last") == ["1=2"])
    #expect(query.values("none").isEmpty)
  }

  @Test("an unknown parameter is refused once by its name, and so is a repeated one")
  func unknown() {
    #expect(locations("q=1&limit=2", ["q", "limit"]).isEmpty)
    #expect(locations("tag=1&tag=2", [.list("tag")]).isEmpty)
    #expect(locations("Q=1&limti=2&limti=3", ["q", "limit"]) == ["query.Q", "query.limti"])
    #expect(locations("q=1&q=1", ["q"]) == ["query.q"])
    #expect(locations("%71=1&q=2", ["q"]) == ["query.q"])
    #expect(locations("=1", ["q"]) == ["query."])
    #expect(locations("e\u{301}=1&\u{e9}=1", ["\u{e9}"]) == ["query.e\u{301}"])
    #expect(locations(String(repeating: "x", count: 1_000), []) == ["query." + String(repeating: "x", count: 64)])
  }

  @Test("a value that is not percent-encoded UTF-8 is refused at its parameter; for a name, the whole query is refused")
  func broken() {
    for text in ["q=%", "q=%4", "q=%4x", "q=%FF", "q=%C3", "q=%ED%A0%80"] {
      #expect(locations(text, ["q"]) == ["query.q"], "\(text)")
    }
    for text in ["%zz=1", "%FF=1", "%"] { #expect(locations(text, ["q"]) == ["query"], "\(text)") }
  }

  @Test("a query that is too long or has too many parameters is refused as a whole")
  func bounds() {
    #expect(locations("q=" + String(repeating: "a", count: Query.byteCountMax - 2), ["q"]).isEmpty)
    #expect(locations("q=" + String(repeating: "a", count: Query.byteCountMax - 1), ["q"]) == ["query"])
    let parameters = Array(repeating: "t=1", count: Query.parameterCountMax)
    #expect(locations(parameters.joined(separator: "&"), [.list("t")]).isEmpty)
    #expect(locations((parameters + ["t=1"]).joined(separator: "&"), [.list("t")]) == ["query"])
  }

  @Test("every route, with any method, refuses a parameter that it does not accept, with its location")
  func everywhere() async throws {
    try await withPortal { portal in
      let customer = try await portal.signUp()
      let staff = try await portal.logInStaff(role: .admin)
      let token = try await portal.makeToken(ServiceToken.Permission.allCases)
      let key = try await customer.createKey().key
      let rows = try await portal.rowCount()
      var counts: [String: Int] = [:]
      for route in portal.application.table.all {
        let parts = route.split(separator: " ").map(String.init)
        let path = parts[1].replacing("{id}", with: "\(UUID.version7())").replacing("{keyId}", with: "x")
          .replacing(/{[a-z]+}/, with: "small")
        let answers = try await [customer.token, staff, token, key].asyncMap {
          try await portal.request(parts[0], path + "?staus=revoked", token: $0)
        }
        let isRefused = answers.contains { $0.status == 400 && $0.locations == ["query.staus"] }
        // Gateways may pass the query of the request that they ask about.
        #expect(isRefused == (path != "/v1/authorize"), "\(route)")
        counts[parts[0], default: 0] += 1
      }
      #expect(counts.keys.sorted() == ["DELETE", "GET", "PATCH", "POST", "PUT"])
      #expect(counts.values.reduce(0, +) > 100)
      // Nothing was done: no session was ended, and nothing was created.
      #expect(try await portal.rowCount() == rows)
      #expect(try await customer.get("/v1/me").status == 200)
    }
  }

  @Test("a parameter that is sent twice is refused, unless the route accepts a list of it")
  func twice() async throws {
    try await withPortal { portal in
      let customer = try await portal.signUp()
      let analyst = try await portal.makeToken([.readAnalytics])
      for (path, token, location) in [
        ("/v1/keys?status=active&status=revoked", customer.token, "query.status"),
        ("/v1/keys?limit=1&tag=a&limit=1", customer.token, "query.limit"),
        ("/v1/keys?q=a&%71=b", customer.token, "query.q"), ("/v1/usage?days=1&days=1", customer.token, "query.days"),
        ("/v1/analytics/usage?groupBy=key&groupBy=account", analyst, "query.groupBy"),
      ] {
        expectProblem(try await portal.get(path, token: token), 400, "invalid_request", at: location, "\(path)")
      }
      #expect(try await customer.get("/v1/keys?tag=a&tag=b").status == 200)
    }
  }

  @Test("a parameter of another route is refused, and so is one in another spelling")
  func ofOthers() async throws {
    try await withPortal { portal in
      let analyst = try await portal.makeToken([.readAnalytics])
      for (path, location) in [
        ("top?days=7", "query.days"), ("growth?days=7", "query.days"), ("unused-keys?from=2026-01-01", "query.from"),
        ("usage?groupBy=account&accountID=\(UUID())", "query.accountID"),
      ] {
        let answer = try await portal.get("/v1/analytics/" + path, token: analyst)
        expectProblem(answer, 400, "invalid_request", at: location, "\(path)")
      }
    }
  }
}

extension [String] {
  fileprivate func asyncMap<Value>(_ transform: (String) async throws -> Value) async throws -> [Value] {
    var values: [Value] = []
    for element in self { values.append(try await transform(element)) }
    return values
  }
}
