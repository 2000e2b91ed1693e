import PortalAPI
import PortalHTTP
import PortalTesting
import PostgresTesting
import Testing

@Suite("GET /healthz and /readyz")
struct HealthTests {
  @Test("a running portal is healthy and ready")
  func ready() async throws {
    try await withPortal { portal in
      let health = try await portal.get("/healthz")
      #expect(health.status == 200)
      #expect(health.body == .object([("status", .string("ok"))]))
      let readiness = try await portal.get("/readyz")
      #expect(readiness.status == 200)
      #expect(
        readiness.body
          == .object([
            ("status", .string("ready")), ("reasons", .array([])),
            ("warnings", .array([.string("no mail is sent: neither MAIL_URL nor MAIL_FOLDER is set")])),
          ]))
    }
  }

  @Test("a difference between the clocks of the machine and PostgreSQL is a warning and a metric, but still ready")
  func clockIsWrong() async throws {
    try await withDatabase { database in
      try await database.setClock(aheadSeconds: 100)
      try await withPortal(on: database) { portal in
        let answer = try await portal.get("/readyz")
        #expect(answer.status == 200)
        let warning = try #require(answer.body["warnings"].array.first?.string)
        #expect(warning.wholeMatch(of: /the clock of this machine is (99|100)\.\d s behind PostgreSQL's/) != nil)
        let name = "latchkey_clock_offset_seconds "
        let lines = try await portal.text("/metrics").text.split(separator: "\n")
        let value = try #require(lines.first { $0.hasPrefix(name) }?.dropFirst(name.count))
        #expect(abs(try #require(Double(value)) + 100) < 5)
      }
    }
  }

  @Test("with migrations pending, it is not ready, and gives the reason")
  func migrationsPending() async throws {
    try await withPortal(configure: { $0.migrationCount += 1 }) { portal in
      let answer = try await portal.get("/readyz")
      #expect(answer.status == 503)
      #expect(answer.body["status"].string == "unavailable")
      #expect(answer.body["reasons"] == .array([.string("migrations are pending")]))
      #expect(try await portal.get("/healthz").status == 200)
    }
  }

  @Test("without a database, it is healthy, but not ready until the database is back")
  func databaseGone() async throws {
    try await withPortal { portal in
      try await portal.shutDatabase()
      try await eventually("the lease runs out") {
        try await portal.get("/readyz").body["reasons"].array.count == 2
      }
      let answer = try await portal.get("/readyz")
      #expect(answer.status == 503)
      #expect(
        answer.body["reasons"].array.compactMap(\.string) == [
          "the database cannot be reached", "the invalidation listener does not hold its lease",
        ])
      #expect(try await portal.get("/healthz").status == 200)
      try await portal.openDatabase()
      try await eventually("it is ready again") { try await portal.get("/readyz").status == 200 }
    }
  }
}
