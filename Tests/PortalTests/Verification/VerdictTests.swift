import Foundation
import Testing

@testable import Portal

@Suite("Verdict")
struct VerdictTests {
  private let now = Date(timeIntervalSince1970: 1_800_000_000)

  private func key(_ change: (inout VerifiableKey) -> Void = { _ in }) -> VerifiableKey {
    var key = VerifiableKey(
      id: .numbered(1), accountID: .numbered(2), name: "Key", environment: .live, scopes: ["orders:read"],
      rateLimitPerMinute: 60, allowedIPs: nil, expiresAt: nil, isRevoked: false, isSuspended: false, isDisabled: false)
    change(&key)
    return key
  }

  private func request(_ scopes: [String] = [], from address: String? = nil) -> VerificationRequest {
    VerificationRequest(
      hash: nil, scopes: scopes, clientIP: address.flatMap { AddressBlock($0) })
  }

  @Test("with several reasons to refuse, the verdict is the first in the documented order")
  func order() throws {
    let reasons: [Verdict.Code] = [
      .revoked, .suspended, .disabled, .expired, .forbiddenAddress, .insufficientScope, .insufficientPermissions,
    ]
    #expect(Verdict.Code.allCases.filter(reasons.contains) == reasons)
    for combination in 0..<(1 << reasons.count) {
      let isWrong = reasons.indices.map { combination >> $0 & 1 == 1 }
      let key = key {
        $0.isRevoked = isWrong[0]
        $0.isSuspended = isWrong[1]
        $0.isDisabled = isWrong[2]
        $0.expiresAt = now.addingTimeInterval(isWrong[3] ? -1 : 1)
        $0.allowedIPs = [AddressBlock(isWrong[4] ? "10.0.0.0/8" : "192.0.2.0/24")!]
        $0.scopes = [isWrong[5] ? "orders:write" : "orders:read"]
        $0.grants = isWrong[6] ? nil : KeyGrants(permissions: ["a"])
      }
      let expected = zip(reasons, isWrong).first { $0.1 }?.0
      var request = request(["orders:read"], from: "192.0.2.7")
      request.permissions = try PermissionQuery("a")
      #expect(key.refusal(of: request, at: now) == expected)
    }
  }

  @Test("a key must meet the query with permissions of exactly these names")
  func permissions() throws {
    let granted = key { $0.grants = KeyGrants(roles: ["pro"], permissions: ["documents.*", "orders.read"]) }
    func refusal(_ key: VerifiableKey, _ query: String) throws -> Verdict.Code? {
      var request = request()
      request.permissions = try PermissionQuery(query)
      return key.refusal(of: request, at: now)
    }
    for query in ["orders.read", "documents.*", "x OR orders.read", "orders.read AND documents.*"] {
      #expect(try refusal(granted, query) == nil, "\(query)")
      #expect(try refusal(key(), query) == .insufficientPermissions, "\(query)")
    }
    for query in ["documents.read", "Orders.read", "*", "pro", "orders.read AND x", "orders:read"] {
      #expect(try refusal(granted, query) == .insufficientPermissions, "\(query)")
    }
  }

