/// The value of a `Host` field (RFC 9110 7.2).
package enum HostField {
  /// Whether it is a host, and a port if there is a colon (RFC 3986 3.2.2, 3.2.3). A host is not empty, because no
  /// `http` address has an empty one (RFC 9110 4.2.1).
  package static func isValid(_ bytes: Span<UInt8>) -> Bool {
    guard let end = bytes.count > 0 && bytes[0] == UInt8(ascii: "[") ? literalEnd(bytes) : nameEnd(bytes) else {
      return false
    }
    if end == bytes.count { return true }
    guard bytes[end] == UInt8(ascii: ":") else { return false }
    for index in end + 1..<bytes.count where !isDigit(bytes[index]) { return false }
    return true
  }

  package static func isValid(_ text: String) -> Bool {
    let bytes = Array(text.utf8)
    return isValid(bytes.span)
  }

  /// The end of an IPv6 address in brackets; nil if there is none.
  private static func literalEnd(_ bytes: Span<UInt8>) -> Int? {
    var index = 1
    while index < bytes.count,
      isHexDigit(bytes[index]) || bytes[index] == UInt8(ascii: ":") || bytes[index] == UInt8(ascii: ".")
    {
      index += 1
    }
    guard index > 1, index < bytes.count, bytes[index] == UInt8(ascii: "]") else { return nil }
    return index + 1
  }

  /// The end of a name or an IPv4 address; nil if there is none.
  private static func nameEnd(_ bytes: Span<UInt8>) -> Int? {
    var index = 0
    while index < bytes.count, bytes[index] != UInt8(ascii: ":") {
      if bytes[index] == UInt8(ascii: "%") {
        guard index + 2 < bytes.count, isHexDigit(bytes[index + 1]), isHexDigit(bytes[index + 2]) else { return nil }
        index += 3
      } else {
        guard isInName(bytes[index]) else { return nil }
        index += 1
      }
    }
    return index == 0 ? nil : index
  }

  private static func isDigit(_ byte: UInt8) -> Bool { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) }

  private static func isHexDigit(_ byte: UInt8) -> Bool {
    isDigit(byte) || (UInt8(ascii: "a")...UInt8(ascii: "f")).contains(byte | 0x20)
  }

  private static func isInName(_ byte: UInt8) -> Bool {
    if isDigit(byte) || (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(byte | 0x20) { return true }
    switch byte {
    case UInt8(ascii: "-"), UInt8(ascii: "."), UInt8(ascii: "_"), UInt8(ascii: "~"), UInt8(ascii: "!"),
      UInt8(ascii: "$"), UInt8(ascii: "&"), UInt8(ascii: "'"), UInt8(ascii: "("), UInt8(ascii: ")"),
      UInt8(ascii: "*"), UInt8(ascii: "+"), UInt8(ascii: ","), UInt8(ascii: ";"), UInt8(ascii: "="):
      return true
    default: return false
    }
  }
}
