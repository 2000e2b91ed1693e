import Glibc
import PortalHTTP

/// The socket for notifications to a service manager (sd_notify(3)): the unix datagram socket in `NOTIFY_SOCKET`.
struct NotifySocket: Equatable, Sendable {
  private enum Place: Equatable {
    case file(String)
    /// A socket without a file (unix(7)).
    case abstract(String)
  }

  /// A notification.
  enum Message: Equatable, Sendable {
    /// The server has started, or has finished a reload.
    case ready
    /// The server has begun a reload at `uptime`, in microseconds of CLOCK_MONOTONIC.
    case reloading(uptime: Int64)
    /// The server is about to end.
    case stopping
    /// The server is alive.
    case watchdog

    var text: String {
      switch self {
      case .ready: "READY=1"
      case .reloading(let uptime): "RELOADING=1\nMONOTONIC_USEC=\(uptime)"
      case .stopping: "STOPPING=1"
      case .watchdog: "WATCHDOG=1"
      }
    }
  }

  /// How often a message is tried while the manager accepts none, and the pause in between.
  private static let attemptCountMax = 50
  private static let pause: Duration = .milliseconds(20)

  private let place: Place

  /// Parses an absolute path, or `@` and a name; nil for anything else.
  init?(_ text: String) {
    guard (2...SocketFile.pathLengthMax).contains(text.utf8.count) else { return nil }
    switch text.utf8.first {
    case UInt8(ascii: "/"): place = .file(text)
    case UInt8(ascii: "@"): place = .abstract(String(text.dropFirst()))
    default: return nil
    }
  }

  /// Sends a message, and retries while the manager is busy. Returns whether it was sent.
  @discardableResult
  func tell(_ message: Message) async -> Bool {
    for _ in 0..<Self.attemptCountMax {
      switch send(message) {
      case 0: return true
      case EAGAIN, ENOBUFS, EINTR: break
      default: return false
      }
      // A cancelled task throws here: it has no time to wait.
      guard (try? await Task.sleep(for: Self.pause)) != nil else { return false }
    }
    return false
  }

  /// Returns the system's error, or 0 if there was none. Does not block.
  private func send(_ message: Message) -> Int32 {
    let descriptor = socket(AF_UNIX, Int32(SOCK_DGRAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
    guard descriptor >= 0 else { return errno }
    defer { close(descriptor) }
    let bytes = Array(message.text.utf8)
    let address =
      switch place {
      case .file(let path): UnixAddress(path: path)
      case .abstract(let name): UnixAddress(abstractName: name)
      }
    let count = address.withPointer {
      sendto(descriptor, bytes, bytes.count, Int32(MSG_NOSIGNAL) | Int32(MSG_DONTWAIT), $0, $1)
    }
    return count < 0 ? errno : 0
  }
}
