import Foundation

/// The repository's root.
package let repositoryRoot = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
  .deletingLastPathComponent().path

/// A missing requirement of the tests: a suite that skips itself proves nothing.
package struct TestSetupError: Error, CustomStringConvertible {
  package var description: String

  package init(description: String) { self.description = description }
}

/// A superuser's URL of the server that `make test` starts, or of one of its databases.
package func serverURL(database: String? = nil) throws -> String {
  guard let url = ProcessInfo.processInfo.environment["TEST_DATABASE_URL"] else {
    throw TestSetupError(description: "TEST_DATABASE_URL is not set; run the tests with make test")
  }
  return database.map { url + " dbname=" + $0 } ?? url
}

/// The processes of the PostgreSQL server on a data folder; the first one is the postmaster.
package func postgresProcesses(data: String) throws -> [Int32] {
  let file = try String(contentsOfFile: data + "/postmaster.pid", encoding: .utf8)
  guard let parent = file.split(separator: "\n").first.flatMap({ Int32($0) }) else {
    throw TestSetupError(description: "no process in \(data)/postmaster.pid")
  }
  let children = try String(contentsOfFile: "/proc/\(parent)/task/\(parent)/children", encoding: .utf8)
  return [parent] + children.split(separator: " ").compactMap { Int32($0) }
}

/// A PostgreSQL server for a single test, created by `scripts/cluster`, which the test may stop and start.
package struct OwnServer: Sendable {
  package let directory: String
  private let environment: [String: String]

  /// `environment` also applies to the server.
  package static func with<Value>(
    environment: [String: String] = ProcessInfo.processInfo.environment, _ body: (OwnServer) async throws -> Value
  ) async throws -> Value {
    let server = OwnServer(
      directory: "/tmp/latchkey-test-\(UUID().uuidString.prefix(8))", environment: environment)
    try await server.script("start", "--fast")
    let result: Result<Value, any Error>
    do { result = .success(try await body(server)) } catch { result = .failure(error) }
    try await server.script("destroy")
    return try result.get()
  }

  /// Runs `body` with a streaming standby of this server.
  package func withStandby<Value>(_ body: (OwnServer) async throws -> Value) async throws -> Value {
    let standby = OwnServer(directory: directory + "-standby", environment: environment)
    let result: Result<Value, any Error>
    do {
      try await standby.script("standby", directory)
      result = .success(try await body(standby))
    } catch { result = .failure(error) }
    try await standby.script("destroy")
    return try result.get()
  }

  /// Promotes a standby to primary.
  package func promote() async throws { try await script("promote") }

  /// Runs `body` and then restores the previous data, as from a cold backup. The server runs before and afterwards.
  package func losing(_ body: () async throws -> Void) async throws {
    let saved = directory + "-saved"
    try await stop()
    _ = try await run("/bin/cp", ["-a", directory + "/data", saved])
    do {
      try await start()
      try await body()
      try await stop()
      try FileManager.default.removeItem(atPath: directory + "/data")
      try FileManager.default.moveItem(atPath: saved, toPath: directory + "/data")
      try await start()
    } catch {
      try? FileManager.default.removeItem(atPath: saved)
      throw error
    }
  }

  package func url() async throws -> String { try await script("url").trimmingCharacters(in: .newlines) }
  package func start() async throws { try await script("start") }
  package func stop() async throws { try await script("stop") }
  package func restart() async throws { try await script("restart") }

  /// Stops it like a crash: nothing more is written, and the next start recovers from the log.
  package func crash() async throws { try await script("stop", "immediate") }

  /// Its processes; the first one is the postmaster.
  package func processes() throws -> [Int32] {
    let location = try? String(contentsOfFile: directory + "/location", encoding: .utf8)
    let home = location?.trimmingCharacters(in: .newlines) ?? directory
    return try postgresProcesses(data: home + "/data")
  }

  /// Runs the script and returns its output.
  @discardableResult
  private func script(_ command: String, _ options: String...) async throws -> String {
    try await cluster([command, directory] + options, environment: environment)
  }
}

/// The folder with the programs of the PostgreSQL that `scripts/cluster` runs.
package func postgresPrograms() async throws -> String {
  try await cluster(["programs"]).trimmingCharacters(in: .newlines)
}

private func cluster(
  _ arguments: [String], environment: [String: String] = ProcessInfo.processInfo.environment
) async throws -> String {
  let result = try await run(repositoryRoot + "/scripts/cluster", arguments, environment: environment)
  guard result.status == 0 else {
    throw TestSetupError(
      description: "scripts/cluster \(arguments[0]) ended with \(result.status): \(result.output)\(result.errors)")
  }
  return result.output
}
