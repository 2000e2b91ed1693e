import Foundation
package import HTTPTypes
import Hummingbird
import HummingbirdTesting
import NIOCore

/// A response to a request for CSV.
package struct TestTable: Sendable {
  package var status: Int
  package var headers: HTTPFields
  package var text: String

  package var lines: [String] { text.components(separatedBy: "\r\n").dropLast() }

  package func header(_ name: String) -> String? { HTTPField.Name(name).flatMap { headers[$0] } }
}

extension TestPortal {
  /// Requests a table, as CSV unless `accept` is another type.
  package func table(_ path: String, accept: String = "text/csv", token: String) async throws -> TestTable {
    try await client.execute(
      uri: path, method: .get, headers: [.authorization: "Bearer " + token, .accept: accept], body: nil
    ) { response in
      TestTable(
        status: response.status.code, headers: response.headers, text: String(buffer: response.body))
    }
  }
}
