package import Foundation
import JSON
import NIOPosix
import NIOSSL
package import Portal
import Synchronization

/// The certificate that a server shows, which can be replaced while it runs: connections keep what they began with.
package final class ServerTLS: Sendable {
  /// Less than this to its end is worth a warning, in seconds: half of the time in which those who renew certificates
  /// of 90 days by themselves should have done so.
  private static let warningTime: TimeInterval = 14 * 86_400

  private let files: TLSFiles
  private let content: Mutex<TLSFiles.Content>

  /// Reads the files. Blocks. Throws a `TLSFiles.Refusal`.
  package init(_ files: TLSFiles) throws(TLSFiles.Refusal) {
    self.files = files
    content = Mutex(try files.read())
  }

  /// What the next connection is made of.
  var context: NIOSSLContext { content.withLock { $0.context } }

  /// When the certificate is over.
  package var expiresAt: Date { content.withLock { $0.expiresAt } }

  /// Reads the files again. Where they cannot be used, the certificate is what it was.
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

  /// What an operator should know of a certificate that is over, or soon will be; nil if it is neither.
  package func warning(at now: Date) -> String? {
    let expiresAt = expiresAt
    guard expiresAt < now + Self.warningTime else { return nil }
    let verb = expiresAt <= now ? "has expired" : "expires"
    return "the certificate of TLS_CERTIFICATE \(verb) at \(Timestamp.text(of: expiresAt)); renew it, and send SIGHUP"
  }
}
