import Foundation
import Glibc

/// The file of a unix socket that a server listens at (unix(7)).
///
/// The server removes it when it stops listening. One that is killed leaves it behind; the next one replaces it.
package struct SocketFile: Equatable, Sendable {
  /// Bytes of a path, without the zero at its end.
  package static let pathLengthMax = 107
  /// Its owner and its group may connect.
  package static let modeStandard = 0o660

  package let path: String
  /// Who may connect: whoever may write the file (chmod(2)).
  package let mode: Int

  /// Nil where the path is empty or too long, or has a zero in it.
  package init?(path: String, mode: Int = SocketFile.modeStandard) {
    guard (1...Self.pathLengthMax).contains(path.utf8.count), !path.utf8.contains(0) else { return nil }
    self.path = path
    self.mode = mode
  }

  /// Why nobody can listen there.
  package struct Refusal: Error, Equatable, CustomStringConvertible {
    package let description: String
    /// Whether the reason is that somebody listens there.
    package var isTaken = false
  }

  /// Throws a `Refusal` where there is a file that is not to be replaced: one that is no socket, or a socket that
  /// somebody listens at.
  package func expectFree() throws(Refusal) {
    let descriptor = socket(
      AF_UNIX, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue | SOCK_NONBLOCK.rawValue), 0)
    guard descriptor >= 0 else { throw refusal(Self.systemError) }
    defer { close(descriptor) }
    let status = UnixAddress(path: path).withPointer { connect(descriptor, $0, $1) }
    switch status == 0 ? 0 : errno {
    case ENOENT: break
    // Whoever listens and is busy has EAGAIN.
    case 0, EAGAIN: throw refusal("another server listens there", isTaken: true)
    // Of a socket that nobody listens at any more, and of what is none.
    case ECONNREFUSED:
      let attributes = try? FileManager.default.attributesOfItem(atPath: path)
      guard attributes?[.type] as? FileAttributeType == .typeSocket else {
        throw refusal("there is a file that is no socket")
      }
    default: throw refusal(Self.systemError)
    }
  }

  /// Lets those connect who may. Throws a `Refusal`.
  package func open() throws(Refusal) {
    guard chmod(path, mode_t(mode)) == 0 else { throw refusal(Self.systemError) }
  }

  private func refusal(_ reason: String, isTaken: Bool = false) -> Refusal {
    Refusal(description: "cannot listen at \(path): \(reason)", isTaken: isTaken)
  }

  private static var systemError: String { String(cString: strerror(errno)) }
}
