import Foundation
import Glibc

/// The file of a Unix socket on which a server listens (unix(7)).
///
/// The server removes it when it stops listening. A server that is killed leaves it behind; the next one replaces it.
package struct SocketFile: Equatable, Sendable {
  /// The longest path, in bytes, without its terminating zero.
  package static let pathLengthMax = 107
  /// The owner and the group may connect.
  package static let modeStandard = 0o660

  package let path: String
  /// The file's mode: users with write permission may connect (chmod(2)).
  package let mode: Int

  /// Nil if the path is empty, too long or contains a zero byte.
  package init?(path: String, mode: Int = SocketFile.modeStandard) {
    guard (1...Self.pathLengthMax).contains(path.utf8.count), !path.utf8.contains(0) else { return nil }
    self.path = path
    self.mode = mode
  }

  /// Why the server cannot listen there.
  package struct Refusal: Error, Equatable, CustomStringConvertible {
    package let description: String
    /// Whether the reason is that another server is listening there.
    package var isTaken = false
  }

  /// Throws a `Refusal` if there is a file that must not be replaced: one that is not a socket, or a socket on which a
  /// server listens.
  package func expectFree() throws(Refusal) {
    let descriptor = socket(
      AF_UNIX, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue | SOCK_NONBLOCK.rawValue), 0)
    guard descriptor >= 0 else { throw refusal(Self.systemError) }
    defer { close(descriptor) }
    let status = UnixAddress(path: path).withPointer { connect(descriptor, $0, $1) }
    switch status == 0 ? 0 : errno {
    case ENOENT: break
    // EAGAIN: the server that listens is busy.
    case 0, EAGAIN: throw refusal("another server is listening there", isTaken: true)
    // The file is not a socket, or no server listens on it any more.
    case ECONNREFUSED:
      let attributes = try? FileManager.default.attributesOfItem(atPath: path)
      guard attributes?[.type] as? FileAttributeType == .typeSocket else {
        throw refusal("there is a file that is not a socket")
      }
    default: throw refusal(Self.systemError)
    }
  }

  /// Sets the mode, which lets clients connect. Throws a `Refusal`.
  package func open() throws(Refusal) {
    guard chmod(path, mode_t(mode)) == 0 else { throw refusal(Self.systemError) }
  }

  private func refusal(_ reason: String, isTaken: Bool = false) -> Refusal {
    Refusal(description: "cannot listen on \(path): \(reason)", isTaken: isTaken)
  }

  private static var systemError: String { String(cString: strerror(errno)) }
}
