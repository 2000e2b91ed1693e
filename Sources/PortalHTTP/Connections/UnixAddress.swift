package import Glibc

/// The address of a unix socket as system calls take it (unix(7)).
package struct UnixAddress {
  private var address = sockaddr_un()
  private let length: socklen_t

  /// The bytes of an address at most.
  private static var lengthMax: Int { MemoryLayout.size(ofValue: sockaddr_un().sun_path) }

  /// Of a file; bytes of a path that is too long are left out.
  package init(path: String) { self.init(bytes: Array(path.utf8.prefix(Self.lengthMax - 1)) + [0]) }

  /// Of a name without a file, an abstract socket; bytes of a name that is too long are left out.
  package init(abstractName name: String) { self.init(bytes: [0] + Array(name.utf8.prefix(Self.lengthMax - 1))) }

  private init(bytes: [UInt8]) {
    address.sun_family = sa_family_t(AF_UNIX)
    withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: bytes) }
    // All of an abstract name counts, so its end is told.
    length = socklen_t(MemoryLayout<sockaddr_un>.size - Self.lengthMax + bytes.count)
  }

  /// Calls `body` with the address and its length.
  package func withPointer<Value>(_ body: (UnsafePointer<sockaddr>, socklen_t) -> Value) -> Value {
    withUnsafePointer(to: address) { pointer in
      pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { body($0, length) }
    }
  }
}
