internal import CAssets
import Crypto

/// A file that pages refer to. Its address has a hash of its content, so browsers may keep it for ever.
package struct Asset: Sendable {
  /// Hexadecimal digits of the SHA-256 in the address.
  private static let hashLength = 10

  package static let stylesheet = Asset(embedded_stylesheet().pointee, "latchkey.css", type: "text/css; charset=utf-8")
  package static let icon = Asset(embedded_icon().pointee, "icon.svg", type: "image/svg+xml")
  package static let all = [stylesheet, icon]

  package let name: String
  /// The media type.
  package let type: String
  package let bytes: [UInt8]
  package let hash: String

  package var link: Link { "/assets/\(hash)/\(name)" }

  private init(_ asset: embedded_asset, _ name: String, type: String) {
    bytes = Array(UnsafeBufferPointer(start: asset.bytes, count: asset.length))
    let digits = Array("0123456789abcdef".utf8)
    let hex = SHA256.hash(data: bytes).flatMap { [digits[Int($0 >> 4)], digits[Int($0 & 0xF)]] }
    hash = String(decoding: hex.prefix(Self.hashLength), as: UTF8.self)
    (self.name, self.type) = (name, type)
  }
}
