import Foundation
import PortalTesting
import PostgresTesting
import Testing

/// Serialized, because each test has its own PostgreSQL and three servers.
@Suite("Revocation under faults", .serialized)
struct FaultTests {
  /// B, the default of `latchkey serve`.
  static let lease: Duration = .seconds(2)

  @Test(
    """
    thousands of keys revoked on three servers are refused by each within the lease and from then on, while \
    listeners are terminated and stopped, servers are suspended and PostgreSQL restarts
    """)
  func revocations() async throws {
    let seed = ProcessInfo.processInfo.environment["FAULT_SEED"].flatMap { UInt64($0) } ?? .random(in: 0...(.max))
    print("faults: FAULT_SEED=\(seed)")
    try await withOwnDatabase { server, database in
      try await withServers(3, on: database) { servers in
        try await RevocationWorld.with(servers, on: database) { world in
          let storm = try await Storm(world, server, seed: seed)
          let tally = try await storm.run()
          tally.report(storm.faults)
          #expect(tally.problems.isEmpty, "\(tally.problems.prefix(10))")
          #expect(
            tally.tooLate.isEmpty, "sent later than B after the commit, and accepted: \(tally.tooLate.prefix(10))")
          #expect(tally.revocationCount >= Storm.revocationCountMin)
          #expect(tally.instances.allSatisfy { $0.delays.count >= Storm.revocationCountMin })
          for fault in Fault.allCases { #expect(storm.faults.count(of: fault) > 0, "no \(fault.rawValue)") }
        }
      }
    }
  }
}
