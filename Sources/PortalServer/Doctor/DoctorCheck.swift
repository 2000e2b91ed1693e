import Foundation

/// The result of a check, in one line.
struct Finding: Equatable, Sendable {
  /// From best to worst.
  enum Status: String, CaseIterable {
    case ok
    /// A server starts and answers, but something needs attention.
    case warning
    /// A server does not start, or does not do everything that it is configured for.
    case failed
  }

  var status: Status
  var text: String

  static func ok(_ text: String) -> Finding { Finding(status: .ok, text: text) }
  static func warning(_ text: String) -> Finding { Finding(status: .warning, text: text) }
  static func failed(_ text: String) -> Finding { Finding(status: .failed, text: text) }

  /// Returns `.failed` if there is a reason why a server does not start, and `.ok` otherwise.
  static func failed(if refusal: String?, else text: String) -> Finding { refusal.map { .failed($0) } ?? .ok(text) }
}

/// A check of `latchkey doctor`.
struct DoctorCheck: Sendable {
  /// How long a check may take. One that takes longer has failed.
  static let timeLimit: Duration = .seconds(5)

  let name: String
  /// Whether the check can only fail while the database cannot be reached.
  let needsDatabase: Bool
  let look: @Sendable () async throws -> Finding

  init(_ name: String, needsDatabase: Bool = false, _ look: @escaping @Sendable () async throws -> Finding) {
    self.name = name
    self.needsDatabase = needsDatabase
    self.look = look
  }

  /// An error that the check throws is a failure. At the limit it is cancelled and no longer waited for.
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
  /// Runs the checks one after the other, and returns the worst status. `database` is the name of the check that tries
  /// to reach the database; if it fails, later checks that need the database are not run.
  func run(
    database: String, limit: Duration = DoctorCheck.timeLimit, _ report: (String, Finding) -> Void
  ) async -> Finding.Status {
    var worst = Finding.Status.ok
    var isReached = true
    for check in self {
      let finding =
        check.needsDatabase && !isReached
        ? .failed("not checked, because the database did not answer") : await check.run(limit)
      if check.name == database, finding.status == .failed { isReached = false }
      worst = Finding.Status.allCases.last { $0 == worst || $0 == finding.status } ?? worst
      report(check.name, finding)
    }
    return worst
  }
}

/// Runs a blocking `body` on a thread of its own.
func onThread<Value: Sendable>(_ body: @escaping @Sendable () throws -> Value) async throws -> Value {
  try await withCheckedThrowingContinuation { continuation in
    Thread.detachNewThread { continuation.resume(with: Result { try body() }) }
  }
}
