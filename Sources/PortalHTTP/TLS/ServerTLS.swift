package import Foundation
import JSON
import NIOPosix
import NIOSSL
package import Portal
import Synchronization

/// The certificate that a server presents. It can be replaced while the server runs: open connections keep their own.
package final class ServerTLS: Sendable {
  /// A certificate that expires within this time, in seconds, is worth a warning. It is about half the time before
  /// expiry at which 90-day certificates are usually renewed automatically.
  private static let warningTime: TimeInterval = 14 * 86_400

  private let files: TLSFiles
  private let content: Mutex<TLSFiles.Content>

  /// Reads the files. Blocks. Throws a `TLSFiles.Refusal`.
  package init(_ files: TLSFiles) throws(TLSFiles.Refusal) {
    self.files = files
    content = Mutex(try files.read())
  }

  /// The context for new connections.
  var context: NIOSSLContext { content.withLock { $0.context } }

  /// When the certificate expires.
  package var expiresAt: Date { content.withLock { $0.expiresAt } }

  /// Reads the files again. If they cannot be used, the old certificate stays.
  package func reload(_ observer: Observer) async {
    let files = files
    do {
      let read = try await NIOThreadPool.singleton.runIfActive { try files.read() }
      content.withLock { $0 = read }
      observer.observe(.certificateLoaded(expiresAt: read.expiresAt))
    } catch {
      observer.observe(.certificateRefused("\(error)"))
    }
  }

  /// A warning to operators about a certificate that has expired or soon will; nil otherwise.
  package func warning(at now: Date) -> String? {
    let expiresAt = expiresAt
    guard expiresAt < now + Self.warningTime else { return nil }
    let verb = expiresAt <= now ? "has expired" : "expires"
    return "the certificate of TLS_CERTIFICATE \(verb) at \(Timestamp.text(of: expiresAt)); renew it, and send SIGHUP"
  }
}
