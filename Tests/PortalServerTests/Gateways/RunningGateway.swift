import Foundation
import PortalTesting
import PostgresTesting
import Testing

/// The web servers that docs/gateways has a configuration for.
enum Gateway: String, CaseIterable, CustomTestStringConvertible {
  case nginx, caddy

  var testDescription: String { rawValue }

  var configuration: String {
    repositoryRoot + "/docs/gateways/" + (self == .nginx ? "nginx.conf" : "Caddyfile")
  }

  func program() throws -> String { try installedProgram(rawValue, by: "--gateways") }
}

/// A real gateway with the configuration file of the documentation and the values of a deployment.
final class RunningGateway: Sendable {
  private let process: ChildProcess
  private let kind: Gateway
  private let folder: String
  let port: Int

  /// Starts the gateway in front of an API, with servers that it asks in turn, and waits until it answers.
  init(_ kind: Gateway, before api: Int, asking servers: [RunningServer], token: String) async throws {
    self.kind = kind
    folder = FileManager.default.temporaryDirectory.appending(path: "latchkey-gateway-\(UUID())").path
    port = try freePort()
    try FileManager.default.createDirectory(atPath: folder + "/local", withIntermediateDirectories: true)
    let addresses = servers.map { "127.0.0.1:\($0.port)" }
    switch kind {
    case .nginx:
      try FileManager.default.createSymbolicLink(
        atPath: folder + "/nginx.conf", withDestinationPath: kind.configuration)
      for (name, lines) in [
        ("listen", ["listen 127.0.0.1:\(port);"]), ("api", ["server 127.0.0.1:\(api);"]),
        ("latchkey", addresses.map { "server \($0);" }),
        ("token", ["proxy_set_header X-Latchkey-Token \"\(token)\";"]),
      ] {
        try lines.joined(separator: "\n").write(
          toFile: "\(folder)/local/\(name).conf", atomically: true, encoding: .utf8)
      }
      process = try ChildProcess(
        kind.program(), ["-p", folder, "-c", "nginx.conf", "-g", "daemon off;"], output: folder + "/output")
    case .caddy:
      process = try ChildProcess(
        kind.program(), ["run", "--config", kind.configuration, "--adapter", "caddyfile"],
        environment: baseEnvironment.merging([
          "GATEWAY_SITE": "http://127.0.0.1:\(port)", "API_ADDRESS": "127.0.0.1:\(api)",
          "LATCHKEY_ADDRESS": addresses.joined(separator: " "), "LATCHKEY_TOKEN": token, "HOME": folder,
          "XDG_CONFIG_HOME": folder, "XDG_DATA_HOME": folder,
        ]) { $1 }, output: folder + "/output")
    }
    do {
      try await eventually("\(kind) answers", within: .seconds(30)) {
        guard process.isRunning else { throw TestSetupError(description: "\(kind) ended: \(readLogs())") }
        return try await curl(["-o", "/dev/null", "-w", "%{http_code}", "http://127.0.0.1:\(port)/"]).output == "401"
      }
    } catch {
      await end()
      throw error
    }
  }

  /// Everything that the gateway has logged.
  func readLogs() -> String {
    ["output", "access.log", "error.log"].map { folder + "/" + $0 }
      .map { (try? String(contentsOfFile: $0, encoding: .utf8)) ?? "" }.joined()
  }

  func end() async {
    process.send(SIGTERM)
    _ = await process.wait()
    try? FileManager.default.removeItem(atPath: folder)
  }
}

/// The response that a client of the gateway gets.
struct GatewayAnswer {
  let status: Int
  let text: String
  private let fields: [(name: String, value: String)]

  /// Parses the output of `curl --include`.
  init(_ output: String) throws {
    let parts = output.components(separatedBy: "\r\n\r\n")
    var lines = parts[0].components(separatedBy: "\r\n")
    let words = lines.removeFirst().split(separator: " ")
    guard parts.count > 1, words.count > 1, let status = Int(words[1]) else {
      throw TestSetupError(description: "no answer: \(output)")
    }
    self.status = status
    text = parts.dropFirst().joined(separator: "\r\n\r\n")
    fields = lines.map { line in
      let colon = line.firstIndex(of: ":") ?? line.endIndex
      return (line[..<colon].lowercased(), line[colon...].dropFirst().trimmingCharacters(in: .whitespaces))
    }
  }

  /// The value of a header, which must not occur twice.
  func header(_ name: String) -> String? {
    let values = fields.filter { $0.name == name.lowercased() }.map(\.value)
    #expect(values.count < 2, "\(name)")
    return values.first
  }

  /// The request that the API received.
  func echo() throws -> Echo { try JSONDecoder().decode(Echo.self, from: Data(text.utf8)) }
}

/// A gateway in front of an API, the servers that it asks, and a customer with a key.
struct GatewayWorld: Sendable {
  let kind: Gateway
  let database: TestDatabase
  let servers: [RunningServer]
  let gateway: RunningGateway
  let demo: DemoWorld

  func url(_ path: String) -> String { "http://127.0.0.1:\(gateway.port)\(path)" }

  /// Sends a request as a client of the API; `arguments` are further arguments of curl.
  func ask(_ path: String, key: String?, _ arguments: [String] = []) async throws -> GatewayAnswer {
    let credentials = key.map { ["-H", "Authorization: Bearer \($0)"] } ?? []
    return try GatewayAnswer(try await curl(["--include", url(path)] + credentials + arguments).output)
  }

  /// Creates a key with the scope `orders:read`; `more` has further members of the body, each after a comma.
  func createKey(_ more: String = "") async throws -> (id: String, key: String) {
    let answer = try await curl(
      [servers[0].url + "/v1/keys", "-H", "Content-Type: application/json", "-d"]
        + ["{\"name\":\"Key\",\"scopes\":[\"orders:read\"]\(more)}"] + asCustomer
    ).json()
    return (try #require(answer["id"].string), try #require(answer["key"].string))
  }

  var asCustomer: [String] { ["-H", "Authorization: Bearer \(demo.session)"] }
}

/// Runs `body` with a gateway and everything that it needs, and ends them afterwards.
func withGateway(
  _ kind: Gateway, servers count: Int = 1, _ body: @escaping @Sendable (GatewayWorld) async throws -> Void
) async throws {
  try await withEchoAPI { api in
    try await withDatabase { database in
      try await withServers(count, on: database) { servers in
        let demo = try await DemoWorld(database, servers[0])
        let gateway = try await RunningGateway(kind, before: api, asking: servers, token: demo.serviceToken)
        do {
          try await body(
            GatewayWorld(kind: kind, database: database, servers: servers, gateway: gateway, demo: demo))
          await gateway.end()
        } catch {
          await gateway.end()
          throw error
        }
      }
    }
  }
}
