import Foundation
import Glibc

/// Sends one part after the other over its own connection, then reads to its end. With `endsInput`, it also ends the
/// sending side, and the server may answer nothing.
package func rawExchange(port: Int, _ parts: [[UInt8]], endsInput: Bool = false) async throws -> String {
  // The calls block, so they run on their own thread.
  try await withCheckedThrowingContinuation { continuation in
    Thread { continuation.resume(with: Result { try blockingExchange(port: port, parts, endsInput) }) }.start()
  }
}

/// A connection to a port of this machine, which programs that are started meanwhile do not inherit; the caller closes
/// it. Blocks until the system has accepted it. With `isNarrow`, the systems on both sides buffer only a little.
package func tcpConnection(to port: Int, isNarrow: Bool = false) throws -> Int32 {
  let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
  guard descriptor >= 0 else { throw TestSetupError(description: "no socket") }
  // Far longer than any answer takes, even when other tests keep both processors busy.
  var limit = timeval(tv_sec: 120, tv_usec: 0)
  setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
  setsockopt(descriptor, SOL_SOCKET, SO_SNDTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
  if isNarrow {
    var (segmentSizeMax, bufferSize) = (Int32(536), Int32(4_096))
    setsockopt(descriptor, Int32(IPPROTO_TCP), TCP_MAXSEG, &segmentSizeMax, socklen_t(MemoryLayout<Int32>.size))
    setsockopt(descriptor, SOL_SOCKET, SO_RCVBUF, &bufferSize, socklen_t(MemoryLayout<Int32>.size))
  }
  var address = sockaddr_in()
  address.sin_family = sa_family_t(AF_INET)
  address.sin_port = in_port_t(port).bigEndian
  address.sin_addr.s_addr = inet_addr("127.0.0.1")
  let isConnected = withUnsafePointer(to: &address) { pointer in
    pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
      connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size)) == 0
    }
  }
  guard isConnected else {
    close(descriptor)
    throw TestSetupError(description: "the server does not accept connections")
  }
  return descriptor
}

private func blockingExchange(port: Int, _ parts: [[UInt8]], _ endsInput: Bool) throws -> String {
  let descriptor = try tcpConnection(to: port)
  defer { close(descriptor) }
  if endsInput {
    // Parts that were merged on the way would not be parts.
    var isUndelayed: Int32 = 1
    setsockopt(descriptor, Int32(IPPROTO_TCP), TCP_NODELAY, &isUndelayed, socklen_t(MemoryLayout<Int32>.size))
  }
  for part in parts {
    var sent = 0
    while sent < part.count {
      let count = part[sent...].withUnsafeBytes { send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL)) }
      // The server may answer and close before it has read everything.
      guard count > 0 else { break }
      sent += count
    }
  }
  if endsInput { shutdown(descriptor, Int32(SHUT_WR)) }
  var received: [UInt8] = []
  var buffer = [UInt8](repeating: 0, count: 65_536)
  while true {
    let count = recv(descriptor, &buffer, buffer.count, 0)
    if count == 0 { break }
    guard count > 0 else {
      if errno == ECONNRESET, endsInput || !received.isEmpty { break }
      throw TestSetupError(
        description: "the server did not close the connection; it sent \(String(decoding: received, as: UTF8.self))")
    }
    received += buffer[..<count]
  }
  return String(decoding: received, as: UTF8.self)
}
