import Foundation
import Glibc

/// Whether a server can listen on an address, or something already does.
enum PortCondition: Equatable, Sendable {
  case free
  case taken
  /// Nothing can listen there, for the given reason.
  case unusable(String)

  /// Blocks while the host's name is looked up.
  init(host: String, port: Int) {
    do {
      self = try SocketAddress.first(of: host, port: port, isPassive: true) { address in
        let descriptor = try SocketAddress.socket(for: address)
        defer { close(descriptor) }
        var isOn: Int32 = 1
        setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, &isOn, socklen_t(MemoryLayout<Int32>.size))
        if bind(descriptor, address.ai_addr, address.ai_addrlen) == 0 { return .free }
        return errno == EADDRINUSE ? .taken : .unusable(String(cString: strerror(errno)))
      }
    } catch {
      self = .unusable("\(error)")
    }
  }
}

/// Checks whether a Latchkey server answers.
enum HealthProbe {
  /// For connecting, and again for the answer.
  private static let timeoutSeconds = 2
  private static let answerLengthMax = 1_024

  /// Whether `GET /healthz` is answered with 200. Blocks.
  static func isAnswered(host: String, port: Int) -> Bool {
    let answer = try? SocketAddress.first(of: host, port: port, isPassive: false) { address -> String in
      let descriptor = try SocketAddress.socket(for: address)
      defer { close(descriptor) }
      var limit = timeval(tv_sec: timeoutSeconds, tv_usec: 0)
      for option in [SO_RCVTIMEO, SO_SNDTIMEO] {
        setsockopt(descriptor, SOL_SOCKET, option, &limit, socklen_t(MemoryLayout<timeval>.size))
      }
      guard connect(descriptor, address.ai_addr, address.ai_addrlen) == 0 else { throw SocketAddress.Failure.last }
      let question = Array("GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".utf8)
      guard send(descriptor, question, question.count, Int32(MSG_NOSIGNAL)) == question.count else {
        throw SocketAddress.Failure.last
      }
      var answer = [UInt8](repeating: 0, count: answerLengthMax)
      let count = recv(descriptor, &answer, answer.count, 0)
      return String(decoding: answer.prefix(max(0, count)), as: UTF8.self)
    }
    return answer?.hasPrefix("HTTP/1.1 200 ") == true
  }
}

private enum SocketAddress {
  struct Failure: Error, CustomStringConvertible {
    let description: String
    static var last: Failure { Failure(description: String(cString: strerror(errno))) }
  }

  /// Returns the result of `body` for the first address of a host.
  static func first<Value>(
    of host: String, port: Int, isPassive: Bool, _ body: (addrinfo) throws -> Value
  ) throws -> Value {
    var hints = addrinfo()
    hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
    hints.ai_flags = isPassive ? AI_PASSIVE : 0
    var list: UnsafeMutablePointer<addrinfo>?
    let code = getaddrinfo(host, "\(port)", &hints, &list)
    defer { if let list { freeaddrinfo(list) } }
    guard code == 0, let list else { throw Failure(description: "\(host): \(String(cString: gai_strerror(code)))") }
    return try body(list.pointee)
  }

  static func socket(for address: addrinfo) throws -> Int32 {
    let descriptor = Glibc.socket(address.ai_family, address.ai_socktype | Int32(SOCK_CLOEXEC.rawValue), 0)
    guard descriptor >= 0 else { throw Failure.last }
    return descriptor
  }
}