  @Test("a key is found for its api by id and by slug, and a key for all apis for any")
  func apis() {
    let (one, two) = (UUID.numbered(7), UUID.numbered(8))
    let bound = key { $0.grants = KeyGrants(apis: [CatalogNamed(id: one, name: "one")]) }
    let others = [key(), key { $0.grants = KeyGrants(roles: ["pro"]) }]
    for (api, isFound) in [
      (CatalogReference.id(one), true), (.name("one"), true), (.id(two), false), (.name("two"), false),
      (.name("One"), false),
    ] {
      let request = VerificationRequest(hash: nil, api: api)
      #expect(bound.isFound(by: request) == isFound)
      for other in others { #expect(other.isFound(by: request)) }
    }
    for (apiIDs, isFound) in [([one], true), ([two, one], true), ([two], false), (nil, true)] as [([UUID]?, Bool)] {
      let request = VerificationRequest(hash: nil, apiIDs: apiIDs)
      #expect(bound.isFound(by: request) == isFound)
      for other in others { #expect(other.isFound(by: request)) }
    }
    #expect(!bound.isFound(by: VerificationRequest(hash: nil, environment: .test, api: .id(one))))
  }

  @Test("a key for several apis is found for each, but not for one that the token is not bound to; for none, never")
  func apisOfPlan() {
    let (one, two, three) = (UUID.numbered(7), UUID.numbered(8), UUID.numbered(9))
    let key = key {
      $0.grants = KeyGrants(apis: [CatalogNamed(id: one, name: "one"), CatalogNamed(id: two, name: "two")])
    }
    let requests: [(CatalogReference?, [UUID]?, Bool)] = [
      (nil, nil, true), (.id(one), nil, true), (.name("two"), nil, true), (.id(three), nil, false),
      (nil, [two, three], true), (nil, [three], false), (.name("two"), [two], true), (.name("one"), [two], false),
    ]
    for (api, apiIDs, isFound) in requests {
      #expect(key.isFound(by: VerificationRequest(hash: nil, api: api, apiIDs: apiIDs)) == isFound)
    }
    let none = self.key { $0.grants = KeyGrants(apis: []) }
    #expect(!none.isFound(by: VerificationRequest(hash: nil)))
  }

  @Test("the scopes for a resource count like those of the key, for this resource alone")
  func resources() {
    let key = key {
      $0.grants = KeyGrants(
        resources: ResourceScopes([
          ResourceScopes.Entry(name: "project:1", scopes: ["orders:write", "files:*"]),
          ResourceScopes.Entry(name: "project:2", scopes: ["orders:delete"]),
        ]))
    }
    let requests: [([String], String?, ScopeMatch, Bool)] = [
      (["orders:read"], nil, .all, true), (["orders:read"], "project:9", .all, true),
      (["orders:write"], nil, .all, false), (["orders:write"], "project:1", .all, true),
      (["orders:write"], "project:2", .all, false), (["orders:write"], "Project:1", .all, false),
      (["orders:read", "orders:write", "files:read"], "project:1", .all, true),
      (["orders:write", "orders:delete"], "project:1", .all, false),
      (["orders:write", "orders:delete"], "project:1", .any, true),
      (["orders:write", "orders:read"], nil, .any, true), (["orders:write", "x"], nil, .any, false),
      (["x", "y"], "project:1", .any, false), ([], nil, .any, true), ([], nil, .all, true),
    ]
    for (scopes, resource, match, isCovered) in requests {
      let request = VerificationRequest(hash: nil, scopes: scopes, resource: resource, match: match)
      #expect(key.refusal(of: request, at: now) == (isCovered ? nil : .insufficientScope), "\(request)")
    }
    #expect(!key.dependsOnCatalog)
  }

  @Test("a key without grants has no more of them than an empty reference")
  func size() {
    #expect(MemoryLayout<KeyGrants?>.size == 8)
    #expect(KeyGrants() == nil)
    #expect(!key().dependsOnCatalog && key { $0.grants = KeyGrants(roles: ["pro"]) }.dependsOnCatalog)
  }

  @Test("a key without credits has no more of them than an empty reference")
  func creditsSize() {
    #expect(MemoryLayout<KeyCredits?>.size == 8)
    #expect(KeyCredits(own: nil, account: nil) == nil)
    #expect(KeyCredits(own: .numbered(1), account: .numbered(1))?.account == nil, "one bucket is taken from once")
  }

  @Test("a key is expired from its expiry time on")
  func expiry() {
    let key = key { $0.expiresAt = now }
    #expect(key.refusal(of: request(), at: now.addingTimeInterval(-0.001)) == nil)
    #expect(key.refusal(of: request(), at: now) == .expired)
  }

  @Test("all required scopes must be covered, each by some scope of the key")
  func scopes() {
    let key = key { $0.scopes = ["orders:*", "users:read"] }
    #expect(key.refusal(of: request(), at: now) == nil)
    #expect(key.refusal(of: request(["orders:read", "orders:write:all", "users:read"]), at: now) == nil)
    #expect(key.refusal(of: request(["orders:read", "users:write"]), at: now) == .insufficientScope)
    #expect(key.refusal(of: request(["*"]), at: now) == .insufficientScope)
    #expect(key.refusal(of: request([""]), at: now) == .insufficientScope)
  }

  @Test("an allow-list admits addresses within any of its blocks, and no request without an address")
  func addresses() {
    let key = key { $0.allowedIPs = [AddressBlock("192.0.2.0/24")!, AddressBlock("2001:db8::/32")!] }
    for address in ["192.0.2.0", "192.0.2.255", "2001:db8::1", "::ffff:192.0.2.9"] {
      #expect(key.refusal(of: request(from: address), at: now) == nil, "\(address)")
    }
    for address in ["192.0.3.0", "192.0.20.1", "2001:db9::1", "::1", nil] {
      #expect(key.refusal(of: request(from: address), at: now) == .forbiddenAddress, "\(address ?? "none")")
    }
  }

  @Test("an empty allow-list admits no address")
  func emptyAllowList() {
    #expect(key { $0.allowedIPs = [] }.refusal(of: request(from: "192.0.2.1"), at: now) == .forbiddenAddress)
  }

  @Test("only VALID is valid, and NOT_FOUND reveals nothing about a key")
  func validity() {
    for code in Verdict.Code.allCases { #expect(Verdict(code: code, found: nil).isValid == (code == .valid)) }
    #expect(Verdict.notFound.found == nil)
  }
}
