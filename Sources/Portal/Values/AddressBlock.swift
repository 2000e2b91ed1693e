import Glibc

/// An IPv4 or IPv6 address, or a CIDR block of them (RFC 4632, RFC 4291), in canonical form: host bits zero, and an
/// IPv4-mapped IPv6 address (`::ffff:192.0.2.1`) is the IPv4 address.
package struct AddressBlock: Hashable, Sendable {
  package static let countMax = 64
  /// Characters: the longest is an IPv6 address with an embedded IPv4 one and a prefix length.
  private static let textLengthMax = 50
  private static let mappedPrefix: UInt128 = 0xFFFF << 32

  /// 32 significant bits for IPv4.
  private let bits: UInt128
  private let isIPv4: Bool
  /// 0…32 or 0…128.
  private let prefixLength: Int

  /// Parses `192.0.2.0/24`, `192.0.2.1`, `2001:db8::/32`, `::1`; nil for anything else.
  package init?(_ text: String) {
    guard text.utf8.count <= Self.textLengthMax else { return nil }
    let parts = text.split(separator: "/", maxSplits: 1, omittingEmptySubsequences: false)
    guard let (address, isIPv4) = Self.parseAddress(String(parts[0])) else { return nil }
    let width = isIPv4 ? 32 : 128
    var length = width
    if parts.count == 2 {
      guard parts[1].utf8.count <= 3, parts[1].utf8.allSatisfy({ $0 >= 48 && $0 <= 57 }), let number = Int(parts[1]),
        number <= width, parts[1] == "\(number)"
      else { return nil }
      length = number
    }
    if !isIPv4, length >= 96, address >> 32 == Self.mappedPrefix >> 32 {
      self.init(bits: address & 0xFFFF_FFFF, isIPv4: true, prefixLength: length - 96)
    } else {
      self.init(bits: address, isIPv4: isIPv4, prefixLength: length)
    }
  }

  private init(bits: UInt128, isIPv4: Bool, prefixLength: Int) {
    self.isIPv4 = isIPv4
    self.prefixLength = prefixLength
    self.bits = bits & Self.mask(prefixLength, isIPv4)
  }

  /// Whether it is one address rather than a block.
  package var isSingleAddress: Bool { prefixLength == (isIPv4 ? 32 : 128) }

  /// Whether every address of `other` lies in this block.
  package func contains(_ other: AddressBlock) -> Bool {
    isIPv4 == other.isIPv4 && prefixLength <= other.prefixLength
      && other.bits & Self.mask(prefixLength, isIPv4) == bits
  }

  /// The block of `ipv6PrefixLength` around an IPv6 address, because a host that has one address of such a block can
  /// use all of them; an IPv4 address itself.
  func neighbourhood(ipv6PrefixLength: Int) -> AddressBlock {
    isIPv4 ? self : AddressBlock(bits: bits, isIPv4: false, prefixLength: min(prefixLength, ipv6PrefixLength))
  }

  private static func mask(_ length: Int, _ isIPv4: Bool) -> UInt128 {
    let width = isIPv4 ? 32 : 128
    let all: UInt128 = isIPv4 ? 0xFFFF_FFFF : .max
    return length == 0 ? 0 : all & (all << UInt128(width - length))
  }

  private static func parseAddress(_ text: String) -> (UInt128, isIPv4: Bool)? {
    // A NUL would end the text early for inet_pton.
    guard !text.utf8.contains(0) else { return nil }
    var four = in_addr()
    if inet_pton(AF_INET, text, &four) == 1 { return (UInt128(UInt32(bigEndian: four.s_addr)), true) }
    var six = in6_addr()
    guard inet_pton(AF_INET6, text, &six) == 1 else { return nil }
    return (withUnsafeBytes(of: six) { UInt128(bigEndian: $0.loadUnaligned(as: UInt128.self)) }, false)
  }
}

extension AddressBlock: CustomStringConvertible {
  /// The canonical text; without a prefix length where it is one address (RFC 5952 for IPv6, as `inet_ntop` writes it).
  package var description: String {
    var text = [CChar](repeating: 0, count: Int(INET6_ADDRSTRLEN))
    if isIPv4 {
      var address = in_addr(s_addr: UInt32(truncatingIfNeeded: bits).bigEndian)
      inet_ntop(AF_INET, &address, &text, socklen_t(text.count))
    } else {
      var address = bits.bigEndian
      inet_ntop(AF_INET6, &address, &text, socklen_t(text.count))
    }
    let end = text.firstIndex(of: 0) ?? text.endIndex
    let address = String(decoding: text[..<end].map { UInt8(bitPattern: $0) }, as: UTF8.self)
    return isSingleAddress ? address : "\(address)/\(prefixLength)"
  }
}
