import Foundation
import JSON
import PortalAPI
import PortalHTTP
import PortalTesting
import PostgresTesting
import Synchronization

/// The `latchkey` that was built together with the tests.
let latchkeyBinary =
  ProcessInfo.processInfo.environment["LATCHKEY_BINARY"] ?? repositoryRoot + "/.build/debug/latchkey"

extension CommandResult {
  /// The output as one JSON object.
  func json() throws -> JSONValue { try JSONParser.parse(output.trimmingCharacters(in: .newlines).utf8) }
}

/// Runs a `latchkey` command to its end.
func latchkey(
  _ arguments: [String], environment: [String: String] = [:], input: String? = nil
) async throws -> CommandResult {
  try await run(
    latchkeyBinary, arguments, environment: baseEnvironment.merging(environment) { $1 }, input: input)
}

/// The environment without the developer's settings for other databases and servers.
let baseEnvironment = ProcessInfo.processInfo.environment.filter { name, _ in
  ![
    "DATABASE_URL", "HTTP_HOST", "HTTP_PORT", "HTTP_SOCKET", "PUBLIC_URL", "SIGNUP_OPEN", "NOTIFY_SOCKET",
    "WATCHDOG_USEC", "WATCHDOG_PID", "TLS_CERTIFICATE", "TLS_KEY",
  ].contains(name) && !name.hasPrefix("PG") && !name.hasPrefix("MAIL_")
}

/// A test's own `latchkey serve`.
final class RunningServer: Sendable {
  private let process: ChildProcess
  let port: Int
  let log: String
  /// The options that curl needs besides ``url`` to reach the server.
  let curlOptions: [String]

  let url: String
  private let readiness: [String]

  /// Starts the server, on a free port if none is given, and waits until it is ready. `shell` is a shell command to run
  /// before it, for example to set limits.
  init(
    on database: TestDatabase, spool: String, port: Int? = nil, environment: [String: String] = [:],
    clock: FakeClock? = nil, shell: String? = nil
  ) async throws {
    self.port = try port ?? freePort()
    log = spool + ".\(self.port).log"
    let certificate = environment["TLS_CERTIFICATE"]
    url = "\(certificate == nil ? "http" : "https")://127.0.0.1:\(self.port)"
    curlOptions =
      environment["HTTP_SOCKET"].map { ["--unix-socket", $0] } ?? certificate.map { ["--cacert", $0] } ?? []
    // Through a shell, in which the library of a fake clock sets its variable: a program for which it does so at the
    // start no longer finds its arguments.
    let (program, arguments) =
      clock == nil && shell == nil
      ? (latchkeyBinary, ["serve"])
      : ("/bin/sh", ["-c", (shell.map { $0 + " && " } ?? "") + "exec \"$0\" serve", latchkeyBinary])
    process = try ChildProcess(
      program, arguments,
      environment: baseEnvironment.merging([
        "DATABASE_URL": database.url, "HTTP_PORT": "\(self.port)", "SIGNUP_OPEN": "true", "USAGE_SPOOL": spool,
        "PASSWORD_COST": "10", "SESSION_RATE_LIMIT_PER_MINUTE": "0", "ADDRESS_RATE_LIMIT_PER_MINUTE": "0",
      ]) { $1 }.merging(environment) { $1 }.merging(clock?.environment ?? [:]) { $1 }, output: log)
    readiness =
      environment["OPERATIONS_PORT"].map { ["http://127.0.0.1:\($0)/readyz"] } ?? curlOptions + [url + "/readyz"]
    do {
      try await eventually("the server is ready", within: .seconds(30)) {
        guard process.isRunning else { throw TestSetupError(description: "the server ended: \(readLog())") }
        return try await isReady()
      }
    } catch {
      // Nobody else knows of it yet.
      process.send(SIGKILL)
      throw TestSetupError(description: "\(error)\n\(readLog())")
    }
  }

  /// Whether the server reports that it is ready.
  func isReady() async throws -> Bool { try await statusCode(readiness) == "200" }

  func readLog() -> String { (try? String(contentsOfFile: log, encoding: .utf8)) ?? "" }

  var processID: Int32 { process.id }

  func send(_ signal: Int32) { process.send(signal) }

  /// Sends a signal, waits for the end, and returns the exit status.
  func end(_ signal: Int32 = SIGTERM) async throws -> Int32 {
    process.send(signal)
    let status = await process.wait()
    try SecretsSweep().check(readLog(), "a server's log")
    return status
  }
}

/// Runs `body` with servers on one database, and ends those that still run. A port may be given for one server.
func withServers(
  _ count: Int, on database: TestDatabase, port: Int? = nil, environment: [String: String] = [:], shell: String? = nil,
  _ body: ([RunningServer]) async throws -> Void
) async throws {
  let spool = FileManager.default.temporaryDirectory.appending(path: database.name).path
  defer { try? FileManager.default.removeItem(atPath: spool) }
  var servers: [RunningServer] = []
  do {
    for _ in 0..<count {
      servers.append(
        try await RunningServer(on: database, spool: spool, port: port, environment: environment, shell: shell))
    }
    try await body(servers)
    for server in servers { _ = try await server.end(SIGKILL) }
  } catch {
    for server in servers { _ = try? await server.end(SIGKILL) }
    throw error
  }
}

func curl(_ arguments: [String]) async throws -> CommandResult {
  try await run("/usr/bin/curl", ["-sS", "--max-time", "20"] + arguments)
}

/// Returns the status of an answer, or 000 if there is none.
func statusCode(_ arguments: [String]) async throws -> String {
  try await curl(["-o", "/dev/null", "-w", "%{http_code}"] + arguments).output
}

/// Ports that were given to tests, which may not listen on them yet.
private let givenPorts = Mutex<Set<Int>>([])

/// Returns a port that nothing listens on and that no other test was given. It is below the kernel's range for outgoing
/// connections, which could take a port before the server does.
func freePort() throws -> Int {
  for _ in 0..<100 {
    let port = Int.random(in: 20_000..<32_000)
    guard givenPorts.withLock({ $0.insert(port).inserted }) else { continue }
    let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    defer { close(descriptor) }
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_port = in_port_t(port).bigEndian
    address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
    let isFree = withUnsafePointer(to: &address) { pointer in
      pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        bind(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size)) == 0
      }
    }
    if isFree { return port }
  }
  throw TestSetupError(description: "no free port")
}
