internal import COpenAPI
import Hummingbird

/// `/openapi.json` and `/openapi.yaml`: the contract of this API, embedded when the program is built.
struct ContractController {
  private static let json = FixedDocument(embedded_openapi_json().pointee, type: "application/json")
  private static let yaml = FixedDocument(embedded_openapi_yaml().pointee, type: "application/yaml")

  func addRoutes(to routes: PublicRoutes) {
    routes.get("openapi.json", .anybody) { request, _ in Self.json.response(to: request) }
    routes.get("openapi.yaml", .anybody) { request, _ in Self.yaml.response(to: request) }
  }
}

extension FixedDocument {
  fileprivate init(_ document: embedded_document, type: String) {
    self.init(UnsafeBufferPointer(start: document.bytes, count: document.length), type: type)
  }
}
