import Foundation
import Glibc
import PostgresTesting
import Synchronization

/// A proxy in front of a PostgreSQL server that can be cut, with a unix socket in its own folder. It uses threads,
/// because it only waits.
final class SocketProxy: Sendable {
  enum Mode: Int, CaseIterable {
    case open
    /// Nothing is passed on, and nothing ends: what is sent waits, and arrives late.
    case silent
    /// Requests arrive, but no answer comes back until the proxy is open again.
    case deaf
    /// Connections are broken, and new ones immediately.
    case closed
  }

  let folder: String
  private let target: String
  private let listener: Int32
  private let mode = Mutex(Mode.open)
  private let isEnded = Atomic(false)
  private let descriptors = Mutex<Set<Int32>>([])

  /// Runs `body` with a proxy in front of the server whose socket is in `folder`.
  static func with(to folder: String, _ body: (SocketProxy) async throws -> Void) async throws {
    let proxy = try SocketProxy(to: folder)
    defer {
      proxy.isEnded.store(true, ordering: .relaxed)
      proxy.cut(.closed)
      try? FileManager.default.removeItem(atPath: proxy.folder)
    }
    try await body(proxy)
  }

  private init(to target: String) throws {
    self.target = target + "/.s.PGSQL.5432"
    folder = "/tmp/latchkey-proxy-\(UUID().uuidString.prefix(8))"
    try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    listener = try unixListener(at: folder + "/.s.PGSQL.5432")
    Thread.detachNewThread { self.accept() }
  }

  /// Switches to `mode`. Returns when nothing that is sent later can be passed on.
  func cut(_ mode: Mode) {
    self.mode.withLock { $0 = mode }
    guard mode == .closed else { return }
    descriptors.withLock { for descriptor in $0 { shutdown(descriptor, Int32(SHUT_RDWR)) } }
  }

  func open() { cut(.open) }

  private func accept() {
    while !isEnded.load(ordering: .relaxed) {
      var waiting = pollfd(fd: listener, events: Int16(POLLIN), revents: 0)
      guard poll(&waiting, 1, 50) == 1 else { continue }
      let client = Glibc.accept(listener, nil, nil)
      let server = (try? unixConnection(to: target)) ?? -1
      let isCut = descriptors.withLock { descriptors in
        descriptors.formUnion([client, server])
        return mode.withLock { $0 == .closed }
      }
      if isCut || server < 0 { shutdown(client, Int32(SHUT_RDWR)) }
      // Each direction has its own descriptors to close.
      let (clientAgain, serverAgain) = (dup(client), dup(server))
      Thread.detachNewThread { self.pass(from: client, to: serverAgain, heldIn: [.silent]) }
      Thread.detachNewThread { self.pass(from: server, to: clientAgain, heldIn: [.silent, .deaf]) }
    }
    close(listener)
  }

  /// Passes on what arrives until either end closes.
  private func pass(from source: Int32, to sink: Int32, heldIn held: Set<Mode>) {
    var buffer = [UInt8](repeating: 0, count: 65_536)
    while true {
      let count = recv(source, &buffer, buffer.count, 0)
      guard count > 0, send(buffer[..<count], to: sink, heldIn: held) else { break }
    }
    shutdown(source, Int32(SHUT_RDWR))
    shutdown(sink, Int32(SHUT_RDWR))
    descriptors.withLock { _ = $0.remove(source) }
    close(source)
    close(sink)
  }

  private func send(_ bytes: ArraySlice<UInt8>, to sink: Int32, heldIn held: Set<Mode>) -> Bool {
    var rest = bytes
    while !rest.isEmpty {
      // Under the lock, so that nothing is passed on after a cut; what does not fit is tried again.
      let count = mode.withLock { mode in
        held.contains(mode)
          ? 0
          : rest.withUnsafeBytes { Glibc.send(sink, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL | MSG_DONTWAIT)) }
      }
      if count > 0 {
        rest = rest.dropFirst(count)
      } else if count == 0 || errno == EAGAIN {
        usleep(2_000)
      } else {
        return false
      }
    }
    return true
  }
}
