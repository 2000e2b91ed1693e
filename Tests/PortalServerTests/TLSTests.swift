import Foundation
import PortalAPI
import PortalHTTP
import PortalTesting
import PostgresTesting
import Testing

@Suite("TLS, with the real binary")
struct TLSTests {
  private static let health = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"

  @Test(
    "the server answers over TLS, on the fast path and behind the HTTP decoder, on one connection",
    arguments: [true, false])
  func answers(hasFastPath: Bool) async throws {
    try await withTLS(["FAST_PATH": "\(hasFastPath)"]) { server, database, _ in
      let world = try await DemoWorld(database, server)
      let verify = [
        "-o", "/dev/null", "-w", "%{http_code} %{num_connects} %{http_version}\n", server.url + "/v1/verify", "-H",
        "Authorization: Bearer \(world.serviceToken)", "-H", "Content-Type: application/json", "-d",
        "{\"key\":\"\(world.key)\"}",
      ]
      // The second and third requests are on the connection of the first.
      let several = try await curl(
        server.curlOptions + verify + ["--next"] + server.curlOptions + verify + ["--next"] + server.curlOptions + [
          "-o", "/dev/null", "-w", "%{http_code} %{num_connects} %{http_version}\n", server.url + "/v1/me",
        ])
      #expect(several.output == "200 1 1.1\n200 0 1.1\n401 0 1.1\n", "\(several)")
      let verdict = try await curl(
        server.curlOptions + [
          server.url + "/v1/verify", "-H", "Authorization: Bearer \(world.serviceToken)", "-H",
          "Content-Type: application/json", "-d", "{\"key\":\"\(world.key)\"}",
        ])
      #expect(try verdict.json()["code"].string == "VALID")
      let end = try await server.end()
      #expect(end == 0)
    }
  }

