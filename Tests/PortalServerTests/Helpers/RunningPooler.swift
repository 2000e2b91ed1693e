import Foundation
import PortalTesting
import PostgresTesting

/// A test's own PgBouncer in front of its database, reached through a socket in its own folder.
final class RunningPooler: Sendable {
  enum Mode: String, CaseIterable {
    case session, transaction
  }

  private let process: ChildProcess
  let folder: String

  /// Starts the pooler, and waits until it listens.
  init(_ mode: Mode, before database: TestDatabase) async throws {
    // Short, because the path of a socket is limited.
    folder = "/tmp/latchkey-pooler-\(UUID().uuidString.prefix(8))"
    try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    guard let host = database.url.firstMatch(of: /host=(\S+)/)?.output.1 else {
      throw TestSetupError(description: "no host in \(database.url)")
    }
    let settings = """
      [databases]
      * = host=\(host) port=5432
      [pgbouncer]
      pool_mode = \(mode.rawValue)
      unix_socket_dir = \(folder)
      listen_port = 5432
      auth_type = trust
      auth_file = \(folder)/users
      default_pool_size = \(mode == .session ? 60 : 5)
      max_client_conn = 500

      """
    try settings.write(toFile: folder + "/settings", atomically: true, encoding: .utf8)
    try "\"postgres\" \"\"\n".write(toFile: folder + "/users", atomically: true, encoding: .utf8)
    // PgBouncer does not run as root; the user that PostgreSQL runs as may open its socket.
    try await giveToPostgres(folder)
    process = try ChildProcess(
      "/usr/bin/env", asPostgres([try installedProgram("pgbouncer", by: "--gateways"), folder + "/settings"]),
      output: folder + ".log")
    try await eventually("the pooler listens") {
      guard process.isRunning else { throw TestSetupError(description: "the pooler ended: \(log)") }
      // The socket exists before PgBouncer listens on it.
      return log.contains("process up")
    }
  }

  var log: String { (try? String(contentsOfFile: folder + ".log", encoding: .utf8)) ?? "" }

  func end() async {
    process.send(SIGKILL)
    _ = await process.wait()
    try? FileManager.default.removeItem(atPath: folder)
    try? FileManager.default.removeItem(atPath: folder + ".log")
  }

  /// Runs `body` with a pooler.
  static func with(
    _ mode: Mode, before database: TestDatabase, _ body: (RunningPooler) async throws -> Void
  ) async throws {
    let pooler = try await RunningPooler(mode, before: database)
    let result: Result<Void, any Error>
    do { result = .success(try await body(pooler)) } catch { result = .failure(error) }
    await pooler.end()
    try result.get()
  }
}
