import Foundation
import PostgresTesting

/// A self-signed certificate for this machine and its key, as PEM files.
package struct TestCertificate: Sendable {
  package let certificate: String
  package let key: String

  /// Writes them as `name.crt` and `name.key` to a folder, replacing existing files; valid for `dayCount` days from
  /// now.
  package init(_ name: String = "server", in folder: String, dayCount: Int = 90) async throws {
    certificate = folder + "/\(name).crt"
    key = folder + "/\(name).key"
    let result = try await run(
      "/usr/bin/openssl",
      [
        "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", key, "-out",
        certificate, "-days", "\(dayCount)", "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1",
      ])
    guard result.status == 0 else { throw TestSetupError(description: "openssl req: \(result.errors)") }
  }

  /// Runs `body` with a temporary folder for such files.
  package static func withFolder(_ body: (String) async throws -> Void) async throws {
    let folder = FileManager.default.temporaryDirectory.appending(path: "latchkey-tls-\(UUID())").path
    try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: false)
    defer { try? FileManager.default.removeItem(atPath: folder) }
    try await body(folder)
  }
}
