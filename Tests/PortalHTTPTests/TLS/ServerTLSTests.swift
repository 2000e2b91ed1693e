import Foundation
import JSON
import Portal
import PortalHTTP
import PortalTesting
import PostgresTesting
import Testing

@Suite("The server's certificate")
struct ServerTLSTests {
  @Test("files that cannot be used are refused with the name of the setting")
  func refusals() async throws {
    try await TestCertificate.withFolder { folder in
      let one = try await TestCertificate("one", in: folder)
      let two = try await TestCertificate("two", in: folder)
      let (empty, garbage, secret) = (folder + "/empty", folder + "/garbage", folder + "/secret.key")
      try Data().write(to: URL(filePath: empty))
      try Data("garbage".utf8).write(to: URL(filePath: garbage))
      let encryption = try await run(
        "/usr/bin/openssl", ["ec", "-in", one.key, "-aes256", "-passout", "pass:secret", "-out", secret])
      #expect(encryption.status == 0)
      for (certificate, key, reason) in [
        (folder + "/none", one.key, "TLS_CERTIFICATE cannot be read: \(folder)/none"),
        (folder, one.key, "TLS_CERTIFICATE cannot be read: \(folder)"),
        (empty, one.key, "TLS_CERTIFICATE must be a PEM file with a certificate: \(empty)"),
        (garbage, one.key, "TLS_CERTIFICATE must be a PEM file with a certificate: \(garbage)"),
        (one.key, one.key, "TLS_CERTIFICATE must be a PEM file with a certificate: \(one.key)"),
        (one.certificate, folder + "/none", "TLS_KEY cannot be read: \(folder)/none"),
        (one.certificate, empty, "TLS_KEY must be a PEM file with a key without a password: \(empty)"),
        (one.certificate, secret, "TLS_KEY must be a PEM file with a key without a password: \(secret)"),
        (one.certificate, two.key, "TLS_KEY is not the key of TLS_CERTIFICATE, or its type is not supported"),
      ] {
        let refusal = #expect(throws: TLSFiles.Refusal.self) {
          try ServerTLS(TLSFiles(certificate: certificate, key: key))
        }
        #expect(refusal?.description == reason)
      }
    }
  }

  @Test("the certificate is read again, and stays the same if that fails")
  func reload() async throws {
    try await TestCertificate.withFolder { folder in
      let files = try await TestCertificate(in: folder, dayCount: 30)
      let tls = try ServerTLS(TLSFiles(certificate: files.certificate, key: files.key))
      let observations = Observations()
      let observer = Observer([observations.sink])
      let before = tls.expiresAt
      #expect(abs(before.timeIntervalSinceNow - 30 * 86_400) < 3_600)
      try Data("garbage".utf8).write(to: URL(filePath: files.key))
      await tls.reload(observer)
      #expect(tls.expiresAt == before)
      let reason = "TLS_KEY must be a PEM file with a key without a password: \(files.key)"
      #expect(observations.count(.certificateRefused(reason)) == 1)
      _ = try await TestCertificate(in: folder, dayCount: 60)
      await tls.reload(observer)
      #expect(abs(tls.expiresAt.timeIntervalSinceNow - 60 * 86_400) < 3_600)
      #expect(observations.count(.certificateLoaded(expiresAt: tls.expiresAt)) == 1)
    }
  }

  @Test("there is a warning from 14 days before the certificate expires")
  func warning() async throws {
    try await TestCertificate.withFolder { folder in
      let files = try await TestCertificate(in: folder, dayCount: 30)
      let tls = try ServerTLS(TLSFiles(certificate: files.certificate, key: files.key))
      let days = { (count: Double) in tls.expiresAt - count * 86_400 }
      #expect(tls.warning(at: days(14)) == nil)
      let time = Timestamp.text(of: tls.expiresAt)
      let rest = "at \(time); renew it, and send SIGHUP"
      #expect(tls.warning(at: days(13.9)) == "the certificate of TLS_CERTIFICATE expires \(rest)")
      #expect(tls.warning(at: days(0)) == "the certificate of TLS_CERTIFICATE has expired \(rest)")
    }
  }
}
