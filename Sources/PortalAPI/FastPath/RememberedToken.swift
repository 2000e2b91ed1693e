import Portal

/// The hash of the last token on a connection: a gateway sends the same one each time.
struct RememberedToken: CustomStringConvertible, CustomReflectable {
  private var bytes: [UInt8] = []
  private var last = SecretHash(of: [])

  var description: String { "RememberedToken(…)" }
  var customMirror: Mirror { Mirror(self, children: [:]) }

  mutating func hash(of token: Span<UInt8>) -> SecretHash {
    if isSame(token) { return last }
    last = SecretHash(of: token)
    bytes = token.withUnsafeBufferPointer { Array($0) }
    return last
  }

  /// Compares in a time that depends on the length alone.
  private func isSame(_ token: Span<UInt8>) -> Bool {
    guard token.count == bytes.count else { return false }
    var difference: UInt8 = 0
    for index in bytes.indices { difference |= bytes[index] ^ token[index] }
    return difference == 0
  }
}
