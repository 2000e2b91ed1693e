import Foundation
import PortalTesting
import Postgres
import Testing

@testable import Portal

/// The outcome of one of several concurrent calls.
private enum Outcome: Sendable {
  case rolled
  case revoked(Date)
  case suspended
  case refused(PortalError)
}

@Suite("Concurrent roll, revoke, staff revoke and suspend")
struct KeyRacesTests {
  private static let roundCount = 100

  @Test("the key ends revoked, with at most one successor, and the trail records exactly what happened")
  func races() async throws {
    try await withPool { pool in
      let world = World(pool)
      let staff = Caller(actor: .staff(id: .version7(), name: "Grace"))
      let reason = SupportReason(text: "leaked")
      var rolledCount = 0
      for round in 0..<Self.roundCount {
        let account = try await world.makeAccount("ada\(round)@example.com")
        let id = try await world.makeKey(account).key.id
        let calls: [@Sendable () async throws -> Outcome] = [
          {
            _ = try await world.keys.roll(id, of: account, graceSeconds: 0, by: World.caller)
            return .rolled
          },
          { .revoked(try await world.keys.revoke(id, of: account, by: World.caller).revokedAt) },
          { .revoked(try await world.desk.revokeKey(id, by: staff, reason).revokedAt) },
          {
            _ = try await world.desk.setSuspension(of: account, to: true, by: staff, reason)
            return .suspended
          },
        ]
        let outcomes = try await withThrowingTaskGroup(of: Outcome.self) { group in
          for call in calls.shuffled() {
            group.addTask {
              do { return try await call() } catch let error as PortalError { return .refused(error) }
            }
          }
          return try await group.reduce(into: []) { $0.append($1) }
        }
        let isRolled = try check(outcomes, round)
        rolledCount += isRolled ? 1 : 0
        let keys = try await world.keys.list(of: account).items
        let key = try #require(keys.last)
        #expect(key.id == id && key.revokedAt != nil, "round \(round)")
        #expect(keys.count == (isRolled ? 2 : 1), "round \(round)")
        for case .revoked(let moment) in outcomes { #expect(moment == key.revokedAt, "round \(round)") }
        var expected = ["account.created", "account.suspended", "key.created", isRolled ? "key.rolled" : "key.revoked"]
        if isRolled { expected.append("key.created") }
        #expect(try await world.actions(on: account).sorted() == expected.sorted(), "round \(round)")
      }
      #expect(try await AuditChains(pool: pool).verify { _ in }.isIntact)
      print("key races: \(Self.roundCount) rounds, the roll came first in \(rolledCount)")
      #expect((1..<Self.roundCount).contains(rolledCount), "every order should have occurred")
    }
  }

  /// Returns true if the roll came first. After any other call, the roll is refused.
  private func check(_ outcomes: [Outcome], _ round: Int) throws -> Bool {
    var (isRolled, revokedCount, suspendedCount) = (false, 0, 0)
    for outcome in outcomes {
      switch outcome {
      case .rolled: isRolled = true
      case .revoked: revokedCount += 1
      case .suspended: suspendedCount += 1
      case .refused(let error):
        #expect(error == .keyNotActive || error == .forbidden(reason: "The account is suspended."), "round \(round)")
      }
    }
    #expect(revokedCount == 2 && suspendedCount == 1, "round \(round)")
    return isRolled
  }
}
