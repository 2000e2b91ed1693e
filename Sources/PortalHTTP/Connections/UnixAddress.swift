package import Glibc

/// The address of a unix socket as system calls take it (unix(7)).
package struct UnixAddress {
  private var address = sockaddr_un()
  private let length: socklen_t

  /// The longest address, in bytes.
  private static var lengthMax: Int { MemoryLayout.size(ofValue: sockaddr_un().sun_path) }

  /// The address of a file. Cuts off the bytes of a path that is too long.
  package init(path: String) { self.init(bytes: Array(path.utf8.prefix(Self.lengthMax - 1)) + [0]) }

  /// The address of a name without a file, an abstract socket. Cuts off the bytes of a name that is too long.
  package init(abstractName name: String) { self.init(bytes: [0] + Array(name.utf8.prefix(Self.lengthMax - 1))) }

  private init(bytes: [UInt8]) {
    address.sun_family = sa_family_t(AF_UNIX)
    withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: bytes) }
    // Every byte of an abstract name counts, so the length gives its end.
    length = socklen_t(MemoryLayout<sockaddr_un>.size - Self.lengthMax + bytes.count)
  }

  /// Calls `body` with the address and its length.
  package func withPointer<Value>(_ body: (UnsafePointer<sockaddr>, socklen_t) -> Value) -> Value {
    withUnsafePointer(to: address) { pointer in
      pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { body($0, length) }
    }
  }
}
