import Foundation
import PortalTesting
import Testing

@testable import Portal

@Suite("Explanation")
struct ExplanationTests {
  private static let now = Date(timeIntervalSince1970: 1_800_000_000)

  private func judged(_ key: VerifiableKey) -> JudgedKey { JudgedKey(key: key, createdAt: .distantPast) }

  /// Every combination of what may refuse a request.
  private func combinations(_ body: (VerifiableKey, VerificationRequest) -> Void) throws {
    let permission = try PermissionQuery("a")
    for bits in 0..<(1 << 9) {
      func has(_ bit: Int) -> Bool { bits >> bit & 1 == 1 }
      let key = VerifiableKey(
        id: .numbered(1), accountID: .numbered(2), name: "Key", environment: .live, scopes: ["orders:read"],
        rateLimitPerMinute: 10, allowedIPs: has(0) ? [AddressBlock("192.0.2.0/24")!] : nil,
        expiresAt: has(1) ? Self.now : nil, isRevoked: has(2), isSuspended: has(3), isDisabled: has(4),
        grants: KeyGrants(apiID: .numbered(3), apis: [CatalogNamed(id: .numbered(3), name: "orders")]))
      let request = VerificationRequest(
        hash: nil, scopes: has(5) ? ["orders:write"] : ["orders:read"], clientIP: AddressBlock("192.0.3.1"),
        environment: has(6) ? .test : nil, api: has(7) ? .name("other") : .name("orders"),
        permissions: has(8) ? permission : nil)
      body(key, request)
    }
  }

  @Test("the verdict is that of verification, for every combination of what may refuse a request")
  func sameVerdict() throws {
    try combinations { key, request in
      let explanation = Explanation(judged(key), request, at: Self.now, limits: .unlimited)
      let wanted = key.isFound(by: request) ? key.refusal(of: request, at: Self.now) ?? .valid : .notFound
      #expect(explanation.code == wanted)
    }
  }

  @Test("every check is told, in the order of verification, whether or not one before it refuses")
  func order() throws {
    try combinations { key, request in
      let outcomes = Explanation(judged(key), request, at: Self.now, limits: .unlimited).outcomes
      #expect(outcomes.map(\.check) == Explanation.Check.allCases)
      #expect(
        outcomes.dropFirst(3).map(\.code) == [
          .revoked, .suspended, .disabled, .expired, .forbiddenAddress, .insufficientScope, .insufficientPermissions,
          .rateLimited, .usageExceeded,
        ])
    }
  }

  @Test("without a key there is one check; counts of the past are unknown, and refuse nothing")
  func edges() {
    let request = VerificationRequest(hash: nil, scopes: ["orders:read"])
    let none = Explanation(nil, request, at: Self.now)
    #expect(none.outcomes == [Explanation.Outcome(check: .exists, code: .notFound, isPassed: false)])
    #expect(none.code == .notFound)
    let key = VerifiableKey(
      id: .numbered(1), accountID: .numbered(2), name: "Key", environment: .live, scopes: ["orders:read"],
      rateLimitPerMinute: 10)
    let past = Explanation(judged(key), request, at: Self.now)
    #expect(
      past.outcomes.suffix(2) == [
        Explanation.Outcome(check: .limits, code: .rateLimited, isPassed: nil),
        Explanation.Outcome(check: .credits, code: .usageExceeded, isPassed: nil),
      ])
    #expect(past.code == .valid)
  }

  @Test("credits refuse a request that costs more than is left, and none that costs nothing")
  func credits() {
    let key = VerifiableKey(
      id: .numbered(1), accountID: .numbered(2), name: "Key", environment: .live, scopes: [], rateLimitPerMinute: nil)
    func code(_ cost: Int, _ credits: Explanation.Credits) -> Verdict.Code {
      let request = VerificationRequest(hash: nil, creditCost: cost)
      return Explanation(judged(key), request, at: Self.now, limits: .unlimited, credits: credits).code
    }
    #expect(code(5, .remaining(5)) == .valid && code(6, .remaining(5)) == .usageExceeded)
    #expect(code(0, .remaining(0)) == .valid && code(1_000_000, .unlimited) == .valid)
  }
}
