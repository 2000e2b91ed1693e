import Foundation
import HTTPTypes
import HummingbirdTesting
import NIOCore
package import PortalHTTP
import PostgresTesting

/// A connection that is kept, to a server in another process.
package struct TestConnection: Sendable {
  package struct Answer: Sendable {
    package var status: Int
    package var text: String
    package var retryAfter: String?

    package func json() throws -> JSONValue { try JSONParser.parse(text.utf8) }

    /// The verdicts of an answer to a verification or a batch of them, in order; without parsing the rest, because tests
    /// read very many.
    package var codes: [String] {
      text.components(separatedBy: "\"code\":\"").dropFirst().map { String($0.prefix { $0 != "\"" }) }
    }
  }

  private let client: TestClient

  /// Runs `body` with a connection to each of the ports.
  package static func with<Value>(
    _ ports: [Int], _ body: ([TestConnection]) async throws -> Value
  ) async throws -> Value {
    let connections = ports.map { port in
      // Longer than any server is suspended, or waits for a database that is away.
      TestConnection(client: TestClient(host: "127.0.0.1", port: port, configuration: .init(timeout: .seconds(60))))
    }
    for connection in connections { connection.client.connect() }
    let result: Result<Value, any Error>
    do { result = .success(try await body(connections)) } catch { result = .failure(error) }
    for connection in connections { try? await connection.client.shutdown() }
    return try result.get()
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
    do { response = try await client.execute(request) } catch {
      throw TestSetupError(description: "\(method) \(path) \(json ?? ""): \(error)")
    }
    return Answer(
      status: response.status.code, text: response.body.map { String(buffer: $0) } ?? "",
      retryAfter: response.headers[.retryAfter])
  }

  /// Asks about the keys as a gateway does: one by itself, several in a batch.
  package func verify(_ keys: [String], token: String) async throws -> Answer {
    let questions = keys.map { "{\"key\":\"\($0)\"}" }
    return keys.count == 1
      ? try await send("POST", "/v1/verify", questions[0], token: token)
      : try await send(
        "POST", "/v1/verify/batch", "{\"requests\":[\(questions.joined(separator: ","))]}", token: token)
  }
}
