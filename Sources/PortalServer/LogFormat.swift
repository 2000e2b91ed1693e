import Glibc
import Logging
import Synchronization

/// How the log is written to standard error.
enum LogFormat: String {
  /// For people, a line each.
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

  /// One line after the other. What nobody takes is lost: a log ends no server.
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
