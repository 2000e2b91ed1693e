import Foundation
import JSON
import Portal
import PortalAPI
import PortalHTTP
import PortalTesting
import PostgresTesting
import Testing

@Suite("A separate database for analytics")
struct AnalyticsDatabaseTests {
  /// Instead of a replica, a second database has different usage for the same account, which shows which one was read.
  @Test("usage and analytics are read from it, everything else from the primary")
  func separate() async throws {
    try await withDatabase { replica in
      try await withPortal(analytics: replica) { portal in
        let customer = try await portal.signUp()
        let (id, key) = try await customer.createKey()
        let token = try await portal.makeToken([.verifyKeys, .readAnalytics])
        _ = try await portal.verify(key, token: token)
        #expect(try await customer.usage(of: id)["summary"]["totalRequests"].integer == 0)
        #expect(try await customer.usage()["summary"]["totalRequests"].integer == 0)
        #expect(try await portal.get("/v1/analytics/usage", token: token).body["rows"] == .array([]))
        #expect(try await portal.get("/v1/keys/" + id, token: customer.token).body["totalRequests"].integer == 1)

        let keyID = try #require(UUID(uuidString: id))
        let day = String(Timestamp.text(of: Date()).prefix(10))
        try await portal.run(
          Traffic.sql([Traffic(account: customer.accountID, key: keyID, day: day, verified: 41)]), on: replica)
        #expect(try await customer.usage(of: id)["summary"]["totalRequests"].integer == 41)
        #expect(try await customer.usage()["summary"]["totalRequests"].integer == 41)
        for path in ["/v1/analytics/usage?groupBy=key", "/v1/analytics/top?by=key"] {
          let body = try await portal.get(path, token: token).body
          #expect(body["rows"].array.compactMap { $0["successes"].integer } == [41], "\(path)")
          #expect(try await portal.table(path, token: token).lines.count == 2)
        }
      }
    }
  }

  @Test("if it is unavailable, so are usage and analytics, and nothing else")
  func away() async throws {
    try await withDatabase { database in
      try await withPortal(analytics: database.through("/nowhere")) { portal in
        let customer = try await portal.signUp()
        let (id, key) = try await customer.createKey()
        let token = try await portal.makeToken([.verifyKeys, .readAnalytics])
        for path in ["/v1/analytics/usage", "/v1/analytics/growth", "/v1/analytics/unused-keys"] {
          expectProblem(try await portal.get(path, token: token), 503, "unavailable")
          #expect(try await portal.table(path, token: token).status == 503)
        }
        expectProblem(try await customer.get("/v1/usage"), 503, "unavailable")
        expectProblem(try await customer.get("/v1/keys/\(id)/usage"), 503, "unavailable")
        #expect(try await portal.verify(key, token: token).body["valid"] == .bool(true))
        #expect(try await customer.get("/v1/keys").status == 200)
      }
    }
  }
}
