import CBench
import Foundation

typealias Bytes = UnsafeBufferPointer<UInt8>

/// An HTTP response in a buffer.
struct HTTPAnswer {
  var status: Int
  /// The value of `X-Latchkey-Code`.
  var code: Bytes?
  var body: Bytes
  /// The length of head and body.
  var length: Int

  struct Malformed: Error {}

  /// Nil if the response is not complete yet. Parses only what the measured servers send: a status line and a
  /// `Content-Length`.
  init?(_ bytes: Bytes) throws {
    guard let head = bytes.firstIndex(of: "\r\n\r\n") else { return nil }
    guard head >= 12, bytes[0] == UInt8(ascii: "H") else { throw Malformed() }
    status = bytes[9..<12].reduce(0) { $0 * 10 + Int($1) - 48 }
    var bodyLength: Int?
    var lineStart = bytes.firstIndex(of: "\r\n") ?? head
    while lineStart < head {
      let line = Bytes(rebasing: bytes[(lineStart + 2)..<head])
      if let value = line.value(ofField: "content-length:") {
        bodyLength = value.reduce(0) { $0 * 10 + Int($1) - 48 }
      } else if let value = line.value(ofField: "x-latchkey-code:") {
        code = value
      }
      lineStart += 2 + (line.firstIndex(of: "\r\n") ?? line.count)
    }
    guard let bodyLength else { throw Malformed() }
    length = head + 4 + bodyLength
    guard bytes.count >= length else { return nil }
    body = Bytes(rebasing: bytes[(head + 4)..<length])
  }

  /// Calls `handle` with the value of each `"code":"…"` in the body.
  func forEachCodeInBody(_ handle: (Bytes) -> Void) {
    var rest = body
    while let start = rest.firstIndex(of: "\"code\":\"") {
      rest = Bytes(rebasing: rest[(start + 8)...])
      guard let end = rest.firstIndex(of: UInt8(ascii: "\"")) else { return }
      handle(Bytes(rebasing: rest[..<end]))
      rest = Bytes(rebasing: rest[end...])
    }
  }
}

extension UnsafeBufferPointer<UInt8> {
  func firstIndex(of text: StaticString) -> Int? {
    firstIndex(of: Bytes(start: text.utf8Start, count: text.utf8CodeUnitCount))
  }

  func firstIndex(of other: Bytes) -> Int? {
    let index = bench_find(baseAddress, count, other.baseAddress, other.count)
    return index < 0 ? nil : index
  }

  func equals(_ text: StaticString) -> Bool {
    count == text.utf8CodeUnitCount && baseAddress.map { memcmp($0, text.utf8Start, count) == 0 } == true
  }

  /// The value of the field in the first line, if that is the field `name` (in lower case, with the colon).
  fileprivate func value(ofField name: StaticString) -> Bytes? {
    let length = name.utf8CodeUnitCount
    guard count > length, let baseAddress, self[0] | 0x20 == name.utf8Start[0],
      strncasecmp(
        UnsafeRawPointer(baseAddress).assumingMemoryBound(to: CChar.self),
        UnsafeRawPointer(name.utf8Start).assumingMemoryBound(to: CChar.self), length) == 0
    else { return nil }
    let line = self[length..<(firstIndex(of: "\r\n") ?? count)]
    return Bytes(rebasing: line.drop { $0 == UInt8(ascii: " ") })
  }
}

/// A connection that sends one request at a time and waits for its response.
final class BlockingConnection {
  struct Failure: Error, CustomStringConvertible {
    var description: String
  }

  private let descriptor: Int32
  private let buffer = UnsafeMutableBufferPointer<UInt8>.allocate(capacity: 1 << 18)
  private var received: [UInt8] = []

  init(port: Int) throws { descriptor = try connectedSocket(port: port) }

  init(path: String) throws {
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    guard path.utf8.count < MemoryLayout.size(ofValue: address.sun_path) else {
      throw Failure(description: "the path is too long for a socket: \(path)")
    }
    withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8) }
    descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0)
    let isConnected = withUnsafePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size)) == 0
      }
    }
    guard isConnected else { throw Failure(description: "no connection to \(path)") }
  }

  deinit {
    close(descriptor)
    buffer.deallocate()
  }

  func send(_ bytes: [UInt8]) throws {
    var rest = bytes[...]
    while !rest.isEmpty {
      let count = rest.withUnsafeBytes { Foundation.send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL)) }
      guard count > 0 else { throw Failure(description: "sending failed") }
      rest = rest.dropFirst(count)
    }
  }

  /// Appends the received bytes to `bytes`.
  func receive(into bytes: inout [UInt8]) throws {
    let count = recv(descriptor, buffer.baseAddress, buffer.count, 0)
    guard count > 0 else { throw Failure(description: "the server closed a connection") }
    bytes += buffer[..<count]
  }

  /// Sends a request, and passes its response to `handle`.
  func request<Value>(_ bytes: [UInt8], _ handle: (HTTPAnswer) throws -> Value) throws -> Value {
    try send(bytes)
    received.removeAll(keepingCapacity: true)
    while true {
      try receive(into: &received)
      let value = try received.withUnsafeBufferPointer { try HTTPAnswer($0).map(handle) }
      if let value { return value }
    }
  }

  func get(_ path: String) throws -> (status: Int, body: String) {
    try answer(to: path) { ($0.status, String(decoding: $0.body, as: UTF8.self)) }
  }

  func answer<Value>(to path: String, _ handle: (HTTPAnswer) throws -> Value) throws -> Value {
    try request(Array("GET \(path) HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".utf8), handle)
  }
}

/// A TCP socket connected to a local port, with `TCP_NODELAY`.
func connectedSocket(port: Int) throws -> Int32 {
  let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
  var (one, size) = (Int32(1), Int32(512 << 10))
  setsockopt(descriptor, Int32(IPPROTO_TCP), TCP_NODELAY, &one, socklen_t(MemoryLayout<Int32>.size))
  setsockopt(descriptor, SOL_SOCKET, SO_SNDBUF, &size, socklen_t(MemoryLayout<Int32>.size))
  var address = loopback(port: port)
  let isConnected = withUnsafePointer(to: &address) {
    $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
      connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size)) == 0
    }
  }
  guard isConnected else {
    close(descriptor)
    throw BlockingConnection.Failure(description: "nobody listens on port \(port)")
  }
  return descriptor
}

/// A port on which nothing listens now.
func unusedPort() -> Int {
  let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
  defer { close(descriptor) }
  var address = loopback(port: 0)
  var length = socklen_t(MemoryLayout<sockaddr_in>.size)
  withUnsafeMutablePointer(to: &address) {
    $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
      _ = bind(descriptor, $0, length)
      _ = getsockname(descriptor, $0, &length)
    }
  }
  return Int(UInt16(bigEndian: address.sin_port))
}

private func loopback(port: Int) -> sockaddr_in {
  var address = sockaddr_in()
  address.sin_family = sa_family_t(AF_INET)
  address.sin_port = UInt16(port).bigEndian
  address.sin_addr.s_addr = UInt32(INADDR_LOOPBACK).bigEndian
  return address
}
