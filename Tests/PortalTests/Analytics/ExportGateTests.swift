import Testing

@testable import Portal

@Suite("ExportGate")
struct ExportGateTests {
  private static let refusal = PortalError.tooManyRequests(retryAfterSeconds: 10)

  @Test("a bounded number of exports runs at a time, and the next one is admitted when one ends")
  func bounded() throws {
    let gate = ExportGate()
    var permits = try (0..<ExportGate.countMax).map { _ in try gate.enter() }
    #expect(throws: Self.refusal) { _ = try gate.enter() }
    permits.removeLast()
    permits.append(try gate.enter())
    #expect(throws: Self.refusal) { _ = try gate.enter() }
  }

  @Test("an export whose reader has disappeared does not block others forever")
  func forgotten() throws {
    let gate = ExportGate()
    let start = ContinuousClock.now
    let permits = try (0..<ExportGate.countMax).map { _ in try gate.enter(at: start) }
    #expect(throws: Self.refusal) { _ = try gate.enter(at: start + ExportGate.durationMax - .seconds(1)) }
    let late = try gate.enter(at: start + ExportGate.durationMax)
    withExtendedLifetime((permits, late)) {}
  }
}
