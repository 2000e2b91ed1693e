import Foundation
import HTTPTypes
import HummingbirdTesting
import JSON
import NIOCore
package import PortalApplication
package import PortalHTTP
import PostgresTesting
import Synchronization

/// A persistent connection to a server in another process. If it was idle for so long that the server may be closing
/// it, it is replaced before the next request, as gateways do.
package final class TestConnection: Sendable {
  /// Well below the time after which a server closes an idle connection.
  private static let silenceMax: Duration = .seconds(30)

  package struct Answer: Sendable {
    package var status: Int
    package var text: String
    package var retryAfter: String?

    package func json() throws -> JSONValue { try JSONParser.parse(text.utf8) }

    /// The codes in a response to one verification or a batch, in order. The rest is not parsed, because tests read
    /// very many.
    package var codes: [String] {
      text.components(separatedBy: "\"code\":\"").dropFirst().map { String($0.prefix { $0 != "\"" }) }
    }
  }

  private struct State {
    var client: TestClient
    var lastUsedAt = ContinuousClock.now
    var requestCount = 0
  }

  private let port: Int
  private let state: Mutex<State>

  private init(port: Int) {
    self.port = port
    state = Mutex(State(client: Self.connect(port)))
  }

  private static func connect(_ port: Int) -> TestClient {
    // Longer than any server is suspended, or waits for an unreachable database.
    let client = TestClient(host: "127.0.0.1", port: port, configuration: .init(timeout: .seconds(60)))
    client.connect()
    return client
  }

  /// Runs `body` with a connection to each of the ports.
  package static func with<Value>(
    _ ports: [Int], _ body: ([TestConnection]) async throws -> Value
  ) async throws -> Value {
    let connections = ports.map(TestConnection.init)
    let result: Result<Value, any Error>
    do { result = .success(try await body(connections)) } catch { result = .failure(error) }
    for connection in connections { try? await connection.state.withLock { $0.client }.shutdown() }
    return try result.get()
  }

  private func execute(_ request: TestClient.Request) async throws -> TestClient.Response {
    let (client, silent) = state.withLock { state in
      var silent: TestClient?
      if state.requestCount == 0, .now - state.lastUsedAt > Self.silenceMax {
        silent = state.client
        state.client = Self.connect(port)
      }
      state.requestCount += 1
      return (state.client, silent)
    }
    defer {
      state.withLock { state in
        state.requestCount -= 1
        state.lastUsedAt = .now
      }
    }
    try? await silent?.shutdown()
    return try await client.execute(request)
  }

  package func send(
    _ method: String, _ path: String, _ json: String? = nil, token: String? = nil
  ) async throws -> Answer {
    guard let method = HTTPRequest.Method(method) else { throw TestSetupError(description: "no method: \(method)") }
    var headers: HTTPFields = [:]
    if json != nil { headers[.contentType] = "application/json" }
    if let token { headers[.authorization] = "Bearer " + token }
    let request = TestClient.Request(
      path, method: method, authority: "127.0.0.1", headers: headers, body: json.map { ByteBuffer(string: $0) })
    let response: TestClient.Response
    do { response = try await execute(request) } catch {
      throw TestSetupError(description: "\(method) \(path) \(json ?? ""): \(error)")
    }
    return Answer(
      status: response.status.code, text: response.body.map { String(buffer: $0) } ?? "",
      retryAfter: response.headers[.retryAfter])
  }

  /// Verifies keys as a gateway does: one by itself, several in a batch.
  package func verify(_ keys: [String], token: String) async throws -> Answer {
    let questions = keys.map { "{\"key\":\"\($0)\"}" }
    return keys.count == 1
      ? try await send("POST", "/v1/verify", questions[0], token: token)
      : try await send(
        "POST", "/v1/verify/batch", "{\"requests\":[\(questions.joined(separator: ","))]}", token: token)
  }
}
