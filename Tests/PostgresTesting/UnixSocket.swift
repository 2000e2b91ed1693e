import Glibc

/// A socket that listens at a path; the caller closes it.
package func unixListener(at path: String) throws -> Int32 {
  let descriptor = try unixSocket(path, bind)
  guard listen(descriptor, 64) == 0 else {
    close(descriptor)
    throw TestSetupError(description: "\(path) does not listen")
  }
  return descriptor
}

/// A connection to the socket at a path; the caller closes it.
package func unixConnection(to path: String) throws -> Int32 { try unixSocket(path, connect) }

private func unixSocket(
  _ path: String, _ attach: (Int32, UnsafePointer<sockaddr>, socklen_t) -> Int32
) throws -> Int32 {
  let descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0)
  var address = sockaddr_un()
  address.sun_family = sa_family_t(AF_UNIX)
  withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8) }
  let status = withUnsafePointer(to: address) { pointer in
    pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
      attach(descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
    }
  }
  guard status == 0 else {
    close(descriptor)
    throw TestSetupError(description: "no socket at \(path)")
  }
  return descriptor
}
