import JSON
import Portal
import PortalAPI
import PortalHTTP
import PortalTesting
import Testing

@Suite("Service tokens restricted to one environment")
struct RestrictedTokenTests {
  private static let notFound = JSONValue.object([("valid", .bool(false)), ("code", .string("NOT_FOUND"))])

  @Test(
    "keys of the other environment are NOT_FOUND on every route, without details, and are not counted",
    arguments: [true, false])
  func verification(hasFastPath: Bool) async throws {
    try await withPortal(.live, configure: { $0.hasFastPath = hasFastPath }) { portal in
      let customer = try await portal.signUp()
      let live = try await customer.createKey()
      let test = try await customer.createKey(#","environment":"test","rateLimitPerMinute":1"#)
      let consistent = try await customer.createKey(#","environment":"test","rateLimitMode":"consistent""#)
      let token = try await portal.makeToken([.verifyKeys, .writeUsage], in: .live)
      // The first round runs before the token and the keys are in the cache.
      for _ in 1...3 {
        for key in [test.key, consistent.key] {
          let answer = try await portal.verify(key, token: token)
          #expect(answer.status == 200 && answer.body == Self.notFound)
          #expect(answer.header("RateLimit") == nil)
        }
        let batch = try await portal.post(
          "/v1/verify/batch",
          #"{"requests":[{"key":"\#(test.key)"},{"key":"\#(live.key)"},{"key":"\#(consistent.key)"}]}"#, token: token)
        #expect(batch.body["results"].array.map { $0["code"].string } == ["NOT_FOUND", "VALID", "NOT_FOUND"])
        #expect(batch.body["results"][0] == Self.notFound)
        for (key, status) in [(test.key, 401), (consistent.key, 401), (live.key, 200)] {
          let answer = try await portal.get("/v1/authorize", token: key, headers: ["X-Latchkey-Token": token])
          #expect(answer.status == status)
          #expect((answer.header("X-Latchkey-Key-Id") == nil) == (status == 401))
        }
        #expect(try await portal.verify(live.key, token: token).body["code"].string == "VALID")
      }
      // The one request per minute that the key allows is still available.
      let other = try await portal.makeToken([.verifyKeys], in: .test)
      #expect(try await portal.verify(live.key, token: other).body == Self.notFound)
      #expect(try await portal.verify(test.key, token: other).body["code"].string == "VALID")
      #expect(try await portal.verify(test.key, token: other).body["code"].string == "RATE_LIMITED")
      #expect(try await customer.usage(of: test.id)["summary"]["totalRequests"].integer == 2)
      #expect(try await customer.usage(of: consistent.id)["summary"]["totalRequests"].integer == 0)
      #expect(try await customer.usage(of: live.id)["summary"]["totalRequests"].integer == 9)
    }
  }

  @Test("reports for keys of the other environment are rejected as not_found")
  func reports() async throws {
    try await withPortal { portal in
      let customer = try await portal.signUp()
      let (live, test) = (try await customer.createKey().id, try await customer.createKey(#","environment":"test""#).id)
      let token = try await portal.makeToken([.writeUsage], in: .test)
      let answer = try await portal.report([event(live), event(test)], batch: "b", token: token)
      #expect(answer.status == 202 && answer.body["accepted"].integer == 1)
      #expect(answer.body["rejected"].array.count == 1)
      #expect(answer.body["rejected"][0]["index"].integer == 0)
      #expect(answer.body["rejected"][0]["code"].string == "not_found")
      #expect(try await customer.usage(of: live)["summary"]["totalRequests"].integer == 0)
      #expect(try await customer.usage(of: test)["summary"]["totalRequests"].integer == 1)
    }
  }
}
