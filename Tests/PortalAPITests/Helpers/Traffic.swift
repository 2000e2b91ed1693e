import Foundation
import Portal
import PortalAPI
import PortalHTTP
import PortalTesting
import PostgresTesting

/// Usage as instances write it to the database.
struct Traffic {
  var account: UUID
  var key: UUID
  var day: String
  var endpoint = "/orders"
  var verified = 0
  var denied = 0
  var errors = 0
  /// The latency of each reported request; if empty, only errors are reported.
  var latencies: [Double] = []

  /// The arguments of `count_usage`, one value of each array.
  private var columns: [String] {
    var histogram = LatencyHistogram()
    for latency in latencies { histogram.add(milliseconds: latency) }
    let reported = max(latencies.count, errors)
    let at = "'\(day) 12:00:00+00'"
    return [
      "'\(account)'", "'\(key)'", at, "'\(endpoint)'", "\(verified)", "\(denied)", at, "\(reported)", "\(errors)",
      "\(latencies.reduce(0, +))", "\(latencies.count)",
      "'" + (latencies.isEmpty ? "" : "{\(histogram.buckets.map(String.init).joined(separator: ","))}") + "'",
    ]
  }

  static func sql(_ all: [Traffic]) -> String {
    let types = [
      "uuid", "uuid", "timestamptz", "text", "bigint", "bigint", "timestamptz", "bigint", "bigint", "double precision",
      "bigint", "text",
    ]
    let rows = all.map(\.columns)
    let arrays = types.indices.map { column in
      "array[" + rows.map { $0[column] }.joined(separator: ",") + "]::\(types[column])[]"
    }
    return "select count_usage(\(arrays.joined(separator: ", ")))"
  }
}

extension TestPortal {
  func count(_ traffic: [Traffic]) async throws { try await script(Traffic.sql(traffic)) }

  func analyst() async throws -> String { try await makeToken([.readAnalytics]) }
}

extension TestCustomer {
  /// Creates a key. Returns its id.
  func makeKey(_ name: String = "Key") async throws -> UUID {
    let answer = try await post("/v1/keys", "{\"name\":\"\(name)\",\"scopes\":[\"orders:read\"]}")
    guard let id = answer.body["id"].string.flatMap({ UUID(uuidString: $0) }) else {
      throw TestSetupError(description: "creating a key answered \(answer)")
    }
    return id
  }
}
