import PostgresTesting
import Testing

@testable import PortalServer

@Suite("Checks of latchkey doctor")
struct DoctorCheckTests {
  private struct Trouble: Error, CustomStringConvertible { let description = "trouble" }

  @Test("an error is a failure, and so is a check that reaches the limit, even if it ignores its cancellation")
  func failures() async {
    #expect(await DoctorCheck("a") { throw Trouble() }.run() == .failed("trouble"))
    #expect(await DoctorCheck("a") { .warning("w") }.run() == .warning("w"))
    let (silence, continuation) = AsyncStream<Void>.makeStream()
    let deaf = DoctorCheck("a") {
      await Task { for await _ in silence {} }.value
      return .ok("late")
    }
    let finding = await deaf.run(.milliseconds(20))
    #expect(finding.status == .failed && finding.text.hasPrefix("no answer within"))
    continuation.finish()
  }

  @Test("the worst status counts, and checks that need the database are not run if it did not answer")
  func order() async {
    let checks = [
      DoctorCheck("first") { .warning("w") },
      DoctorCheck("database") { .failed("gone") },
      DoctorCheck("roles", needsDatabase: true) { .ok("never") },
      DoctorCheck("spool") { .ok("there") },
    ]
    var lines: [String] = []
    let worst = await checks.run(database: "database") { lines.append("\($0): \($1.status.rawValue) \($1.text)") }
    #expect(worst == .failed)
    #expect(
      lines == [
        "first: warning w", "database: failed gone",
        "roles: failed not checked, because the database did not answer", "spool: ok there",
      ])
    #expect(await [checks[0], checks[3]].run(database: "database") { _, _ in } == .warning)
    #expect(await [checks[3]].run(database: "database") { _, _ in } == .ok)
  }
}
