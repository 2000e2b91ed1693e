import PortalTesting
import PostgresTesting

/// Sends the requests byte for byte, without an HTTP library, and returns what the server sends until it closes.
func exchange(_ portal: TestPortal, _ requests: String...) async throws -> String {
  try await exchange(portal, bytes: requests.map { Array($0.utf8) })
}

/// Sends one part after the other, then reads to the end. With `endsInput`, ends the client's side after the last part.
func exchange(_ portal: TestPortal, bytes parts: [[UInt8]], endsInput: Bool = false) async throws -> String {
  guard let port = portal.port else { throw TestSetupError(description: "the portal is not live") }
  return try await rawExchange(port: port, parts, endsInput: endsInput)
}
