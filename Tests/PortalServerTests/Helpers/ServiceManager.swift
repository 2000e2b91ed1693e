import Foundation
import Glibc
import PortalAPI
import PortalHTTP
import PostgresTesting
import Synchronization

/// The notification socket of a service manager, and the messages that arrived there.
final class ServiceManager: Sendable {
  /// The value of `NOTIFY_SOCKET`.
  let socket: String
  private let descriptor: Int32
  private let heard = Mutex<[String]>([])
  private let isEnded = Atomic(false)

  /// Runs `body` with a service manager whose socket has a file, or is abstract.
  static func with(isAbstract: Bool = false, _ body: (ServiceManager) async throws -> Void) async throws {
    let manager = try ServiceManager(isAbstract: isAbstract)
    defer {
      manager.isEnded.store(true, ordering: .relaxed)
      if !isAbstract { try? FileManager.default.removeItem(atPath: manager.socket) }
    }
    try await body(manager)
  }

  private init(isAbstract: Bool) throws {
    let name = "latchkey-notify-\(UUID().uuidString.prefix(8))"
    socket = (isAbstract ? "@" : "/tmp/") + name
    let address = isAbstract ? UnixAddress(abstractName: name) : UnixAddress(path: socket)
    let descriptor = Glibc.socket(AF_UNIX, Int32(SOCK_DGRAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
    self.descriptor = descriptor
    guard address.withPointer({ bind(descriptor, $0, $1) }) == 0 else {
      throw TestSetupError(description: "no socket at \(socket)")
    }
    Thread.detachNewThread { self.listen() }
  }

  /// All messages, in order.
  var messages: [String] { heard.withLock { $0 } }

  private func listen() {
    var buffer = [UInt8](repeating: 0, count: 4_096)
    while !isEnded.load(ordering: .relaxed) {
      var waiting = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
      guard poll(&waiting, 1, 50) == 1 else { continue }
      let count = recv(descriptor, &buffer, buffer.count, 0)
      if count > 0 { heard.withLock { $0.append(String(decoding: buffer[..<count], as: UTF8.self)) } }
    }
    close(descriptor)
  }
}
