import HTTPTypes

/// The routes that gateways call for each request of their APIs. The fast path answers them. Their methods and paths
/// are defined here only.
enum HotRoute: Int, CaseIterable, Sendable {
  case verify, verifyBatch, authorize

  /// The first line of a request without a query.
  var requestLine: StaticString {
    switch self {
    case .verify: "POST /v1/verify HTTP/1.1\r\n"
    case .verifyBatch: "POST /v1/verify/batch HTTP/1.1\r\n"
    case .authorize: "GET /v1/authorize HTTP/1.1\r\n"
    }
  }

  var method: HTTPRequest.Method { self == .authorize ? .get : .post }

  /// With a slash at the beginning.
  var path: String { Self.paths[rawValue] }

  private static let paths = allCases.map { route in
    String(route.requestLine.description.split(separator: " ")[1])
  }
}
