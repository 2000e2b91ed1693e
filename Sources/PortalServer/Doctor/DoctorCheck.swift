import Foundation
import PortalHTTP

/// What a check found, in a line.
struct Finding: Equatable, Sendable {
  /// From good to bad.
  enum Status: String, CaseIterable {
    case ok
    /// Servers start and answer, but somebody should look.
    case warning
    /// A server does not start, or does not do all that it is configured for.
    case failed
  }

  var status: Status
  var text: String

  static func ok(_ text: String) -> Finding { Finding(status: .ok, text: text) }
  static func warning(_ text: String) -> Finding { Finding(status: .warning, text: text) }
  static func failed(_ text: String) -> Finding { Finding(status: .failed, text: text) }

  /// Failed where there is something that keeps a server from starting.
  static func failed(if refusal: String?, else text: String) -> Finding { refusal.map { .failed($0) } ?? .ok(text) }
}

/// Something that `latchkey doctor` looks at.
struct DoctorCheck: Sendable {
  /// How long one may take; who takes longer has failed.
  static let timeLimit: Duration = .seconds(5)

  let name: String
  /// Whether it would say no more than that the database cannot be reached, where it cannot.
  let needsDatabase: Bool
  let look: @Sendable () async throws -> Finding

  init(_ name: String, needsDatabase: Bool = false, _ look: @escaping @Sendable () async throws -> Finding) {
    self.name = name
    self.needsDatabase = needsDatabase
    self.look = look
  }

  /// What it throws is a failure. At the limit it is left to itself, whether it obeys a cancellation or not.
  func run(_ limit: Duration = timeLimit) async -> Finding {
    let (findings, continuation) = AsyncStream.makeStream(of: Finding.self, bufferingPolicy: .bufferingOldest(1))
    let look = look
    let work = Task {
      do { continuation.yield(try await look()) } catch { continuation.yield(.failed(explanation(of: error))) }
    }
    let timer = Task {
      try await Task.sleep(for: limit)
      continuation.yield(.failed("no answer within \(limit)"))
    }
    defer {
      work.cancel()
      timer.cancel()
    }
    for await finding in findings { return finding }
    return .failed("was cancelled")
  }
}

extension [DoctorCheck] {
  /// Runs them one after the other. Those that need a database are passed over where `database` has not answered: the
  /// name of the check that tries to reach it.
  func run(
    database: String, limit: Duration = DoctorCheck.timeLimit, _ report: (String, Finding) -> Void
  ) async -> Finding.Status {
    var worst = Finding.Status.ok
    var isReached = true
    for check in self {
      let finding =
        check.needsDatabase && !isReached
        ? .failed("not looked at, since the database did not answer") : await check.run(limit)
      if check.name == database, finding.status == .failed { isReached = false }
      worst = Finding.Status.allCases.last { $0 == worst || $0 == finding.status } ?? worst
      report(check.name, finding)
    }
    return worst
  }
}

/// Runs what blocks on a thread of its own.
func onThread<Value: Sendable>(_ body: @escaping @Sendable () throws -> Value) async throws -> Value {
  try await withCheckedThrowingContinuation { continuation in
    Thread.detachNewThread { continuation.resume(with: Result { try body() }) }
  }
}
