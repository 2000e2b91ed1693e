import CUnistring
import Foundation

extension String {
  /// The text in Unicode's form NFC (UAX 15), by libunistring: Foundation's treats letters beyond U+FFFF as those with
  /// the same last 16 bits. Limit the length of the text first: consecutive marks are sorted.
  package var composed: String {
    if utf8.allSatisfy({ $0 < 0x80 }) { return self }
    let bytes = Array(utf8)
    var count = 0
    guard let result = latchkey_normalize(bytes, bytes.count, &count) else { return self }
    defer { free(result) }
    return String(decoding: UnsafeBufferPointer(start: result, count: count), as: UTF8.self)
  }
}
