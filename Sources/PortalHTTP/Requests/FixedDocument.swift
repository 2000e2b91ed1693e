import Crypto
import HTTPTypes
import Hummingbird

/// A document that is the same for everybody and only changes with the version of the program.
///
/// Caches may keep it but must revalidate it each time, so that no copy outlives an upgrade. The answer is 304 if their
/// copy is current (RFC 9110 13.1.2).
package struct FixedDocument: Sendable {
  private let type: String
  private let tag: String
  private let body: ByteBuffer

  package init(_ bytes: some Collection<UInt8>, type: String) {
    self.type = type
    body = ByteBuffer(bytes: bytes)
    tag = SHA256.hash(data: Array(bytes)).prefix(16).reduce(into: "") { tag, byte in
      tag += String(byte >> 4, radix: 16) + String(byte & 0xF, radix: 16)
    }
  }

  package func response(to request: Request) -> Response {
    var headers: HTTPFields = [.eTag: "\"\(tag)\"", .cacheControl: "public, no-cache"]
    if let known = request.headers[.ifNoneMatch], EntityTag.isAny(known) || EntityTag.list(in: known, has: tag) {
      return Response(status: .notModified, headers: headers)
    }
    headers[.contentType] = type
    return Response(status: .ok, headers: headers, body: ResponseBody(byteBuffer: body))
  }
}
