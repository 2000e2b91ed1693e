import Foundation
import HTTPTypes
import Hummingbird
import HummingbirdTesting
import Logging
import PostgresTesting

/// A request as the API behind a gateway received it; the echo API returns it as the response.
struct Echo: Codable {
  var method: String
  var path: String
  var headers: [[String]]
  var body: String

  func header(_ name: String) -> String? {
    headers.first { $0[0].lowercased() == name.lowercased() }?[1]
  }
}

/// Runs `body` with an API that answers every request with an `Echo` of it, with status 500 at `/broken`.
func withEchoAPI(_ body: @escaping @Sendable (_ port: Int) async throws -> Void) async throws {
  let responder = CallbackResponder { (request: Request, _: BasicRequestContext) in
    var request = request
    let echo = Echo(
      method: request.method.rawValue, path: request.uri.description,
      headers: request.headers.map { [$0.name.rawName, $0.value] },
      body: String(buffer: try await request.collectBody(upTo: 8 << 20)))
    let json = String(decoding: try JSONEncoder().encode(echo), as: UTF8.self)
    return Response(
      status: request.uri.path == "/broken" ? .internalServerError : .ok, body: .init(byteBuffer: .init(string: json)))
  }
  var logger = Logger(label: "api")
  logger.logLevel = .critical
  let api = Application(
    responder: responder, configuration: .init(address: .hostname("127.0.0.1", port: 0)), logger: logger)
  try await api.test(.live) { client in
    guard let port = client.port else { throw TestSetupError(description: "the API has no port") }
    try await body(port)
  }
}
