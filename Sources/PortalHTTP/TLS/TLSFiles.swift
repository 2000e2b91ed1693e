import Foundation
import NIOCore
import NIOSSL

/// The files of a server's certificate and its key, in PEM (RFC 7468).
package struct TLSFiles: Equatable, Sendable {
  /// The path of the server's certificate and the chain from it to an authority.
  package var certificate: String
  /// The path of the key of the first of them, without a password.
  package var key: String

  package init(certificate: String, key: String) {
    self.certificate = certificate
    self.key = key
  }

  /// The largest file, in bytes.
  private static let sizeMax = 1 << 20
  /// The cipher suites of TLS 1.2, in OpenSSL's syntax; all those of TLS 1.3 are good. Ephemeral keys, so that recorded
  /// traffic cannot be read with a key that leaks later, and ciphers that authenticate.
  private static let cipherSuites = "ECDHE+AESGCM:ECDHE+CHACHA20"

  /// Why the files cannot be used. Begins with the name of the setting.
  package struct Refusal: Error, Equatable, CustomStringConvertible {
    package let description: String
  }

  /// The contents of the files.
  struct Content: Sendable {
    /// The context for connections.
    package let context: NIOSSLContext
    /// When the server's certificate expires.
    package let expiresAt: Date
  }

  /// Reads and checks both files. Blocks. Throws a `Refusal`.
  func read() throws(Refusal) -> Content {
    let certificates = try parsed(certificate, "TLS_CERTIFICATE", "certificate") {
      try NIOSSLCertificate.fromPEMBytes($0)
    }
    guard let first = certificates.first else { throw Self.refusal("TLS_CERTIFICATE", "has no certificate") }
    let key = try parsed(key, "TLS_KEY", "key without a password") { bytes in
      // Without this, the library would ask for a password at the terminal.
      try NIOSSLPrivateKey(bytes: bytes, format: .pem) { set in set([UInt8]()) }
    }
    var configuration = TLSConfiguration.makeServerConfiguration(
      certificateChain: certificates.map { .certificate($0) }, privateKey: .privateKey(key))
    configuration.minimumTLSVersion = .tlsv12
    configuration.cipherSuites = Self.cipherSuites
    configuration.applicationProtocols = ["http/1.1"]
    // Does not wait for the client to end its side (RFC 8446 6.1): otherwise, connections that are closed because there
    // are too many would stay open.
    configuration.shutdownTimeout = .zero
    do {
      return Content(
        context: try NIOSSLContext(configuration: configuration),
        expiresAt: Date(timeIntervalSince1970: TimeInterval(first.notValidAfter)))
    } catch {
      throw Self.refusal("TLS_KEY", "is not the key of TLS_CERTIFICATE, or its type is not supported")
    }
  }

  private func parsed<Value>(
    _ path: String, _ name: String, _ what: String, _ parse: ([UInt8]) throws -> Value
  ) throws(Refusal) -> Value {
    let bytes: [UInt8]
    do {
      let handle = try FileHandle(forReadingFrom: URL(filePath: path))
      bytes = Array(try handle.read(upToCount: Self.sizeMax + 1) ?? Data())
    } catch {
      throw Self.refusal(name, "cannot be read: \(path)")
    }
    // The parser cannot take an empty buffer.
    guard (1...Self.sizeMax).contains(bytes.count), let value = try? parse(bytes) else {
      throw Self.refusal(name, "must be a PEM file with a \(what): \(path)")
    }
    return value
  }

  private static func refusal(_ name: String, _ reason: String) -> Refusal {
    Refusal(description: "\(name) \(reason)")
  }
}
