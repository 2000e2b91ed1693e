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
  /// Its output as one JSON object.
  func json() throws -> JSONValue { try JSONParser.parse(output.trimmingCharacters(in: .newlines).utf8) }
}

/// Runs a command of Latchkey's to its end.
func latchkey(
  _ arguments: [String], environment: [String: String] = [:], input: String? = nil
) async throws -> CommandResult {
  try await run(
    latchkeyBinary, arguments, environment: baseEnvironment.merging(environment) { $1 }, input: input)
}

/// Without what the developer's shell says of other databases.
let baseEnvironment = ProcessInfo.processInfo.environment.filter { name, _ in
  ![
    "DATABASE_URL", "HTTP_HOST", "HTTP_PORT", "HTTP_SOCKET", "PUBLIC_URL", "SIGNUP_OPEN", "NOTIFY_SOCKET",
    "WATCHDOG_USEC", "WATCHDOG_PID", "TLS_CERTIFICATE", "TLS_KEY",
  ].contains(name) && !name.hasPrefix("PG") && !name.hasPrefix("MAIL_")
}

/// A `latchkey serve` of one test's own.
final class RunningServer: Sendable {
  private let process: ChildProcess
  let port: Int
  let log: String
  /// What curl needs, beside ``url``, to reach it.
  let curlOptions: [String]

  let url: String
  private let readiness: [String]

  /// Starts the server, on a free port if none is given, and waits until it is ready. `shell` is what a shell does
  /// before, for the limits that the server is to have.
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
    // Through a shell, which the library of a fake clock gives its variable: a program that it gives it to at its own
    // start does not find its arguments any more.
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
    try await eventually("the server is ready", within: .seconds(30)) {
      guard process.isRunning else { throw TestSetupError(description: "the server ended: \(readLog())") }
      return try await isReady()
    }
  }

  /// Whether it says that it may be sent traffic.
  func isReady() async throws -> Bool { try await statusCode(readiness) == "200" }

  func readLog() -> String { (try? String(contentsOfFile: log, encoding: .utf8)) ?? "" }

  var processID: Int32 { process.id }

  func send(_ signal: Int32) { process.send(signal) }

  /// Sends a signal and waits for the end; the exit status.
  func end(_ signal: Int32 = SIGTERM) async throws -> Int32 {
    process.send(signal)
    let status = await process.wait()
    try SecretsSweep().check(readLog(), "a server's log")
    return status
  }
}

/// Runs `body` with servers on one database, and ends what is left of them. A port may be given if it is one server.
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

/// The status of an answer, or 000 where there is none.
func statusCode(_ arguments: [String]) async throws -> String {
  try await curl(["-o", "/dev/null", "-w", "%{http_code}"] + arguments).output
}

/// Ports that were given to tests, which may not listen there yet.
private let givenPorts = Mutex<Set<Int>>([])

/// A port that nobody listens on now and that no other test was given, from below those that the kernel gives to
/// connections: one of these could be taken before the server has it.
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
