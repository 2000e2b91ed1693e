import PortalTesting
import PostgresTesting

/// What a client that is no HTTP library sends, byte for byte, and what comes back until the server closes.
func exchange(_ portal: TestPortal, _ requests: String...) async throws -> String {
  try await exchange(portal, bytes: requests.map { Array($0.utf8) })
}

/// Sends one part after the other, then reads to the end. With `endsInput` the portal is told that nothing more comes.
func exchange(_ portal: TestPortal, bytes parts: [[UInt8]], endsInput: Bool = false) async throws -> String {
  guard let port = portal.port else { throw TestSetupError(description: "the portal is not live") }
  return try await rawExchange(port: port, parts, endsInput: endsInput)
}
