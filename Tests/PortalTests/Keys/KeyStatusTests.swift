import Foundation
import Testing

@testable import Portal

@Suite("Key.status")
struct KeyStatusTests {
  private let now = Date(timeIntervalSince1970: 1_800_000_000)

  private func key(_ change: (inout Key) -> Void = { _ in }) -> Key {
    var key = Key(
      id: .numbered(1), accountID: .numbered(2), name: "Key", start: "lk_live_abcd", environment: .live, scopes: ["a"],
      rateLimitPerMinute: 60, limits: [], rateLimitMode: .fast, totalRequests: 0, createdAt: now,
      rules: KeyRules(plan: Plan(name: "default", keyCap: 25, scopes: ["*"], rateLimitPerMinuteMax: 10_000)))
    change(&key)
    return key
  }

  @Test("if several statuses apply, the first of revoked, suspended, disabled, expired is reported")
  func precedence() {
    let statuses: [Key.Status] = [.revoked, .suspended, .disabled, .expired]
    for combination in 0..<16 {
      let holds = (0..<4).map { combination >> $0 & 1 == 1 }
      let key = key {
        $0.revokedAt = holds[0] ? now : nil
        $0.accountSuspendedAt = holds[1] ? now : nil
        $0.disabledAt = holds[2] ? now : nil
        $0.expiresAt = holds[3] ? now : nil
      }
      #expect(key.status(at: now) == zip(statuses, holds).first { $0.1 }?.0 ?? .active)
    }
  }

  @Test("a key is active until the moment of its expiry, and expired from then on")
  func expiry() {
    let key = key { $0.expiresAt = now }
    #expect(key.status(at: .distantPast) == .active)
    #expect(key.status(at: now.addingTimeInterval(-0.001)) == .active)
    #expect(key.status(at: now) == .expired)
    #expect(key.status(at: .distantFuture) == .expired)
    #expect(self.key().status(at: .distantFuture) == .active)
  }

  @Test("key and plan together give the earlier expiry, the common scopes and the lower limit")
  func effective() {
    let key = key {
      $0.scopes = ["a:*", "b:c", "d"]
      $0.rateLimitPerMinute = 60
      $0.expiresAt = now.addingTimeInterval(2 * 86_400)
      $0.rules.plan = Plan(
        name: "small", keyCap: 1, scopes: ["a:b", "b:*"], rateLimitPerMinuteMax: 5, maxKeyLifetimeDays: 1)
    }
    #expect(key.effectiveScopes == ["a:b", "b:c"])
    #expect(key.effectiveRateLimitPerMinute == 5)
    #expect(key.effectiveExpiresAt == now.addingTimeInterval(86_400))
    #expect(key.status(at: now.addingTimeInterval(86_399)) == .active)
    #expect(key.status(at: now.addingTimeInterval(86_400)) == .expired)
    #expect(self.key { $0.rules.plan.maxKeyLifetimeDays = 1 }.effectiveExpiresAt == now.addingTimeInterval(86_400))
    #expect(self.key { $0.rules.plan.maxKeyLifetimeDays = 9 }.status(at: now) == .active)
    #expect(self.key().effectiveExpiresAt == nil)
  }

  /// Revocation is final, however the clocks of database and server differ.
  @Test("a key that was revoked, disabled or suspended by a clock ahead of the server's has that status already")
  func clockAhead() {
    let later = now.addingTimeInterval(60)
    #expect(key { $0.revokedAt = later }.status(at: now) == .revoked)
    #expect(key { $0.disabledAt = later }.status(at: now) == .disabled)
    #expect(key { $0.accountSuspendedAt = later }.status(at: now) == .suspended)
  }

  @Test("a rolled key is active until its grace ends")
  func grace() {
    let key = key {
      $0.rolledAt = now
      $0.expiresAt = now.addingTimeInterval(60)
    }
    #expect(key.status(at: now.addingTimeInterval(59)) == .active)
    #expect(key.status(at: now.addingTimeInterval(60)) == .expired)
  }

  /// Lists and gateways must get the same answer.
  @Test("verification refuses a key exactly when its status is not active, for the same reason")
  func agreesWithVerification() {
    let refusals: [Key.Status: Verdict.Code] = [
      .revoked: .revoked, .suspended: .suspended, .disabled: .disabled, .expired: .expired,
    ]
    for combination in 0..<16 {
      let holds = (0..<4).map { combination >> $0 & 1 == 1 }
      let expiresAt = now.addingTimeInterval(holds[3] ? 0 : 1)
      let key = key {
        $0.revokedAt = holds[0] ? now : nil
        $0.accountSuspendedAt = holds[1] ? now : nil
        $0.disabledAt = holds[2] ? now : nil
        $0.expiresAt = expiresAt
      }
      let verifiable = VerifiableKey(
        id: key.id, accountID: key.accountID, name: key.name, environment: .live, scopes: [], rateLimitPerMinute: 60,
        expiresAt: expiresAt, isRevoked: holds[0], isSuspended: holds[1], isDisabled: holds[2])
      let refusal = verifiable.refusal(of: VerificationRequest(hash: nil), at: now)
      #expect(refusal == refusals[key.status(at: now)])
    }
  }
}
