import Foundation

/// The repository's root.
package let repositoryRoot = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
  .deletingLastPathComponent().path

/// What is missing for the tests to run: a suite that skips itself proves nothing.
package struct TestSetupError: Error, CustomStringConvertible {
  package var description: String

  package init(description: String) { self.description = description }
}

/// A superuser's way to the server that `make test` starts; to one of its databases, if given.
package func serverURL(database: String? = nil) throws -> String {
  guard let url = ProcessInfo.processInfo.environment["TEST_DATABASE_URL"] else {
    throw TestSetupError(description: "TEST_DATABASE_URL is not set; run the tests with make test")
  }
  return database.map { url + " dbname=" + $0 } ?? url
}

/// A PostgreSQL server of one test's own, made by `scripts/cluster`, which that test may stop and start.
package struct OwnServer: Sendable {
  package let directory: String

  package static func with<Value>(_ body: (OwnServer) async throws -> Value) async throws -> Value {
    let server = OwnServer(directory: "/tmp/latchkey-test-\(UUID().uuidString.prefix(8))")
    try await server.script("start", "--fast")
    let result: Result<Value, any Error>
    do { result = .success(try await body(server)) } catch { result = .failure(error) }
    try await server.script("destroy")
    return try result.get()
  }

  package func url() async throws -> String { try await script("url").trimmingCharacters(in: .newlines) }
  package func start() async throws { try await script("start") }
  package func stop() async throws { try await script("stop") }
  package func restart() async throws { try await script("restart") }

  /// Ends it as a crash would: nothing is written any more, and the next start recovers from the log.
  package func crash() async throws { try await script("stop", "immediate") }

  /// Runs the script; what it printed.
  @discardableResult
  private func script(_ command: String, _ options: String...) async throws -> String {
    let result = try await run(repositoryRoot + "/scripts/cluster", [command, directory] + options)
    guard result.status == 0 else {
      throw TestSetupError(
        description: "scripts/cluster \(command) ended with \(result.status): \(result.output)\(result.errors)")
    }
    return result.output
  }
}
