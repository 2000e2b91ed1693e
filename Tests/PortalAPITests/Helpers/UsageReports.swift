import JSON
import PortalAPI
import PortalHTTP
import PortalTesting

/// One event of a usage batch, as JSON. `latency` is also JSON.
func event(
  _ keyID: String, endpoint: String = "/orders", status: Int = 200, latency: String? = nil, at: String? = nil
) -> String {
  let latency = latency.map { ",\"latencyMs\":\($0)" } ?? ""
  let at = at.map { ",\"at\":\"\($0)\"" } ?? ""
  return "{\"keyId\":\"\(keyID)\",\"endpoint\":\"\(endpoint)\",\"status\":\(status)\(latency)\(at)}"
}

extension TestPortal {
  /// Reports outcomes as a gateway does.
  func report(_ events: [String], batch: String? = nil, token: String?) async throws -> TestAnswer {
    let batch = batch.map { "\"batchId\":\"\($0)\"," } ?? ""
    return try await post("/v1/usage", "{\(batch)\"events\":[\(events.joined(separator: ","))]}", token: token)
  }
}

extension TestCustomer {
  /// The usage of a key, including everything counted so far.
  func usage(of id: String, _ query: String = "") async throws -> JSONValue {
    try await portal.flushUsage()
    return try await get("/v1/keys/\(id)/usage" + query).body
  }

  /// The usage of the account, including everything counted so far.
  func usage(_ query: String = "") async throws -> JSONValue {
    try await portal.flushUsage()
    return try await get("/v1/usage" + query).body
  }
}
