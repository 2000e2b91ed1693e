import Foundation
import Portal
import PortalAPI
import PortalHTTP
import PortalTesting
import Testing

@Suite("GET /v1/support/tokens")
struct ListTokensTests {
  @Test("lists tokens in pages, newest first, without their secrets")
  func list() async throws {
    try await withPortal { portal in
      let admin = try await portal.logInStaff(role: .admin)
      var ids: [String] = []
      for _ in 0..<5 { ids.append(try await portal.makeToken(as: admin).id) }
      var (found, query) = ([String](), "?limit=2")
      while true {
        let answer = try await portal.get("/v1/support/tokens" + query, token: admin)
        #expect(answer.status == 200 && answer.body.names == ["tokens", "nextCursor"])
        for token in answer.body["tokens"].array { #expect(token.names == Contract.serviceToken) }
        found += answer.body["tokens"].array.compactMap { $0["id"].string }
        guard let cursor = answer.body["nextCursor"].string else { break }
        query = "?limit=2&cursor=" + cursor
      }
      #expect(found == ids.reversed())
      for query in ["?limit=0", "?limit=101", "?cursor=x"] {
        expectProblem(try await portal.get("/v1/support/tokens" + query, token: admin), 400, "invalid_request")
      }
    }
  }

  @Test("shows when each token was last used, on both paths of verification, and which are expired or revoked")
  func lastUsed() async throws {
    try await withPortal(.live) { portal in
      let admin = try await portal.logInStaff(role: .admin)
      let (used, unused) = (try await portal.makeToken(as: admin), try await portal.makeToken(as: admin))
      let expired = try await portal.makeToken(as: admin, #","expiresAt":"2099-01-01T00:00:00Z""#)
      for _ in 1...2 { #expect(try await portal.verify("x", token: used.token).status == 200) }
      try await portal.flushUsage()
      _ = try await portal.delete("/v1/support/tokens/" + unused.id, token: admin)
      try await portal.script("update service_tokens set expires_at = now() where id = '\(expired.id)'")
      let tokens = try await portal.get("/v1/support/tokens", token: admin).body["tokens"].array
      #expect(tokens.map { $0["status"].string } == ["expired", "revoked", "active"])
      #expect(tokens.map(\.["lastUsedAt"].isTime) == [false, false, true])
      #expect(tokens[1]["revokedAt"].isTime)
    }
  }

  @Test("the role support cannot list tokens")
  func support() async throws {
    try await withPortal { try await expectAdminOnly($0, "GET", "/v1/support/tokens") }
  }
}
