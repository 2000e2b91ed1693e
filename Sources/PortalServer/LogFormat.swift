import Glibc
import Logging
import Synchronization

/// The format of the log on standard error.
enum LogFormat: String {
  /// For people, one line per message.
  case text
  /// JSON Lines.
  case json

  private static let lock = Mutex(())

  func makeLogger() -> Logger {
    switch self {
    case .text: Logger(label: "latchkey")
    case .json: Logger(label: "latchkey") { _ in JSONLogHandler(sink: { Self.write($0) }) }
    }
  }

  /// Writes one line at a time. A line that cannot be written is lost: the log must not end the server.
  private static func write(_ line: [UInt8]) {
    lock.withLock { _ in
      line.withUnsafeBytes { bytes in
        var rest = bytes[...]
        while !rest.isEmpty {
          let count = Glibc.write(STDERR_FILENO, UnsafeRawBufferPointer(rebasing: rest).baseAddress, rest.count)
          if count < 0, errno == EINTR { continue }
          guard count > 0 else { return }
          rest = rest.dropFirst(count)
        }
      }
    }
  }
}
