import Hummingbird
import NIOCore

extension ResponseBody {
  /// A body that is written piece by piece, each waited for before the next. What `body` throws breaks the connection,
  /// so that nobody takes a part for the whole.
  package static func streamed(
    _ body: @escaping @Sendable (_ write: ([UInt8]) async throws -> Void) async throws -> Void
  ) -> ResponseBody {
    ResponseBody { given in
      // Safe: it is used here alone, and each write is waited for before the next.
      nonisolated(unsafe) var writer = given
      try await body { try await writer.write(ByteBuffer(bytes: $0)) }
      try await writer.finish(nil)
    }
  }
}