  @Test("with TLS, the cookie is only for https")
  func cookie() async throws {
    try await withTLS { server, _, _ in
      let signup = try await curl(
        server.curlOptions + [
          "-i", server.url + "/v1/signup", "-H", "Content-Type: application/json", "-d",
          "{\"email\":\"ada@example.com\",\"password\":\"correct horse battery\",\"accountName\":\"Acme\"}",
        ])
      let cookie = try #require(
        signup.output.split(whereSeparator: \.isNewline).first { $0.lowercased().hasPrefix("set-cookie:") })
      #expect(cookie.contains("__Host-latchkey=") && cookie.hasSuffix("; Secure"))
    }
  }

  @Test("only TLS 1.2 and 1.3 are accepted, with http/1.1 and authenticated ciphers")
  func protocols() async throws {
    try await withTLS { server, _, _ in
      for version in ["-tls1_2", "-tls1_3"] {
        let modern = try await handshake(server, [version, "-alpn", "h2,http/1.1"])
        #expect(modern.contains("ALPN protocol: http/1.1"), "\(modern)")
      }
      let old = try await handshake(server, ["-tls1_1", "-cipher", "DEFAULT@SECLEVEL=0"])
      #expect(old.contains("alert protocol version"), "\(old)")
      let weak = try await handshake(server, ["-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-SHA"])
      #expect(weak.contains("alert handshake failure"), "\(weak)")
    }
  }

  @Test("after SIGHUP new connections get the new certificate; bad files change nothing, are logged and counted")
  func reload() async throws {
    try await ServiceManager.with { manager in
      try await withTLS(["NOTIFY_SOCKET": manager.socket]) { server, _, files in
        let kept = files.certificate + ".kept"
        let first = try await fingerprint(server)
        try Data("garbage".utf8).write(to: URL(filePath: files.key))
        // For requests to the server, which still has the first certificate.
        try FileManager.default.copyItem(atPath: files.certificate, toPath: kept)
        server.send(SIGHUP)
        try await eventually("the bad files are refused") {
          try await curl(["--cacert", kept, server.url + "/metrics"]).output
            .contains("latchkey_tls_reloads_total{outcome=\"refused\"} 1")
        }
        #expect(try await fingerprint(server) == first)
        #expect(server.readLog().contains("the certificate could not be read again, and stays what it was"))
        _ = try await TestCertificate(in: URL(filePath: files.key).deletingLastPathComponent().path, dayCount: 7)
        server.send(SIGHUP)
        try await eventually("the new certificate is presented") { try await fingerprint(server) != first }
        let readiness = try await curl(server.curlOptions + [server.url + "/readyz"]).json()
        let warnings = readiness["warnings"].array.compactMap(\.string)
        #expect(warnings.contains { $0.hasPrefix("the certificate of TLS_CERTIFICATE expires at ") })
        let metrics = try await curl(server.curlOptions + [server.url + "/metrics"]).output
        #expect(metrics.contains("latchkey_tls_reloads_total{outcome=\"loaded\"} 1"))
        #expect(metrics.contains("\nlatchkey_tls_certificate_expiry_timestamp_seconds "))
        try await eventually("the service manager has been notified") { manager.messages.count >= 5 }
        let messages = manager.messages.map { $0.split(separator: "\n").first ?? "" }
        #expect(messages == ["READY=1", "RELOADING=1", "READY=1", "RELOADING=1", "READY=1"])
        let end = try await server.end()
        #expect(end == 0)
      }
    }
  }

  @Test("a connection with no or a dripped handshake is closed after 10 seconds, and one with plain HTTP immediately")
  func handshakes() async throws {
    try await withTLS { server, _, _ in
      let port = server.port
      let plain = try await rawExchange(port: port, [Array(Self.health.utf8)])
      #expect(!plain.contains("HTTP/1.1"))
      // The beginning of a hello of 512 bytes.
      let hello: [UInt8] = [0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00, 0x01, 0xFC, 0x03, 0x03]
      async let silent = timeToClose([], at: port)
      async let dripping = timeToClose(hello, at: port)
      for time in try await [silent, dripping] { #expect(time >= .seconds(9) && time < .seconds(20), "\(time)") }
      let metrics = try await curl(server.curlOptions + [server.url + "/metrics"]).output
      #expect(metrics.contains("\nlatchkey_tls_handshake_failures_total 3\n"))
    }
  }

  @Test("health and metrics on OPERATIONS_PORT are plain HTTP")
  func operations() async throws {
    let port = try freePort()
    try await withTLS(["OPERATIONS_PORT": "\(port)"]) { server, _, _ in
      let health = try await curl(["http://127.0.0.1:\(port)/healthz"])
      #expect(try health.json()["status"].string == "ok")
      let elsewhere = try await curl(
        server.curlOptions + ["-o", "/dev/null", "-w", "%{http_code}", server.url + "/healthz"])
      #expect(elsewhere.output == "404")
    }
  }

  @Test("conflicting settings and unusable files stop the start with an error that names them")
  func settings() async throws {
    try await TestCertificate.withFolder { folder in
      let files = try await TestCertificate(in: folder)
      let both = ["TLS_CERTIFICATE": files.certificate, "TLS_KEY": files.key]
      for (settings, reason) in [
        (["TLS_CERTIFICATE": files.certificate], "TLS_KEY is required with TLS_CERTIFICATE"),
        (["TLS_KEY": files.key], "TLS_CERTIFICATE is required with TLS_KEY"),
        (both.merging(["HTTP_SOCKET": "/tmp/a"]) { $1 }, "TLS_CERTIFICATE cannot be set together with HTTP_SOCKET"),
        (both.merging(["PUBLIC_URL": "http://localhost"]) { $1 }, "PUBLIC_URL must be https:// with TLS_CERTIFICATE"),
        (both.merging(["TLS_KEY": folder + "/none"]) { $1 }, "TLS_KEY cannot be read: \(folder)/none"),
      ] {
        let result = try await latchkey(
          ["serve"], environment: ["DATABASE_URL": "host=/nowhere"].merging(settings) { $1 })
        #expect(result.status == 64)
        #expect(result.errors.contains(reason), "\(result.errors)")
      }
    }
  }

  /// Runs `body` with a server that has a certificate.
  private func withTLS(
    _ environment: [String: String] = [:],
    _ body: (RunningServer, TestDatabase, TestCertificate) async throws -> Void
  ) async throws {
    try await TestCertificate.withFolder { folder in
      let files = try await TestCertificate(in: folder)
      try await withDatabase { database in
        let environment = environment.merging(["TLS_CERTIFICATE": files.certificate, "TLS_KEY": files.key]) { $1 }
        try await withServers(1, on: database, environment: environment) { servers in
          try await body(servers[0], database, files)
        }
      }
    }
  }

  /// The output of openssl for a handshake.
  private func handshake(_ server: RunningServer, _ options: [String]) async throws -> String {
    let result = try await run(
      "/usr/bin/openssl", ["s_client", "-connect", "127.0.0.1:\(server.port)"] + options)
    return result.output + result.errors
  }

  /// The fingerprint of the certificate that the server presents.
  private func fingerprint(_ server: RunningServer) async throws -> String {
    let shown = try await run("/usr/bin/openssl", ["s_client", "-connect", "127.0.0.1:\(server.port)"])
    let result = try await run(
      "/usr/bin/openssl", ["x509", "-noout", "-fingerprint", "-sha256"], input: shown.output)
    return try #require(result.status == 0 ? result.output : nil)
  }

  /// Sends the bytes and then, unless there are none, one byte every quarter of a second. Returns how long it takes
  /// until the server closes.
  private func timeToClose(_ bytes: [UInt8], at port: Int) async throws -> Duration {
    let socket = try tcpConnection(to: port)
    defer { close(socket) }
    let start = ContinuousClock.now
    _ = bytes.withUnsafeBytes { send(socket, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL)) }
    while ContinuousClock.now < start + .seconds(60) {
      var byte: UInt8 = 0
      let count = recv(socket, &byte, 1, Int32(MSG_DONTWAIT))
      if count == 0 || (count < 0 && errno != EAGAIN) { return ContinuousClock.now - start }
      if !bytes.isEmpty { _ = send(socket, &byte, 1, Int32(MSG_NOSIGNAL)) }
      try await Task.sleep(for: .milliseconds(250))
    }
    throw TestSetupError(description: "the server does not close")
  }
}
