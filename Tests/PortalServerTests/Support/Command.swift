import Foundation
import PortalHTTP
import PortalTesting

/// The `latchkey` that was built together with the tests.
let latchkeyBinary =
  ProcessInfo.processInfo.environment["LATCHKEY_BINARY"] ?? repositoryRoot + "/.build/debug/latchkey"

/// What a finished command left.
struct CommandResult {
  var status: Int32
  var output: String
  var errors: String

  /// Its output as one JSON object.
  func json() throws -> JSONValue { try JSONParser.parse(output.trimmingCharacters(in: .newlines).utf8) }
}

/// Runs a command to its end.
func run(
  _ arguments: [String], of path: String = latchkeyBinary, environment: [String: String] = [:], input: String? = nil
) async throws -> CommandResult {
  let process = Process()
  process.executableURL = URL(filePath: path)
  process.arguments = arguments
  process.environment = baseEnvironment.merging(environment) { _, new in new }
  process.currentDirectoryURL = URL(filePath: repositoryRoot)
  let (output, errors, standardInput) = (Pipe(), Pipe(), Pipe())
  process.standardOutput = output
  process.standardError = errors
  process.standardInput = standardInput
  let status = try await withCheckedThrowingContinuation { (continuation: CheckedContinuation<Int32, any Error>) in
    process.terminationHandler = { continuation.resume(returning: $0.terminationStatus) }
    do { try process.run() } catch { continuation.resume(throwing: error) }
    if let input { standardInput.fileHandleForWriting.write(Data(input.utf8)) }
    try? standardInput.fileHandleForWriting.close()
  }
  return CommandResult(
    status: status, output: String(decoding: output.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self),
    errors: String(decoding: errors.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self))
}

/// Without what the developer's shell says of other databases.
private let baseEnvironment = ProcessInfo.processInfo.environment.filter { name, _ in
  !["DATABASE_URL", "HTTP_HOST", "HTTP_PORT", "PUBLIC_URL", "SIGNUP_OPEN"].contains(name) && !name.hasPrefix("PG")
}

/// A `latchkey serve` of one test's own.
final class RunningServer: Sendable {
  private let process = Process()
  let port: Int
  let log: String

  var url: String { "http://127.0.0.1:\(port)" }

  /// Starts the server on a free port and waits until it is ready.
  init(on database: TestDatabase, spool: String) async throws {
    port = try freePort()
    log = spool + ".\(port).log"
    _ = FileManager.default.createFile(atPath: log, contents: nil)
    process.executableURL = URL(filePath: latchkeyBinary)
    process.arguments = ["serve"]
    process.environment = baseEnvironment.merging([
      "DATABASE_URL": database.url, "HTTP_PORT": "\(port)", "SIGNUP_OPEN": "true", "USAGE_SPOOL": spool,
      "PASSWORD_COST": "10",
    ]) { _, new in new }
    process.currentDirectoryURL = URL(filePath: repositoryRoot)
    process.standardOutput = FileHandle(forWritingAtPath: log)
    process.standardError = FileHandle(forWritingAtPath: log)
    try process.run()
    try await eventually(within: .seconds(30), "the server is ready") {
      guard process.isRunning else { throw TestSetupError(description: "the server ended: \(readLog())") }
      return try await curl(["-o", "/dev/null", "-w", "%{http_code}", url + "/readyz"]).output == "200"
    }
  }

  func readLog() -> String { (try? String(contentsOfFile: log, encoding: .utf8)) ?? "" }

  /// Sends a signal and waits for the end; the exit status.
  func end(_ signal: Int32 = SIGTERM) async throws -> Int32 {
    kill(process.processIdentifier, signal)
    try await eventually(within: .seconds(30), "the server has ended") { !process.isRunning }
    return process.terminationStatus
  }
}

/// Runs `body` with servers on one database, and ends what is left of them.
func withServers(_ count: Int, on database: TestDatabase, _ body: ([RunningServer]) async throws -> Void) async throws {
  let spool = FileManager.default.temporaryDirectory.appending(path: database.name).path
  var servers: [RunningServer] = []
  do {
    for _ in 0..<count { servers.append(try await RunningServer(on: database, spool: spool)) }
    try await body(servers)
    for server in servers { _ = try await server.end(SIGKILL) }
  } catch {
    for server in servers { _ = try? await server.end(SIGKILL) }
    throw error
  }
}

func curl(_ arguments: [String]) async throws -> CommandResult {
  try await run(["-sS", "--max-time", "20"] + arguments, of: "/usr/bin/curl")
}

/// A port that nobody listens on now.
private func freePort() throws -> Int {
  let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
  defer { close(descriptor) }
  var address = sockaddr_in()
  address.sin_family = sa_family_t(AF_INET)
  address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
  var length = socklen_t(MemoryLayout<sockaddr_in>.size)
  let result = withUnsafeMutablePointer(to: &address) { pointer in
    pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { address in
      bind(descriptor, address, length) == 0 ? getsockname(descriptor, address, &length) : -1
    }
  }
  guard result == 0 else { throw TestSetupError(description: "no free port") }
  return Int(UInt16(bigEndian: address.sin_port))
}
