import Foundation
import Portal
import PortalTesting
import Postgres
import PostgresTesting
import Testing

private struct CountSynchronous: PostgresStatement {
  typealias Row = Int
  static let sql = "select count(*) from pg_stat_replication where sync_state = 'sync'"
}

private struct CancelWaits: PostgresStatement {
  typealias Row = Int
  static let sql = "select count(pg_cancel_backend(pid)) from pg_stat_activity where wait_event = 'SyncRep'"
}

@Suite("Failures of PostgreSQL, as clients see them")
struct DatabaseFailuresTests {
  @Test("log-in, creation and listing work right after the connections of the portal are terminated")
  func terminated() async throws {
    try await withPortal { portal in
      let customer = try await portal.signUp()
      for round in 1...30 {
        try await portal.script(
          """
          select pg_terminate_backend(pid) from pg_stat_activity
          where datname = current_database() and pid <> pg_backend_pid()
          """)
        async let login = portal.post(
          "/v1/login", #"{"email":"ada@example.com","password":"correct horse battery"}"#)
        async let created = customer.post("/v1/keys", #"{"name":"Key","scopes":["orders:read"]}"#)
        async let listed = customer.get("/v1/keys")
        let answers = try await [login, created, listed]
        #expect(answers.map(\.status) == [200, 201, 200], "round \(round): \(answers.map(\.body))")
        // Stays below the cap of the plan.
        if let id = answers[1].body["id"].string { _ = try await customer.delete("/v1/keys/" + id) }
      }
    }
  }

  @Test("a change whose wait for a synchronous standby is canceled is outcome_unknown, and the problem says what to do")
  func outcomeUnknown() async throws {
    try await withOwnDatabase { server, database in
      try await server.withStandby { standby in
        try await withPortal(on: database) { portal in
          let customer = try await portal.signUp()
          try await portal.script("alter system set synchronous_standby_names = '*'")
          try await portal.script("select pg_reload_conf()")
          try await eventually("the standby was synchronous") {
            try await portal.pool.query(CountSynchronous()) == [1]
          }
          try await standby.stop()
          let creation = Task { try await customer.post("/v1/keys", #"{"name":"Key","scopes":["orders:read"]}"#) }
          let canceller = Task {
            while !Task.isCancelled {
              _ = try await portal.pool.query(CancelWaits())
              try await Task.sleep(for: .milliseconds(10))
            }
          }
          let answer = try await creation.value
          canceller.cancel()
          _ = try? await canceller.value
          try await standby.start()
          expectProblem(answer, 503, "outcome_unknown")
          #expect(answer.header("Retry-After") == nil)
          #expect(answer.body["detail"].string?.contains("Idempotency-Key") == true)
          let warnings = portal.observations.count {
            if case .postgres(.notice(let notice)) = $0 { notice.severity == .warning } else { false }
          }
          #expect(warnings > 0)
        }
      }
    }
  }
}
