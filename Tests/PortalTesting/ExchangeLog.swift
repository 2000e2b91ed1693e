import Foundation
import HTTPTypes
import HummingbirdTesting
import NIOCore
import PortalAPI
import PortalHTTP
import Synchronization

/// Writes requests and responses to a file in the folder `EXCHANGES_DIRECTORY`, one line of JSON per exchange, so that
/// scripts/check-exchanges can compare them with `openapi.yaml`.
///
/// Only the first `countMax` exchanges per route, method and status are written, which keeps the file small.
final class ExchangeLog: Sendable {
  private struct Exchange: Encodable {
    var method: String
    /// The path of the route, such as `/v1/keys/{id}`; nil if there is no route.
    var path: String?
    var target: String
    var requestHeaders: [[String]]
    var requestBody: String
    var status: Int
    var headers: [[String]]
    var body: String
  }

  private struct Kind: Hashable {
    var route: String?
    var method: HTTPRequest.Method
    var status: Int
  }

  private struct State {
    var file: FileHandle
    var counts: [Kind: Int] = [:]
  }

  private static let countMax = 300
  private static let byteCountMax = 1 << 20

  /// Nil if `EXCHANGES_DIRECTORY` is not set.
  static let shared: ExchangeLog? = ProcessInfo.processInfo.environment["EXCHANGES_DIRECTORY"].map(ExchangeLog.init)

  private let state: Mutex<State>

  private init(folder: String) {
    let path = folder + "/\(ProcessInfo.processInfo.processIdentifier).jsonl"
    try? FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    guard FileManager.default.createFile(atPath: path, contents: nil), let file = FileHandle(forWritingAtPath: path)
    else { preconditionFailure("\(path) cannot be written") }
    state = Mutex(State(file: file))
  }

  func add(
    _ method: HTTPRequest.Method, _ target: String, _ requestHeaders: HTTPFields, _ requestBody: ByteBuffer?,
    _ response: TestResponse, route: String?
  ) throws {
    let requestBody = requestBody ?? ByteBuffer()
    guard requestBody.readableBytes <= Self.byteCountMax, response.body.readableBytes <= Self.byteCountMax,
      isWanted(Kind(route: route, method: method, status: response.status.code))
    else { return }
    let exchange = Exchange(
      method: method.rawValue, path: route.map { String($0.drop { $0 != "/" }) }, target: target,
      requestHeaders: Self.list(requestHeaders), requestBody: String(buffer: requestBody), status: response.status.code,
      headers: Self.list(response.headers), body: String(buffer: response.body))
    let line = try JSONEncoder().encode(exchange) + Data("\n".utf8)
    try state.withLock { try $0.file.write(contentsOf: line) }
  }

  private func isWanted(_ kind: Kind) -> Bool {
    state.withLock {
      $0.counts[kind, default: 0] += 1
      return $0.counts[kind, default: 0] <= Self.countMax
    }
  }

  private static func list(_ fields: HTTPFields) -> [[String]] { fields.map { [$0.name.canonicalName, $0.value] } }
}

/// A client whose exchanges are logged, except those of pages, which no contract describes.
struct RecordingClient: TestClientProtocol {
  let client: any TestClientProtocol
  let table: RouteTable
  let pages: RouteTable
  let log: ExchangeLog

  var port: Int? { client.port }

  func executeRequest(
    uri: String, method: HTTPRequest.Method, headers: HTTPFields, body: ByteBuffer?
  ) async throws -> TestResponse {
    let response = try await client.executeRequest(uri: uri, method: method, headers: headers, body: body)
    let path = String(uri.prefix { $0 != "?" })
    let isPage = response.headers[.contentType]?.hasPrefix("text/html") ?? false
    if isPage || !pages.methods(at: path).isEmpty { return response }
    try log.add(method, uri, headers, body, response, route: table.route(at: path, method))
    return response
  }
}
