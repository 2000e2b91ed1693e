/// The name under which the requests of an endpoint are counted: the method and route pattern that a gateway sends, or
/// a raw path with its ids replaced.
///
/// From the first `/` on, a segment that looks like an id becomes `{id}`, and a query or fragment ends the name. An id
/// is a number; a UUID; a hexadecimal string of at least 8 characters with a digit, or of at least 16; or a string of
/// at least 20 letters and digits of which at least three are digits, such as a ULID, with or without a prefix like
/// `ord_`. A segment that ends in 40 or more letters and digits is also replaced, whatever its prefixes, so that no
/// secret, such as a key of the portal, becomes part of a name.
enum EndpointName {
  /// In bytes.
  static let lengthMax = 200
  private static let placeholder: StaticString = "{id}"
  private static let hexLengthMin = 8
  private static let hexLengthMinWithoutDigit = 16
  private static let tokenLengthMin = 20
  private static let tokenDigitCountMin = 3
  private static let secretLengthMin = 40

  static func normalized(_ text: String) -> String {
    var text = text
    return text.withUTF8 { bytes in withNormalized(bytes) { String(decoding: $0, as: UTF8.self) } }
  }

  /// Calls `body` with the bytes of the normalized name: the given bytes themselves, if nothing has to change.
  static func withNormalized<Result>(
    _ bytes: UnsafeBufferPointer<UInt8>, _ body: (UnsafeBufferPointer<UInt8>) -> Result
  ) -> Result {
    guard let path = bytes.firstIndex(of: UInt8(ascii: "/")) else { return body(bytes) }
    var place = path
    while place < bytes.count {
      let segment = segment(bytes, from: place + 1)
      // Most names are patterns already, so nothing is copied.
      if segment.isID || segment.isLast && segment.end < bytes.count { return withCopy(bytes, from: path, body) }
      place = segment.end
    }
    return body(bytes)
  }

  private static func withCopy<Result>(
    _ bytes: UnsafeBufferPointer<UInt8>, from path: Int, _ body: (UnsafeBufferPointer<UInt8>) -> Result
  ) -> Result {
    withUnsafeTemporaryAllocation(of: UInt8.self, capacity: lengthMax) { copy in
      var count = 0
      func append(_ part: some Sequence<UInt8>) {
        for byte in part where count < lengthMax {
          copy.initializeElement(at: count, to: byte)
          count += 1
        }
      }
      append(bytes[..<path])
      var place = path
      while place < bytes.count, bytes[place] == UInt8(ascii: "/") {
        append(CollectionOfOne(UInt8(ascii: "/")))
        let segment = segment(bytes, from: place + 1)
        if segment.isID {
          placeholder.withUTF8Buffer { append($0) }
        } else {
          append(bytes[place + 1..<segment.end])
        }
        place = segment.end
      }
      if count == lengthMax {
        // Drop a last character that may have been cut in the middle.
        while count > 0, copy[count - 1] & 0xC0 == 0x80 { count -= 1 }
        if count > 0, copy[count - 1] >= 0xC0 { count -= 1 }
      }
      return body(UnsafeBufferPointer(rebasing: copy[..<count]))
    }
  }

  private struct Segment {
    var end: Int
    var isID: Bool
    /// Whether it is the last segment of the name.
    var isLast: Bool
  }

  private static func segment(_ bytes: UnsafeBufferPointer<UInt8>, from start: Int) -> Segment {
    var (digits, hexLetters, otherLetters, dashes, underscores) = (0, 0, 0, 0, 0)
    var end = start
    /// The index after the last underscore.
    var tail = start
    scan: while end < bytes.count {
      switch bytes[end] {
      case UInt8(ascii: "/"), UInt8(ascii: "?"), UInt8(ascii: "#"): break scan
      case UInt8(ascii: "0")...UInt8(ascii: "9"): digits += 1
      case UInt8(ascii: "a")...UInt8(ascii: "f"), UInt8(ascii: "A")...UInt8(ascii: "F"): hexLetters += 1
      case UInt8(ascii: "g")...UInt8(ascii: "z"), UInt8(ascii: "G")...UInt8(ascii: "Z"): otherLetters += 1
      case UInt8(ascii: "-"): dashes += 1
      case UInt8(ascii: "_"):
        underscores += 1
        tail = end + 1
      default: break
      }
      end += 1
    }
    let count = end - start
    let isID =
      if digits == count {
        count > 0
      } else if digits + hexLetters == count {
        count >= (digits > 0 ? hexLengthMin : hexLengthMinWithoutDigit)
      } else if count == 36, dashes == 4, digits + hexLetters == 32 {
        // Written out, because an array of the offsets would be allocated.
        bytes[start + 8] == UInt8(ascii: "-") && bytes[start + 13] == UInt8(ascii: "-")
          && bytes[start + 18] == UInt8(ascii: "-") && bytes[start + 23] == UInt8(ascii: "-")
      } else {
        digits + hexLetters + otherLetters + underscores == count
          && (end - tail >= secretLengthMin
            || count >= tokenLengthMin && digits >= tokenDigitCountMin && underscores <= 1)
      }
    return Segment(end: end, isID: isID, isLast: end == bytes.count || bytes[end] != UInt8(ascii: "/"))
  }
}
