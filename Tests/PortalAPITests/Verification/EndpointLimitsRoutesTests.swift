import Foundation
import JSON
import Portal
import PortalAPI
import PortalApplication
import PortalHTTP
import PortalTesting
import Testing

@Suite("Verification of keys whose api has limits for endpoints")
struct EndpointLimitsRoutesTests {
  private static let limits = #"""
    [{"endpoint":"GET /orders/*","limit":2,"windowMilliseconds":86400000,\#
    "roles":{"pro":{"limit":4,"windowMilliseconds":86400000}}}]
    """#

  @Test(
    "the limit for the endpoint applies by the roles of the key, beside the key's others, at both routes",
    arguments: [true, false])
  func byRole(hasFastPath: Bool) async throws {
    try await withPortal(.live, configure: { $0.hasFastPath = hasFastPath }) { portal in
      try await portal.makeCatalog()
      let company = try await portal.makeToken([
        .writeCatalog, .writeAccounts, .writeKeys, .readKeys, .grantKeys,
      ])
      let token = try await portal.makeToken()
      let changed = try await portal.patch("/v1/apis/orders", #"{"endpointLimits":\#(Self.limits)}"#, token: company)
      #expect(changed.status == 200)
      let account = try await portal.post("/v1/accounts", #"{"name":"n"}"#, token: company).body["id"].string ?? ""
      var keys: [(id: String, key: String)] = []
      for _ in 1...2 {
        let made = try await portal.post(
          "/v1/accounts/\(account)/keys", #"{"name":"n","scopes":[],"apiId":"orders"}"#, token: company)
        keys.append((try #require(made.body["id"].string), try #require(made.body["key"].string)))
      }
      let granted = try await portal.post("/v1/keys/\(keys[1].id)/roles", #"{"add":["pro"]}"#, token: company)
      #expect(granted.status == 200)
      for (key, limit) in [(keys[0], 2), (keys[1], 4)] {
        for number in 1...limit {
          let answer =
            number % 2 == 0
            ? try await portal.get(
              "/v1/authorize", token: key.key,
              headers: [
                "X-Latchkey-Token": token, "X-Original-Method": "GET", "X-Original-URI": "/orders/\(number)?a=b",
              ])
            : try await portal.verify(key.key, token: token, #","endpoint":"GET /orders/\#(number)""#)
          #expect(answer.status == 200 && answer.header("X-RateLimit-Remaining") == "\(limit - number)")
          #expect(answer.header("RateLimit-Policy") == #""endpoint";q=\#(limit);w=86400"#)
        }
        let refused = try await portal.verify(key.key, token: token, #","endpoint":"GET /orders/9""#)
        #expect(refused.body["code"].string == "RATE_LIMITED" && refused.header("Retry-After") != nil)
        let standing = refused.body["limits"][0]
        #expect(standing.names == ["name", "endpoint", "windowSeconds", "limit", "remaining", "resetSeconds"])
        #expect(standing["name"].string == "endpoint" && standing["endpoint"].string == "GET /orders/*")
        #expect(standing["limit"].integer == limit && standing["remaining"].integer == 0)
        for other in [#","endpoint":"GET /customers""#, ""] {
          let answer = try await portal.verify(key.key, token: token, other)
          #expect(answer.body["code"].string == "VALID" && answer.body["limits"] == .array([]))
        }
      }
      // In force for the next request.
      let raised = Self.limits.replacing(#""limit":2"#, with: #""limit":3"#)
      _ = try await portal.patch("/v1/apis/orders", #"{"endpointLimits":\#(raised)}"#, token: company)
      for code in ["VALID", "RATE_LIMITED"] {
        let answer = try await portal.verify(keys[0].key, token: token, #","endpoint":"GET /orders/9""#)
        #expect(answer.body["code"].string == code)
      }
    }
  }
}
